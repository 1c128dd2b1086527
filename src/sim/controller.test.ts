import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { scenario } from './scenario.js';
import { simulate } from './simulate.js';

const balance = { windowNs: 2e6, coresMin: 1 };

describe('balanced sidecores, in a simulation', () => {
  it('share what began on one of them, and lose nothing', () => {
    const guests = [{ count: 8, depth: 32 }];
    const common = { cores: 4, guests, packed: true, warmUpNs: 100e6, durationNs: 20e6 } as const;
    const one = simulate(scenario(common));
    const spread = simulate(scenario({ ...common, balance: { ...balance, coresMin: 4 } }));
    assert.equal(one.moves, 0);
    assert.ok(spread.moves >= 5, `${spread.moves}`);
    assert.ok(spread.perSecond > 3.5 * one.perSecond, `${spread.perSecond} after ${one.perSecond}`);
  });

  it('stay as they are where there is nothing to gain', () => {
    const guests = [{ count: 8, depth: 32 }];
    const { moves } = simulate(scenario({ cores: 4, guests, balance: { ...balance, coresMin: 4 }, durationNs: 100e6 }));
    assert.equal(moves, 0);
  });

  it('become fewer where few are enough, with frames and requests under way', () => {
    const guests = [
      { name: 'disks', count: 4, thinkNs: 100e3 },
      { name: 'cards', work: 'talk', count: 2, thinkNs: 100e3 },
    ] as const;
    const plan = { cores: 4, guests, warmUpNs: 200e6, durationNs: 50e6 } as const;
    const few = simulate(scenario({ ...plan, balance }));
    assert.ok(few.coresUsed < 2.5, `${few.coresUsed}`);
    assert.ok(few.moves > 0);
    const all = simulate(scenario(plan));
    assert.equal(all.coresUsed, 4);
    assert.ok(few.perSecond > 0.9 * all.perSecond, `${few.perSecond} of ${all.perSecond}`);
  });
});
