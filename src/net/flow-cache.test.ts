import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { type Random, seeded } from '../../test/support/seed.js';
import { FlowCache } from './flow-cache.js';

type Flow = readonly [a: number, b: number, c: number, key: number];

const anyFlow = (random: Random): Flow => [
  random.word(),
  random.word(),
  random.pick([0, 0xffff_ffff, random.word()]),
  random.word() | 0,
];

describe('a cache of flows', () => {
  it('has what was put into it, until it is cleared', () => {
    const cache = new FlowCache();
    seeded(1, (random) => {
      for (let i = 0; i < 2000; i++) {
        const [a, b, c, key] = anyFlow(random);
        const place = cache.place(a, b, c);
        cache.put(place, a, b, c, key, i % 7 === 0 ? -2 : i);
        assert.ok(cache.has(place, a, b, c, key));
        assert.equal(cache.way(place), i % 7 === 0 ? -2 : i);
        if (i % 100 === 0) {
          cache.clear();
          assert.ok(!cache.has(place, a, b, c, key));
        }
      }
    });
  });

  it('tells flows apart that differ in one bit', () => {
    const cache = new FlowCache();
    seeded(2, (random) => {
      for (let round = 0; round < 50; round++) {
        const flow = anyFlow(random);
        const place = cache.place(flow[0], flow[1], flow[2]);
        cache.put(place, ...flow, 1);
        for (let word = 0; word < 4; word++) {
          for (let bit = 0; bit < 32; bit++) {
            const other = [...flow] as [number, number, number, number];
            const changed = other[word]! ^ (1 << bit);
            other[word] = word === 3 ? changed : changed >>> 0;
            assert.ok(!cache.has(place, ...other));
          }
        }
      }
    });
  });

  it('never has one that is not the last of its place', () => {
    const cache = new FlowCache();
    const last = new Map<number, Flow>();
    seeded(3, (random) => {
      const flows = Array.from({ length: 500 }, () => anyFlow(random));
      const places = new Set<number>();
      for (let i = 0; i < 20_000; i++) {
        const flow = random.pick(flows);
        const place = cache.place(flow[0], flow[1], flow[2]);
        places.add(place);
        assert.equal(cache.has(place, ...flow), last.get(place) === flow);
        if (random.chance(0.5)) {
          cache.put(place, ...flow, i);
          last.set(place, flow);
        }
        if (random.chance(0.001)) {
          cache.clear();
          last.clear();
        }
      }
      // Flows are spread over the places.
      assert.ok(places.size > 150, `${places.size} places`);
      assert.ok([...places].every((place) => place >= 0 && place < 256));
    });
  });

  it('knows no flow at the start, not even one of zeros', () => {
    const cache = new FlowCache();
    assert.ok(!cache.has(cache.place(0, 0, 0), 0, 0, 0, 0));
  });
});
