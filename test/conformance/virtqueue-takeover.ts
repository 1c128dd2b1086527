/** A ring whose thread dies at any point, and another thread that goes on: nothing is lost, nothing is given back twice. */
import assert from 'node:assert/strict';
import { it } from 'node:test';
import fc from 'fast-check';
import { Pop } from '../../src/virtio/virtqueue.js';
import type { TestMemory } from '../support/guest-memory.js';
import { check, seeded } from '../support/seed.js';
import type { VirtqueueLayout } from './virtqueue-layout.js';
import { countMoments, dyingAt, watchedWords } from './virtqueue-moments.js';
import { LOW, withRing } from './virtqueue-rig.js';
import { type Step, TakeoverModel } from './virtqueue-takeover-model.js';

const one = { address: LOW.guestAddress, length: 1 };

const dies = fc.option(fc.nat(24), { nil: undefined, freq: 2 });
const mayDie = (at: number | undefined) => (at === undefined ? {} : { dies: at });
const burst = fc
  .record({ limit: fc.integer({ min: 1, max: 16 }), keep: fc.nat(16), dies })
  .map(({ limit, keep, dies: at }) => ({ do: 'popBurst' as const, limit, keep, ...mayDie(at) }));
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 3, arbitrary: fc.record({ do: fc.constant('add' as const), count: fc.integer({ min: 1, max: 6 }) }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('push' as const), which: fc.nat(50) }) },
  { weight: 4, arbitrary: dies.map((at) => ({ do: 'pop' as const, ...mayDie(at) })) },
  { weight: 2, arbitrary: dies.map((at) => ({ do: 'publish' as const, ...mayDie(at) })) },
  { weight: 3, arbitrary: burst },
  { weight: 1, arbitrary: fc.constant({ do: 'pushBurst' as const }) },
  { weight: 2, arbitrary: fc.constant({ do: 'collect' as const }) },
  { weight: 1, arbitrary: fc.constant({ do: 'die' as const }) },
);

