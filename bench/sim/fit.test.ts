import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { fitWake, line } from './fit.js';

describe('a line through points', () => {
  it('is found where there is one, whatever the weights', () => {
    const points = [1, 2, 8].map((x) => ({ x, y: 300 + 50 * x, weight: x }));
    const { start, slope } = line(points);
    assert.ok(Math.abs(start - 300) < 1e-9 && Math.abs(slope - 50) < 1e-9);
  });

  it('goes nearer to what weighs more', () => {
    const at = (weight: number) =>
      line([
        { x: 0, y: 0, weight: 1 },
        { x: 1, y: 1, weight: 1 },
        { x: 2, y: 0, weight },
      ]);
    assert.ok(at(1).slope > at(10).slope);
  });

  it('begins at zero where all points lie at one place', () => {
    assert.deepEqual(line([{ x: 4, y: 8, weight: 1 }]), { start: 0, slope: 2 });
  });
});

describe('what waking takes', () => {
  it('is what it takes besides a signal, by the time of rest', () => {
    const waking = [
      { restNs: 1000, wakingNs: [500, 900], latencyNs: [800, 1000] },
      { restNs: 9000, wakingNs: [4500, 6500], latencyNs: [9000, 20_000] },
    ];
    const { wakes, wakeNs } = fitWake({ signalNs: 500, waitNs: 700, waking });
    assert.deepEqual(
      wakes.map(({ wakingNs }) => wakingNs),
      [
        [0, 0],
        [0, 400],
        [4000, 6000],
      ],
    );
    assert.equal(wakeNs, 400);
    assert.deepEqual(
      wakes.map(({ restNs, latencyNs }) => [restNs, ...latencyNs]),
      [
        [0, 1200, 1200],
        [1000, 800, 1000],
        [9000, 9000, 20_000],
      ],
    );
  });
});
