/**
 * Both ends of a ring whose threads die, and what is known of its chains: what the dead thread had done for certain, and what
 * it may have done just before it died.
 */
import assert from 'node:assert/strict';
import { Pop } from '../../src/virtio/virtqueue.js';
import type { TestMemory } from '../support/guest-memory.js';
import type { VirtqueueLayout } from './virtqueue-layout.js';
import { dyingAt, watchedWords } from './virtqueue-moments.js';
import { LOW, RingRig } from './virtqueue-rig.js';

export type Step =
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
      case 'push':
        this.#push(step.which);
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
      this.#die();
      return;
    }
    const offered = this.#offered.shift();
    assert.equal(head, offered ?? Pop.EMPTY);
    if (offered === undefined) return;
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
