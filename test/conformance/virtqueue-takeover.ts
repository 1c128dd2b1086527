/**
 * A ring whose thread dies at any point, and another thread that goes on: nothing is lost, and nothing is given back twice.
 * The model knows what the dead thread had done for certain, and what it may have done just before it died.
 */
import assert from 'node:assert/strict';
import { it } from 'node:test';
import fc from 'fast-check';
import { Pop } from '../../src/virtio/virtqueue.js';
import type { TestMemory } from '../support/guest-memory.js';
import { check } from '../support/seed.js';
import type { VirtqueueLayout } from './virtqueue-layout.js';
import { countMoments, dyingAt, watchedWords } from './virtqueue-moments.js';
import { LOW, RingRig } from './virtqueue-rig.js';

type Step =
  /** Driver: adds chains of one or two descriptors and publishes them. */
  | { readonly do: 'add'; readonly count: number }
  /** Driver: takes what was given back. */
  | { readonly do: 'collect' }
  /** Device, perhaps dying at a moment of the call. */
  | { readonly do: 'pop' | 'publish'; readonly dies?: number }
  /** Device: gives back one of those in flight, not yet published. */
  | { readonly do: 'push'; readonly which: number }
  /** The device dies between two calls. */
  | { readonly do: 'die' };

/** Both ends of a ring and what is known of its chains. */
class Model {
  readonly rig: RingRig;
  readonly #words: Int32Array;
  /** Heads offered and not taken by the device, in order. */
  readonly #offered: number[] = [];
  /** Heads that the device has taken and not made visible, in order. */
  #taken: number[] = [];
  /** Of these, the ones it has pushed. */
  #pushed: number[] = [];
  /** Visible, and not collected by the driver. */
  readonly #visible = new Set<number>();
  /** By head: bytes that tell its chain from the others. */
  readonly #serial = new Map<number, number>();
  #nextSerial = 1;
  #alive = true;
  /** Died in `pop`, which may have taken the first of those offered. */
  #diedInPop = false;
  /** Died in `publish`, which may have made visible what was pushed. */
  #diedInPublish = false;
  deaths = 0;

