import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { keptPairs, type Pair, shareLeft } from './alternate.js';
import type { Window } from './window.js';

const pair = (off: number, on: number, undisturbed = true): Pair => ({
  off: { perSecond: off } as Window,
  on: { perSecond: on } as Window,
  undisturbed,
});

describe('pairs of windows', () => {
  it('are compared within themselves: what drifts over all of them does not show', () => {
    const pairs = Array.from({ length: 12 }, (_, i) => pair(1000 * (i + 1), 990 * (i + 1)));
    const { median, low, high, count } = shareLeft(pairs);
    for (const value of [median, low, high]) assert.ok(Math.abs(value - 0.99) < 1e-12);
    assert.equal(count, 12);
  });

  it('do not count if something disturbed them, unless there are no others', () => {
    const disturbed = pair(1000, 100, false);
    assert.equal(shareLeft([pair(1000, 900), disturbed]).median, 0.9);
    assert.deepEqual(keptPairs([disturbed]), [disturbed]);
  });
});
