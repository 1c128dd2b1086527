/**
 * Both ends of a ring whose threads die, and what is known of its chains: what the dead thread had done for certain, and what
 * it may have done just before it died.
 */
import assert from 'node:assert/strict';
import { Burst } from '../../src/virtio/burst.js';
import { Pop } from '../../src/virtio/virtqueue.js';
import type { TestMemory } from '../support/guest-memory.js';
import type { VirtqueueLayout } from './virtqueue-layout.js';
import { dyingAt, watchedWords } from './virtqueue-moments.js';
import { LOW, RingRig } from './virtqueue-rig.js';

/** Chains of the longest burst. */
const BURST_MAX = 16;

export type Step =
  /** Driver: adds chains of one or two descriptors and publishes them. */
  | { readonly do: 'add'; readonly count: number }
  /** Driver: takes what was given back. */
  | { readonly do: 'collect' }
  /** Device, perhaps dying at a moment of the call. */
  | { readonly do: 'pop' | 'publish'; readonly dies?: number }
  /** Device: takes a burst and gives all but some of it up again, perhaps dying at a moment of either. */
  | { readonly do: 'popBurst'; readonly limit: number; readonly keep: number; readonly dies?: number }
  /** Device: gives back one of those in flight, not yet published; or all that it has. */
  | { readonly do: 'push'; readonly which: number }
  | { readonly do: 'pushBurst' }
  /** The device dies between two calls. */
  | { readonly do: 'die' };

/** Holds the device to what the model says, at every step. */
export class TakeoverModel {
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
  readonly #burst = new Burst(BURST_MAX);
  #alive = true;
  /** Died while it took chains: how many of the first of those offered it may have taken. */
  #mayHaveTaken = 0;
  /** Died in `publish`, which may have made visible what was pushed. */
  #diedInPublish = false;
  deaths = 0;

  /** Heads of chains of two descriptors. */
  readonly #isDouble = new Set<number>();
  readonly #doubleEvery: number;

  /** @param doubleEvery - one chain of so many has two descriptors */
  constructor(layout: VirtqueueLayout, memory: TestMemory, size: number, start: number, doubleEvery = 3) {
    this.#doubleEvery = doubleEvery;
    this.rig = new RingRig(layout, memory, { size, start });
    this.#words = watchedWords(this.rig.logWords);
    this.rig.device = this.rig.open(false, this.#words);
  }

  step(step: Step): void {
    switch (step.do) {
      case 'add':
        this.#add(step.count);
        break;
      case 'collect':
        this.#collect();
        break;
      case 'die':
        this.#die();
        break;
      case 'pop':
        this.#pop(step.dies);
        break;
      case 'popBurst':
        this.#popBurst(Math.min(step.limit, BURST_MAX), step.keep, step.dies);
        break;
      case 'push':
        this.#push(step.which);
        break;
      case 'pushBurst':
        this.#pushBurst();
        break;
      case 'publish':
        this.#publish(step.dies);
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
      if (driver.free > 1 && serial % this.#doubleEvery === 0) elements.push({ address: LOW.guestAddress, length: 1 });
      const head = driver.add(elements);
      this.#serial.set(head, serial);
      if (elements.length > 1) this.#isDouble.add(head);
      else this.#isDouble.delete(head);
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
      this.#mayHaveTaken = Math.min(1, this.#offered.length);
      this.#die();
      return;
    }
    const offered = this.#offered.shift();
    assert.equal(head, offered ?? Pop.EMPTY);
    if (offered === undefined) return;
    this.#taken.push(head);
    this.#isChainOf(head);
  }

  /** How many of those offered a burst takes: up to the first that has more than one descriptor. */
  #inBurst(limit: number): number {
    const stop = this.#offered.findIndex((head) => this.#isDouble.has(head));
    return Math.min(limit, stop < 0 ? this.#offered.length : stop);
  }

  #popBurst(limit: number, keep: number, dies?: number): void {
    this.#takeOver();
    const { device } = this.rig;
    const burst = this.#burst;
    const most = this.#inBurst(limit);
    const count = this.#call(dies, () => {
      const taken = device.popBurst(burst, limit, false);
      for (let i = taken; i > keep; i--) device.unpop(burst.head[i - 1]!);
      return taken;
    });
    if (count === undefined) {
      this.#mayHaveTaken = most;
      this.#die();
      return;
    }
    assert.ok(count <= most && (count > 0 || most === 0), `${count} of ${most}`);
    for (let i = 0; i < Math.min(count, keep); i++) {
      const head = this.#offered.shift()!;
      assert.equal(burst.head[i], head);
      assert.equal(burst.length[i], this.#serial.get(head));
      this.#taken.push(head);
    }
  }

  /** Gives all back that is in flight, as one burst. */
  #pushBurst(): void {
    this.#takeOver();
    const open = this.#taken.filter((head) => !this.#pushed.includes(head)).slice(0, BURST_MAX);
    for (const [i, head] of open.entries()) {
      this.#burst.head[i] = head;
      this.#burst.written[i] = this.#serial.get(head)!;
    }
    this.rig.device.pushBurst(this.#burst, 0, open.length);
    this.#pushed.push(...open);
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
    if (called !== undefined) {
      this.#publicationIsKnown(true);
    } else {
      this.#diedInPublish = true;
      this.#die();
    }
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
    // It had taken the first of these, as far as it got.
    for (; this.#mayHaveTaken > 0; this.#mayHaveTaken--) {
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
