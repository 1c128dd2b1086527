import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { SidecoreError } from '../errors.js';
import { DEFAULT_COSTS, parseCosts, refillNs } from './costs.js';
import { scenario } from './scenario.js';

const invalid = (pattern: RegExp) => (error: unknown) =>
  error instanceof SidecoreError && error.code === 'CONFIG_INVALID' && pattern.test(error.message);

describe('costs from a file', () => {
  it('are the defaults but for what is there', () => {
    assert.deepEqual(parseCosts({ pollNs: 3 }), { ...DEFAULT_COSTS, pollNs: 3 });
  });

  it('are refused where they mean nothing', () => {
    assert.throws(() => parseCosts(null), invalid(/no object/));
    assert.throws(() => parseCosts({ pollNs: -1 }), invalid(/pollNs is no time/));
    assert.throws(() => parseCosts({ pollNs: '3' }), invalid(/pollNs/));
    assert.throws(() => parseCosts({ speed: 3 }), invalid(/no cost speed/));
    assert.throws(() => parseCosts({ jitter: 1 }), invalid(/jitter/));
    const point = { restNs: 1, wakingNs: [1, 2], latencyNs: [3, 4] };
    assert.deepEqual(parseCosts({ wakes: [point] }).wakes, [point]);
    for (const wakes of [[], [point, point], [{ ...point, latencyNs: [3] }], [{ ...point, restNs: -1 }], [null], 3])
      assert.throws(() => parseCosts({ wakes }), invalid(/wakes/), JSON.stringify(wakes));
  });
});

describe('what a change of threads takes besides', () => {
  it('grows with the threads that had the CPU meanwhile, as far as that was measured', () => {
    const costs = { ...DEFAULT_COSTS, refillFewNs: 3000, refillManyNs: 9000 };
    assert.deepEqual(
      [0, 1, 3, 9, 15, 200].map((others) => refillNs(costs, others)),
      [0, 1000, 3000, 6000, 9000, 9000],
    );
  });
});

describe('a scenario', () => {
  it('is refused beyond its limits', () => {
    assert.throws(
      () => scenario({ guests: [{ count: 400 }, { count: 400 }] }),
      invalid(/guests with their devices: 1 to/),
    );
    assert.throws(() => scenario({ cores: 0 }), invalid(/cores/));
    assert.throws(() => scenario({ guests: [{ depth: 0 }] }), invalid(/depth/));
    assert.throws(() => scenario({ guests: [{ weight: 0 }] }), invalid(/weight/));
    assert.throws(() => scenario({ durationNs: 0 }), invalid(/times/));
  });
});
