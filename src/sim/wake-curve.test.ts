import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { WakeCurve } from './wake-curve.js';

describe('what waking takes', () => {
  const curve = new WakeCurve([
    { restNs: 1000, wakingNs: [100, 300], latencyNs: [1000, 3000] },
    { restNs: 3000, wakingNs: [500, 700], latencyNs: [5000, 7000] },
  ]);
  const at = (restNs: number, share: number) => {
    curve.draw(restNs, share);
    return [curve.wakingNs, curve.latencyNs];
  };

  it('is what was measured after such a rest, as often as that was measured', () => {
    assert.deepEqual(at(1000, 0), [100, 1000]);
    assert.deepEqual(at(1000, 0.99), [300, 3000]);
    assert.deepEqual(at(3000, 0.5), [700, 7000]);
  });

  it('lies between two rests in proportion, and beyond them is that of the nearest', () => {
    assert.deepEqual(at(2000, 0), [300, 3000]);
    assert.deepEqual(at(0, 0), [100, 1000]);
    assert.deepEqual(at(1e9, 0.9), [700, 7000]);
  });
});