export function takeoverTests(layout: VirtqueueLayout, memory: () => TestMemory): void {
  const on = (size: number, start: number, test: (model: TakeoverModel) => void, doubleEvery = 3) => {
    const model = new TakeoverModel(layout, memory(), size, start, doubleEvery);
    try {
      test(model);
      model.finish();
    } finally {
      model.rig.release();
    }
  };

  it('loses nothing and gives nothing back twice, whenever threads die', () => {
    const sizes = fc.constantFrom(...layout.sizes.filter((size) => size <= 64));
    const starts = fc.constantFrom(0, 5, 32_766, 65_530, 65_535);
    let deaths = 0;
    check(
      fc.property(sizes, starts, fc.array(step, { maxLength: 120, size: 'max' }), (size, start, steps) =>
        on(size, start, (model) => {
          for (const next of steps) model.step(next);
          deaths += model.deaths;
        }),
      ),
      4000,
    );
    assert.ok(deaths > 1000, `only ${deaths} deaths`);
  });

  it('survives a death at every moment of publishing, with every number of chains', () => {
    for (let count = 1; count <= 8; count++) {
      for (let done = 0; done <= count; done++) {
        // More than a publication has: the last ones die nowhere.
        for (let moment = 0; moment < 2 * done + 14; moment++) {
          for (const collectsFirst of [false, true]) {
            on(8, 65_533, (model) => {
              model.step({ do: 'add', count });
              for (let i = 0; i < count; i++) model.step({ do: 'pop' });
              for (let i = 0; i < done; i++) model.step({ do: 'push', which: 3 * i + 1 });
              model.step({ do: 'publish', dies: moment });
              // The driver may see what was published, and use its descriptors again, before another thread is there.
              if (collectsFirst) {
                model.step({ do: 'collect' });
                model.step({ do: 'add', count: 8 });
              }
            });
          }
        }
      }
    }
  });

  it('survives a death at every moment of taking a chain', () => {
    for (let count = 1; count <= 4; count++) {
      for (let moment = 0; moment < 12; moment++) {
        on(4, 65_534, (model) => {
          model.step({ do: 'add', count });
          for (let i = 0; i < count; i++) model.step({ do: 'pop', dies: moment });
        });
      }
    }
  });

  it('survives a death at every moment of taking a burst, and of giving a part of it up', () => {
    for (let count = 1; count <= 6; count++) {
      for (let keep = 0; keep <= count; keep++) {
        // More than there are: four moments of each chain taken or given up, at most, and those of the first look.
        for (let moment = 0; moment < 16 * count + 8; moment++) {
          on(
            8,
            65_533,
            (model) => {
              model.step({ do: 'add', count });
              model.step({ do: 'popBurst', limit: 16, keep, dies: moment });
              model.step({ do: 'pushBurst' });
              model.step({ do: 'publish' });
            },
            100,
          );
        }
      }
    }
  });

  it('has moments at which a thread can die', () => {
    const model = new TakeoverModel(layout, memory(), 4, 0);
    model.step({ do: 'add', count: 2 });
    assert.ok(countMoments(() => model.step({ do: 'pop' })) >= 4);
    assert.ok(countMoments(() => model.step({ do: 'popBurst', limit: 1, keep: 0 })) >= 4);
    model.step({ do: 'push', which: 0 });
    assert.ok(countMoments(() => model.step({ do: 'publish' })) >= 6);
    model.finish();
    model.rig.release();
  });

  it('takes chains over in the order in which they were taken, however long ago', () => {
    on(4, 0, (model) => {
      model.step({ do: 'add', count: 4 });
      for (let i = 0; i < 4; i++) model.step({ do: 'pop' });
      for (let round = 0; round < 500; round++) {
        model.step({ do: 'push', which: round % 4 });
        model.step({ do: 'publish' });
        model.step({ do: 'collect' });
        model.step({ do: 'add', count: 1 });
        model.step({ do: 'pop' });
        if (round % 7 === 0) model.step({ do: 'die' });
      }
    });
  });

  it('takes over rings of every size, full, half published', () => {
    for (const size of layout.sizes.filter((size) => size <= 1024)) {
      on(size, 65_535, (model) => {
        model.step({ do: 'add', count: size });
        for (let i = 0; i < size; i++) model.step({ do: 'pop' });
        for (let i = 0; i < size / 2; i++) model.step({ do: 'push', which: i * 7 });
        model.step({ do: 'publish' });
        model.step({ do: 'die' });
      });
    }
  });

  it('lets a thread that takes over give up what it finds in flight, where chains went back in their order', () => {
    for (const size of layout.sizes.filter((size) => size <= 256)) {
      seeded(size, (random) =>
        withRing(layout, memory(), { size, start: 65_530 }, (rig) => {
          const words = watchedWords(rig.logWords);
          rig.device = rig.open(false, words);
          const lengths = new Map<number, number>();
          const offered: number[] = [];
          for (let round = 0; round < 100; round++) {
            for (let count = 1 + random.below(3); count <= rig.driver.free; count = 1 + random.below(3)) {
              const head = rig.driver.add(Array.from({ length: count }, () => one));
              lengths.set(head, count);
              offered.push(head);
            }
            rig.driver.publish();
            const taken = offered.slice(0, random.below(offered.length + 1));
            for (const head of taken) assert.equal(rig.pop(), head);
            for (const head of taken.slice(0, random.below(taken.length + 1))) rig.device.push(head, 1);
            dyingAt(random.below(20), () => rig.device.publish());
            rig.device = rig.open(true, words);
            for (const head of [...rig.device.unfinished].reverse()) rig.device.unpop(head);
            for (let used = rig.driver.take(); used !== undefined; used = rig.driver.take())
              assert.equal(used.head, offered.shift());
            for (const head of offered) {
              assert.equal(rig.pop(), head);
              rig.compare(Array.from({ length: lengths.get(head)! }, () => one));
            }
            assert.equal(rig.pop(), Pop.EMPTY);
            // Some of them stay in flight, for the next thread.
            const done = random.below(offered.length + 1);
            for (const head of offered.splice(0, done)) rig.device.push(head, 1);
            rig.device.publish();
            for (let i = 0; i < done; i++) assert.ok(rig.driver.take());
            for (const head of [...offered].reverse()) rig.device.unpop(head);
          }
        }),
      );
    }
  });

  it('tells a thread that starts afresh of nothing in flight', () => {
    const model = new TakeoverModel(layout, memory(), 16, 65_530);
    model.step({ do: 'add', count: 5 });
    for (let i = 0; i < 5; i++) model.step({ do: 'pop' });
    const fresh = model.rig.open(false);
    assert.deepEqual([...fresh.unfinished], []);
    model.rig.release();
  });
}
