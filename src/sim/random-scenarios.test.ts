import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { check } from '../../test/support/seed.js';
import { POLICIES } from '../scheduler/policy.js';
import { DEFAULT_COSTS } from './costs.js';
import type { Result } from './result.js';
import { scenario } from './scenario.js';
import { simulate } from './simulate.js';

const guest = fc.record({
  count: fc.integer({ min: 1, max: 4 }),
  work: fc.constantFrom('disk' as const, 'disk' as const, 'stream' as const, 'talk' as const, 'idle' as const),
  depth: fc.constantFrom(1, 2, 7, 32),
  bytes: fc.constantFrom(1, 512, 4096, 65_536, 200_000, 2 ** 20),
  thinkNs: fc.constantFrom(0, 0, 500, 20_000, 3_000_000),
  storage: fc.constantFrom('memory' as const, 'null' as const, 'file' as const),
  weight: fc.integer({ min: 1, max: 3 }),
});

const plans = fc
  .record({
    mode: fc.constantFrom('sidecore' as const, 'adaptive' as const, 'baseline' as const),
    policy: fc.constantFrom(...POLICIES),
    cores: fc.integer({ min: 1, max: 3 }),
    guestCpus: fc.constantFrom('one' as const, 'own' as const),
    sleeping: fc.boolean(),
    guests: fc.array(guest, { minLength: 1, maxLength: 4 }),
  })
  .map(({ policy, guests, ...rest }) => {
    const named = guests.map((one, i) => ({ ...one, name: `class ${i}`, depth: one.work === 'talk' ? 1 : one.depth }));
    return { ...rest, scheduler: { policy }, guests: named, durationNs: 4e5, warmUpNs: 1e5 };
  });

function checkPlausible(result: Result): void {
  for (const one of result.classes) {
    assert.ok(one.requests === 0 || one.p50Ns > 0, 'nothing takes no time');
    assert.ok(one.p50Ns <= one.p99Ns && one.p99Ns <= one.p999Ns && one.p999Ns <= one.maxNs);
  }
  for (const { busy, empty, asleep } of result.cores) {
    for (const share of [busy, empty, asleep]) assert.ok(share >= 0 && share <= 1, `${share}`);
  }
}

describe('any scenario', () => {
  it('completes every request once, in its order, in times that are not negative, and is replayed by its seed', () => {
    const seeds = fc.integer({ min: 0, max: 1e6 });
    check(
      fc.property(plans, seeds, (plan, seed) => {
        const first = simulate(scenario(plan), DEFAULT_COSTS, seed);
        checkPlausible(first);
        assert.equal(simulate(scenario(plan), DEFAULT_COSTS, seed).trace, first.trace);
      }),
      60,
    );
  });

  it('goes on whatever times things take', () => {
    const costs = fc.record(
      Object.fromEntries(
        Object.keys(DEFAULT_COSTS)
          .filter((name) => name !== 'jitter' && name !== 'sliceNs' && name !== 'wakes')
          .map((name) => [name, fc.constantFrom(1, 30, 700, 9000)]),
      ),
    );
    check(
      fc.property(plans, costs, (plan, some) => {
        const wakes = [{ restNs: 1000, wakingNs: [1, some['wakeNs']!], latencyNs: [1, some['resumeNs']!] }];
        const sparing = { ...DEFAULT_COSTS, ...some, wakes, byteNs: 0.01, frameByteNs: 0.01 };
        checkPlausible(simulate(scenario(plan), sparing, 1));
      }),
      40,
    );
  });
});
