import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { PIECE_BYTES } from '../limits.js';
import type { PolicyName } from '../scheduler/policy.js';
import { SCHEDULER_DEFAULTS } from '../scheduler/policy.js';
import { DEFAULT_COSTS, dataNs } from './costs.js';
import { jain, worstDeviation } from './fairness.js';
import { type GuestClass, scenario } from './scenario.js';
import { simulate } from './simulate.js';

const BULK: Partial<GuestClass> = { name: 'bulk', depth: 8, bytes: 2 ** 20 };
const { quantumNs } = SCHEDULER_DEFAULTS;

/** 99th percentile of a guest with one read in flight, beside so many of large ones, ns. */
function besideBulk(count: number, policy: PolicyName, bytes = 2 ** 20): number {
  const guests = [{ name: 'latency' }, { ...BULK, count, bytes }];
  const result = simulate(scenario({ guests, scheduler: { policy }, durationNs: 100e6, warmUpNs: 10e6 }));
  return result.classes[0]!.p99Ns;
}

describe('the scheduler, in a simulation', () => {
  const alone = besideBulk(0, 'fair');
  const pieceNs = DEFAULT_COSTS.pieceNs + dataNs(DEFAULT_COSTS, PIECE_BYTES);

  for (const bytes of [65_536, 2 ** 20])
    it(`has a guest wait beside 7 with requests of ${bytes / 1024} KiB for a piece and a quantum at most`, () => {
      const p99 = besideBulk(7, 'fair', bytes);
      assert.ok(p99 > alone, 'it is in nobody’s way');
      assert.ok(p99 <= alone + pieceNs + quantumNs, `${p99} ns, alone ${alone} ns`);
    });

  it('has it wait far longer in turn', () => {
    assert.ok(besideBulk(7, 'round-robin') > 5 * besideBulk(7, 'fair'));
  });

  it('gives equal guests the same', () => {
    for (const guests of [[{ count: 8, depth: 32 }], [{ ...BULK, count: 5, bytes: 65_536 }]]) {
      const result = simulate(scenario({ guests, durationNs: 50e6 }));
      const index = jain(result.guests.map(({ bytesPerSecond }) => bytesPerSecond));
      assert.ok(index >= 0.99, `${index}`);
    }
  });

  it('gives unequal guests what their weights say', () => {
    const guests = [1, 2, 5].map((weight) => ({ ...BULK, name: `${weight}`, bytes: 65_536, weight }));
    const result = simulate(scenario({ guests, durationNs: 100e6, warmUpNs: 10e6 }));
    const shares = result.guests.map(({ timeShare }) => timeShare);
    const off = worstDeviation(shares, [1, 2, 5]);
    assert.ok(off <= 0.02, `${off}: ${shares.join(' ')}`);
  });

  it('lets a guest of small requests have its share beside large ones', () => {
    const guests = [
      { name: 'small', depth: 32 },
      { ...BULK, count: 3 },
    ];
    const result = simulate(scenario({ guests, durationNs: 100e6, warmUpNs: 10e6 }));
    const shares = result.guests.map(({ timeShare }) => timeShare);
    assert.ok(jain(shares) >= 0.99, shares.join(' '));
  });

  it('makes active guests pay for idle ones what looks at them take, as long as these are polled', () => {
    const run = (idle: number, idleLeft: boolean) => {
      const guests: Partial<GuestClass>[] = [{ name: 'active' }, { name: 'idle', work: 'idle', count: idle }];
      const result = simulate(scenario({ guests, idleLeft, durationNs: 5e6 }), { ...DEFAULT_COSTS, jitter: 0 });
      return 1e9 / result.perSecond;
    };
    const none = run(0, true);
    // In a request's time falls one look at all on the average, and at most two.
    const cost = run(256, false) - none;
    assert.ok(cost > 100 * DEFAULT_COSTS.pollNs && cost <= 2 * 256 * DEFAULT_COSTS.pollNs, `${cost} ns`);
    // Those that have left cost a look at their kicks now and then.
    const left = run(256, true);
    assert.ok(left <= 1.02 * none, `${left} ns, without ${none} ns`);
  });
});

describe('notification, in a simulation', () => {
  it('kicks and calls nobody who polls, and each who sleeps once', () => {
    const ratios = (mode: 'sidecore' | 'baseline', sleeping: boolean) => {
      const [one] = simulate(scenario({ mode, sleeping, durationNs: 20e6 })).classes;
      return [one!.kicksPerRequest, one!.callsPerRequest].map((ratio) => Math.round(ratio * 10) / 10);
    };
    assert.deepEqual(ratios('sidecore', false), [0, 0]);
    assert.deepEqual(ratios('sidecore', true), [0, 1]);
    assert.deepEqual(ratios('baseline', true), [1, 1]);
  });

  it('has a core of mode adaptive sleep while its guests rest, and wakes it in time', () => {
    const guests = [{ thinkNs: 5e6 }];
    const { cores, classes } = simulate(scenario({ mode: 'adaptive', guests, durationNs: 200e6 }));
    assert.ok(cores[0]!.asleep > 0.5, `${cores[0]!.asleep}`);
    assert.ok(classes[0]!.kicksPerRequest > 0.4 && classes[0]!.kicksPerRequest <= 1);
    assert.ok(classes[0]!.p99Ns < 100_000, `${classes[0]!.p99Ns}`);
  });
});
