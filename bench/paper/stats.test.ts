import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { jain, worstDeviation } from '../../src/sim/fairness.js';
import { estimate, median, ratio, spread } from './stats.js';

describe('statistics of the evaluation', () => {
  it('takes the middle value, and the mean of two', () => {
    assert.equal(median([3, 1, 2]), 2);
    assert.equal(median([4, 1, 3, 2]), 2.5);
    assert.equal(median([7]), 7);
    assert.equal(median([]), Number.NaN);
  });

  it('knows what a figure varied by', () => {
    assert.deepEqual(spread([5, 1, 3]), { median: 3, min: 1, max: 5, count: 3 });
    assert.deepEqual(spread([]), { median: Number.NaN, min: Number.NaN, max: Number.NaN, count: 0 });
  });

  it('compares within a round, so that what moves both does not show', () => {
    const a = [
      { round: 0, value: 20 },
      { round: 1, value: 200 },
    ];
    const b = [
      { round: 0, value: 10 },
      { round: 1, value: 100 },
    ];
    assert.deepEqual(ratio(a, b), { median: 2, min: 2, max: 2, count: 2 });
  });

  it('leaves out rounds that only one has, and takes medians if there is no other', () => {
    const a = [
      { round: 0, value: 30 },
      { round: 1, value: 8 },
    ];
    assert.equal(ratio(a, [{ round: 1, value: 4 }]).median, 2);
    assert.equal(ratio(a, [{ round: 2, value: 19 }]).median, 1);
    assert.equal(ratio([], a).count, 0);
  });

  it('says where a median lies, by the sign test', () => {
    const upTo = (count: number) => Array.from({ length: count }, (_, i) => ((i * 7) % count) + 1);
    // What tables of the sign test have: 3rd to 10th of 12 with 96.1%, 7th to 18th of 24 with 97.7%.
    const { confidence, ...twelve } = estimate(upTo(12));
    assert.deepEqual(twelve, { median: 6.5, low: 3, high: 10, count: 12 });
    assert.ok(Math.abs(confidence - 0.9614) < 1e-4, String(confidence));
    const many = estimate(upTo(24));
    assert.deepEqual([many.low, many.high, Math.round(1000 * many.confidence)], [7, 18, 977]);
    // Of six all, and not of five, which may lie on one side by chance once in sixteen.
    const six = estimate(upTo(6));
    assert.deepEqual([six.low, six.high, six.confidence], [1, 6, 1 - 2 ** -5]);
    assert.deepEqual([estimate(upTo(5)).confidence, estimate([3]).confidence], [1 - 2 ** -4, 0]);
    assert.equal(estimate([]).count, 0);
  });

  it('is as often right about a median as it says', () => {
    let seed = 1;
    const random = () => {
      seed = (seed * 48271) % 0x7fffffff;
      return seed / 0x7fffffff;
    };
    let right = 0;
    for (let i = 0; i < 4000; i++) {
      const { low, high } = estimate(Array.from({ length: 12 }, () => -Math.log(random())));
      if (low <= Math.LN2 && Math.LN2 <= high) right++;
    }
    assert.ok(Math.abs(right / 4000 - 0.9614) < 0.01, String(right / 4000));
  });

  it('has an index of 1 for equal shares and 1/n for one that has all', () => {
    assert.equal(jain([3, 3, 3]), 1);
    assert.equal(jain([1, 0, 0, 0]), 0.25);
    assert.ok(Math.abs(jain([1, 2]) - 0.9) < 1e-12);
    assert.equal(jain([0, 0]), Number.NaN);
    fc.assert(
      fc.property(fc.array(fc.double({ min: 0.001, max: 1e6, noNaN: true }), { minLength: 1 }), (shares) => {
        const index = jain(shares);
        assert.ok(index <= 1 + 1e-9 && index >= 1 / shares.length - 1e-9);
        assert.ok(Math.abs(jain(shares.map((share) => 7 * share)) - index) < 1e-9);
      }),
    );
  });

  it('finds the share that is furthest from its weight', () => {
    assert.equal(worstDeviation([1, 2, 3], [1, 2, 3]), 0);
    // Halves where a quarter and three quarters were due.
    assert.ok(Math.abs(worstDeviation([1, 1], [1, 3]) - 1) < 1e-12);
  });
});
