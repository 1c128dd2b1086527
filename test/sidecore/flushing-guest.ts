/**
 * A guest that reads, writes and flushes on all queues of its disk, checks every byte that it reads, and remembers at each flush how
 * many of its writes were complete before.
 */
import assert from 'node:assert/strict';
import { setImmediate as turn } from 'node:timers/promises';
import { BlockDriver, RequestType, Status } from '../../src/guest/index.js';
import type { Random } from '../support/seed.js';

const DEPTH = 16;
const BLOCK_BYTES = 4096;
const SECTORS = BLOCK_BYTES / 512;
/** Blocks of each queue. */
const BLOCKS = 128;
const FLUSH_SHARE = 0.02;
/** Looks at the rings between two looks at the clock. */
const LOOKS = 32;

class Slots {
  readonly type = new Uint8Array(DEPTH);
  readonly block = new Uint32Array(DEPTH);
  readonly busy = new Uint8Array(BLOCKS);
  /** What each block holds in all its words; zero at first. */
  readonly stamps = new Uint32Array(BLOCKS);
  /** Blocks that were being written when the guest before left. */
  readonly unknown = new Uint8Array(BLOCKS);
  inFlight = 0;
  flushing = false;
  /** At each flush: writes of the whole disk that were complete before it was submitted. */
  readonly flushes: number[] = [];
}

export class FlushingGuest {
  readonly driver: BlockDriver;
  requests = 0;
  writes = 0;
  readonly #random: Random;
  readonly #queues: readonly Slots[];

  private constructor(driver: BlockDriver, random: Random, queues: readonly Slots[]) {
    this.driver = driver;
    this.#random = random;
    this.#queues = queues;
  }

  /** @param before - whose disk this is, which has left */
  static async connect(socket: string, queues: number, random: Random, before?: FlushingGuest): Promise<FlushingGuest> {
    const driver = await BlockDriver.connect({ socket, depth: DEPTH, requestBytes: BLOCK_BYTES, queues });
    const slots = driver.queues.map((_, index) => {
      const own = new Slots();
      if (before !== undefined) {
        const { stamps, busy, unknown } = before.#queues[index]!;
        own.stamps.set(stamps);
        for (let block = 0; block < BLOCKS; block++) own.unknown[block] = busy[block]! | unknown[block]!;
      }
      return own;
    });
    return new FlushingGuest(driver, random, slots);
  }

  /** Of each queue. */
  get flushes(): readonly (readonly number[])[] {
    return this.#queues.map(({ flushes }) => flushes);
  }

  /** Works for a time. */
  work(ms: number): void {
    const end = performance.now() + ms;
    do for (let look = 0; look < LOOKS; look++) this.#look(true);
    while (performance.now() < end);
  }

  /** Works until something is done, whether well or not. Returns that. */
  async during<T>(what: Promise<T>): Promise<T> {
    let isDone = false;
    const done = () => {
      isDone = true;
    };
    what.then(done, done);
    do {
      this.work(0.2);
      await turn();
    } while (!isDone);
    return what;
  }

  /** Lets everything in flight complete. */
  finish(msMax = 10_000): void {
    const end = performance.now() + msMax;
    while (this.#queues.some(({ inFlight }) => inFlight > 0)) {
      this.#look(false);
      assert.ok(performance.now() < end, 'every request comes back');
    }
  }

  #look(goOn: boolean): void {
    for (const [index, queue] of this.driver.queues.entries()) {
      const slots = this.#queues[index]!;
      let count = 0;
      for (let slot = queue.take(); slot >= 0; slot = queue.take()) {
        this.#complete(index, slot);
        slots.inFlight--;
        count++;
        if (goOn) this.#submit(index, slot);
      }
      if (goOn && slots.inFlight === 0 && count === 0)
        for (let slot = 0; slot < DEPTH; slot++) this.#submit(index, slot);
      if (goOn) queue.publish();
    }
  }

  #submit(index: number, slot: number): void {
    const slots = this.#queues[index]!;
    const queue = this.driver.queues[index]!;
    slots.inFlight++;
    if (!slots.flushing && this.#random.chance(FLUSH_SHARE)) {
      slots.flushing = true;
      slots.flushes.push(this.writes);
      slots.type[slot] = RequestType.FLUSH;
      return queue.submit(slot, RequestType.FLUSH, 0, 0);
    }
    let block = this.#random.below(BLOCKS);
    while (slots.busy[block] === 1) block = (block + 1) % BLOCKS;
    slots.busy[block] = 1;
    slots.block[slot] = block;
    const isRead = this.#random.chance(0.5);
    slots.type[slot] = isRead ? RequestType.IN : RequestType.OUT;
    if (!isRead) {
      slots.unknown[block] = 0;
      slots.stamps[block] = this.#random.word() | 1;
      const at = queue.dataAddress(slot) >>> 2;
      this.driver.ram.words.fill(slots.stamps[block]!, at, at + BLOCK_BYTES / 4);
    }
    queue.submit(slot, slots.type[slot]!, (index * BLOCKS + block) * SECTORS, BLOCK_BYTES);
  }

  #complete(index: number, slot: number): void {
    const slots = this.#queues[index]!;
    const queue = this.driver.queues[index]!;
    const type = slots.type[slot]!;
    assert.equal(queue.status(slot), Status.OK, `request of type ${type} on queue ${index}`);
    this.requests++;
    if (type === RequestType.FLUSH) {
      slots.flushing = false;
      return;
    }
    const block = slots.block[slot]!;
    slots.busy[block] = 0;
    if (type === RequestType.OUT) {
      this.writes++;
      return;
    }
    if (slots.unknown[block] === 1) return;
    const at = queue.dataAddress(slot) >>> 2;
    const { words } = this.driver.ram;
    const stamp = slots.stamps[block]!;
    for (let i = at; i < at + BLOCK_BYTES / 4; i++)
      if (words[i] !== stamp) assert.fail(`block ${block} of queue ${index} holds ${words[i]}, not ${stamp}`);
  }
}
