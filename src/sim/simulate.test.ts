import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { DEFAULT_COSTS } from './costs.js';
import { scenario } from './scenario.js';
import { simulate } from './simulate.js';

describe('a simulation', () => {
  it('takes for one request in flight what its parts take', () => {
    const { classes, cores } = simulate(scenario({ durationNs: 2e6 }), { ...DEFAULT_COSTS, jitter: 0 });
    const { visibleNs, pieceNs, requestNs, copyNs, byteNs, batchNs, completionNs } = DEFAULT_COSTS;
    const parts = 2 * visibleNs + pieceNs + requestNs + copyNs + 4096 * byteNs + batchNs + completionNs;
    const { p50Ns, perSecond } = classes[0]!;
    // What is not in the parts are looks: at most a round of the core, one of the guest, and a few readings of the clock.
    assert.ok(p50Ns >= parts && p50Ns < parts + 150, `${p50Ns} ns, parts ${parts} ns`);
    assert.ok(Math.abs(perSecond * p50Ns - 1e9) < 0.05 * 1e9, `${perSecond} a second`);
    assert.ok(cores[0]!.busy > 0.3 && cores[0]!.busy < 0.9);
  });

  it('is replayed by its seed, event by event', () => {
    const plan = scenario({ guests: [{ count: 3, depth: 4, thinkNs: 2000 }], durationNs: 1e6 });
    const first = simulate(plan, DEFAULT_COSTS, 7);
    assert.deepEqual(simulate(plan, DEFAULT_COSTS, 7), first);
    assert.notEqual(simulate(plan, DEFAULT_COSTS, 8).trace, first.trace);
  });
});