  constructor(layout: VirtqueueLayout, memory: TestMemory, size: number, start: number) {
    this.rig = new RingRig(layout, memory, { size, start });
    this.#words = watchedWords(this.rig.logWords);
    this.rig.device = this.rig.open(false, this.#words);
  }

  step(step: Step): void {
    switch (step.do) {
      case 'add':
        return this.#add(step.count);
      case 'collect':
        return this.#collect();
      case 'die':
        return this.#die();
      case 'pop':
        return this.#pop(step.dies);
      case 'push':
        return this.#push(step.which);
      case 'publish':
        return this.#publish(step.dies);
    }
  }

  /** Everything is done at last, and was done once. */
  finish(): void {
    this.#takeOver();
    for (;;) {
      while (this.#taken.length > this.#pushed.length) this.#push(0);
      this.#publish();
      this.#collect();
      if (this.#offered.length === 0) break;
      this.#pop();
    }
    assert.equal(this.rig.pop(), Pop.EMPTY);
    assert.equal(this.#serial.size, 0, 'chains are lost');
    assert.equal(this.rig.driver.take(), undefined);
  }

  #add(count: number): void {
    const { driver } = this.rig;
    for (let i = 0; i < count && driver.free > 0; i++) {
      const serial = this.#nextSerial++;
      const elements = [{ address: LOW.guestAddress, length: serial }];
      if (driver.free > 1 && serial % 3 === 0) elements.push({ address: LOW.guestAddress, length: 1 });
      const head = driver.add(elements);
      this.#serial.set(head, serial);
      this.#offered.push(head);
    }
    driver.publish();
  }

  /** The driver itself makes sure that nothing is given back that it has not offered. */
  #collect(): void {
    for (let used = this.rig.driver.take(); used !== undefined; used = this.rig.driver.take()) {
      if (this.#diedInPublish && !this.#visible.has(used.head)) this.#publicationIsKnown(true);
      assert.ok(this.#visible.delete(used.head), `head ${used.head} is given back, which was not published`);
      assert.equal(used.written, this.#serial.get(used.head), 'another chain was given back under this head');
      this.#serial.delete(used.head);
    }
  }

  #die(): void {
    if (this.#alive) this.deaths++;
    this.#alive = false;
    if (!this.#diedInPublish) this.#pushed = [];
  }

  #pop(dies?: number): void {
    this.#takeOver();
    const head = this.#call(dies, () => this.rig.pop());
    if (head === undefined) {
      this.#diedInPop = true;
      return this.#die();
    }
    if (this.#offered.length === 0) return assert.equal(head, Pop.EMPTY);
    assert.equal(head, this.#offered.shift());
    this.#taken.push(head);
    this.#isChainOf(head);
  }

  #push(which: number): void {
    this.#takeOver();
    const open = this.#taken.filter((head) => !this.#pushed.includes(head));
    if (open.length === 0) return;
    const head = open[which % open.length]!;
    this.rig.device.push(head, this.#serial.get(head)!);
    this.#pushed.push(head);
  }

  #publish(dies?: number): void {
    this.#takeOver();
    const called = this.#call(dies, () => this.rig.device.publish());
    if (called !== undefined) return this.#publicationIsKnown(true);
    this.#diedInPublish = true;
    this.#die();
  }

  #publicationIsKnown(happened: boolean): void {
    this.#diedInPublish = false;
    if (happened) {
      for (const head of this.#pushed) this.#visible.add(head);
      this.#taken = this.#taken.filter((head) => !this.#pushed.includes(head));
    }
    this.#pushed = [];
  }

  /** Another thread takes the ring over from a dead one, itself dying a few times before it has it. */
  #takeOver(): void {
    if (this.#alive) return;
    const { rig } = this;
    for (let moment = 0; ; moment++) {
      const device = dyingAt(moment, () => rig.open(true, this.#words));
      if (device === undefined) continue;
      rig.device = device;
      break;
    }
    this.#alive = true;
    const { unfinished } = rig.device;
    if (this.#diedInPop) {
      this.#diedInPop = false;
      if (unfinished.length > this.#taken.length) this.#taken.push(this.#offered.shift()!);
    }
    if (this.#diedInPublish) this.#publicationIsKnown(unfinished.length < this.#taken.length);
    assert.deepEqual([...unfinished], this.#taken, 'what is in flight is not what was taken');
    for (const head of unfinished) {
      assert.equal(rig.device.retake(head, rig.chain), head);
      this.#isChainOf(head);
    }
  }

  #isChainOf(head: number): void {
    assert.equal(this.rig.chain.segments.length[0], this.#serial.get(head));
  }

  #call<T>(dies: number | undefined, call: () => T): T | undefined {
    return dies === undefined ? call() : dyingAt(dies, call);
  }
}

const dies = fc.option(fc.nat(24), { nil: undefined, freq: 2 });
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 3, arbitrary: fc.record({ do: fc.constant('add' as const), count: fc.integer({ min: 1, max: 6 }) }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('push' as const), which: fc.nat(50) }) },
  { weight: 4, arbitrary: dies.map((at) => ({ do: 'pop' as const, ...(at === undefined ? {} : { dies: at }) })) },
  { weight: 2, arbitrary: dies.map((at) => ({ do: 'publish' as const, ...(at === undefined ? {} : { dies: at }) })) },
  { weight: 2, arbitrary: fc.constant({ do: 'collect' as const }) },
  { weight: 1, arbitrary: fc.constant({ do: 'die' as const }) },
);

export function takeoverTests(layout: VirtqueueLayout, memory: () => TestMemory): void {
  const on = (size: number, start: number, test: (model: Model) => void) => {
    const model = new Model(layout, memory(), size, start);
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
        for (let moment = 0; moment < 2 * done + 8; moment++) {
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

  it('has moments at which a thread can die', () => {
    const model = new Model(layout, memory(), 4, 0);
    model.step({ do: 'add', count: 2 });
    assert.ok(countMoments(() => model.step({ do: 'pop' })) >= 4);
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

  it('tells a thread that starts afresh of nothing in flight', () => {
    const model = new Model(layout, memory(), 16, 65_530);
    model.step({ do: 'add', count: 5 });
    for (let i = 0; i < 5; i++) model.step({ do: 'pop' });
    const fresh = model.rig.open(false);
    assert.deepEqual([...fresh.unfinished], []);
    model.rig.release();
  });
}
