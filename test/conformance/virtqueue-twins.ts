/** Two rings whose drivers do the same: from one chains are taken in bursts, from the other one by one. */
import assert from 'node:assert/strict';
import { Burst } from '../../src/virtio/burst.js';
import type { TestMemory } from '../support/guest-memory.js';
import type { Random } from '../support/seed.js';
import type { DriverSide, Element, RingSetup, VirtqueueLayout } from './virtqueue-layout.js';
import { RingRig } from './virtqueue-rig.js';

export class Twins {
  readonly bursts: RingRig;
  readonly single: RingRig;
  readonly burst: Burst;
  /** How many chains came in bursts. */
  inBursts = 0;

  constructor(layout: VirtqueueLayout, memory: TestMemory, setup: Partial<RingSetup> = {}, capacity = 32) {
    this.bursts = new RingRig(layout, memory, setup);
    this.single = new RingRig(layout, memory, setup);
    this.burst = new Burst(capacity);
  }

  /** Has both drivers do something. */
  drivers(act: (driver: DriverSide) => void): void {
    act(this.bursts.driver);
    act(this.single.driver);
  }

  add(elements: readonly Element[]): void {
    this.drivers((driver) => driver.add(elements));
  }

  publish(): void {
    assert.equal(this.bursts.driver.publish(), this.single.driver.publish(), 'one device wants a kick');
  }

  /** Takes a burst, which must be what the other ring gives one by one. Returns how many. */
  popBurst(limit: number, writable: boolean): number {
    const count = this.bursts.device.popBurst(this.burst, limit, writable);
    assert.ok(count >= 0 && count <= limit, `${count} of ${limit}`);
    for (let i = 0; i < count; i++) {
      const head = this.single.pop();
      assert.ok(head >= 0, `a burst has what pop refuses with ${head}`);
      this.#isOf(i, head, writable);
    }
    this.inBursts += count;
    return count;
  }

  /** Takes one chain of each. Returns its head, or why there is none. */
  pop(): number {
    const head = this.bursts.pop();
    assert.equal(head, this.single.pop());
    if (head < 0) return head;
    const { readableCount, readableBytes, writableBytes } = this.single.chain;
    assert.deepEqual(this.bursts.pieces(), this.single.pieces());
    assert.deepEqual(
      [this.bursts.chain.readableCount, this.bursts.chain.readableBytes, this.bursts.chain.writableBytes],
      [readableCount, readableBytes, writableBytes],
    );
    return head;
  }

  /** Takes what there is, until `EMPTY` or a fault, which is the same for both. */
  drain(random: Random, limitMax = this.burst.capacity, onBurst: (count: number) => void = () => {}): number {
    for (;;) {
      const writable = random.chance(0.5);
      for (;;) {
        const limit = random.below(limitMax + 1);
        const count = this.popBurst(limit, writable);
        onBurst(count);
        if (count < limit || count === 0) break;
      }
      const head = this.pop();
      if (head < 0) return head;
      this.push(head, head);
    }
  }

  push(head: number, written: number): void {
    this.bursts.device.push(head, written);
    this.single.device.push(head, written);
  }

  /** Gives a part of the last burst back. */
  pushBurst(from: number, to: number): void {
    this.bursts.device.pushBurst(this.burst, from, to);
    for (let i = from; i < to; i++) this.single.device.push(this.burst.head[i]!, this.burst.written[i]!);
  }

  /** Publishes both, and has the drivers take what came. Returns how many that were. */
  settle(): number {
    assert.equal(this.bursts.driver.take(), undefined, 'something shows before it is published');
    assert.equal(this.bursts.device.publish(), this.single.device.publish(), 'one device calls');
    for (let count = 0; ; count++) {
      const used = this.bursts.driver.take();
      assert.deepEqual(used, this.single.driver.take());
      if (used === undefined) return count;
    }
  }

  release(): void {
    this.bursts.release();
    this.single.release();
  }

  /** Holds one of the burst against the chain that the other ring gave. */
  #isOf(index: number, head: number, writable: boolean): void {
    const { burst } = this;
    const { segments, readableBytes, writableBytes } = this.single.chain;
    const length = burst.length[index]!;
    assert.equal(burst.head[index], head);
    assert.equal(readableBytes, writable ? 0 : length);
    assert.equal(writableBytes, writable ? length : 0);
    // One by one, an empty descriptor is no piece.
    assert.equal(segments.count, length === 0 ? 0 : 1);
    if (length === 0) return;
    assert.equal(burst.window[index], segments.window[0]);
    assert.equal(burst.offset[index], segments.offset[0]);
    assert.equal(length, segments.length[0]);
  }
}

/** Runs `test` on two rings, and gives their memory back whatever comes of it. */
export function withTwins(
  layout: VirtqueueLayout,
  memory: TestMemory,
  setup: Partial<RingSetup>,
  test: (twins: Twins) => void,
): void {
  const twins = new Twins(layout, memory, setup);
  try {
    test(twins);
  } finally {
    twins.release();
  }
}
