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
  const curve = (...latencies: number[]) =>
    fitWake({
      signalNs: 500,
      waitNs: 700,
      waking: latencies.map((latencyNs, i) => ({ restNs: 1000 * 2 ** i, wakingNs: 500 + latencyNs / 2, latencyNs })),
    });

  it('is told apart by how long the CPU was idle, where that is two things', () => {
    const costs = curve(500, 1000, 1100, 9000, 10_000);
    assert.equal(costs.quickWakeNs, 1000);
    assert.equal(costs.idleWakeNs, 10_000);
    assert.equal(costs.wakeQuickNs, 500);
    assert.ok(costs.haltAfterNs > 2500 && costs.haltAfterNs < 6500, `${costs.haltAfterNs}`);
  });

  it('is one thing where it always takes the same', () => {
    assert.equal(curve(9000, 9000, 9000, 9000).haltAfterNs, 0);
  });
});
