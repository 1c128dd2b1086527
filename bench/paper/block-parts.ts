import { BlockDriver } from '../../src/guest/block-driver.js';
import { LoadedQueue, type LoadPattern } from '../../src/guest/load.js';
import { LoadCounters } from '../../src/guest/load-counters.js';
import { GuestRam } from '../../src/guest/ram.js';
import { nowNs } from '../../src/host/clock.js';
import { type MemoryMap, mapAnonymous, PAGE_BYTES, unmap } from '../../src/host/memory-map.js';
import { viewBytes } from '../../src/host/memory-view.js';
import { encode } from '../../src/vhost-user/codec.js';
import type { Part } from './drive.js';

/** A guest with a disk. */
export class BlockPart implements Part {
  readonly counters = new LoadCounters();
  readonly requestBytes: number;
  readonly callFds: readonly number[];
  readonly #guest: BlockDriver;
  readonly #loaded: LoadedQueue;

  static async connect(socket: string, pattern: LoadPattern): Promise<BlockPart> {
    const { depth, requestBytes } = pattern;
    return new BlockPart(await BlockDriver.connect({ socket, depth, requestBytes }), pattern);
  }

  private constructor(guest: BlockDriver, pattern: LoadPattern) {
    const queue = guest.queues[0]!;
    this.requestBytes = pattern.requestBytes;
    this.callFds = [queue.callFd];
    this.#guest = guest;
    this.#loaded = new LoadedQueue(guest, queue, pattern, this.counters);
  }

  get inFlight(): number {
    return this.#loaded.inFlight;
  }

  start(): void {
    this.#loaded.start(nowNs());
  }

  turn(goOn: boolean): number {
    return this.#loaded.turn(true, goOn);
  }

  requestCalls(): boolean {
    return this.#loaded.queue.ring.requestCalls();
  }

  suppressCalls(): void {
    this.#loaded.queue.ring.suppressCalls();
  }

  /** Has its ring served, or served no longer. Nothing may be in flight. */
  async enable(on: boolean): Promise<void> {
    await this.#guest.frontEnd.send('SET_VRING_ENABLE', encode.vringState({ index: 0, num: on ? 1 : 0 }));
  }

  close(): void {
    this.#guest.close();
  }
}

/** Requests completed before the next guest has its turn: as of the guests with a back end. */
const BATCH_MAX = 16;

/** A guest that copies its disk's data itself: what there would be without any back end in between. */
export class DirectBlock implements Part {
  readonly counters = new LoadCounters();
  readonly requestBytes: number;
  readonly callFds: readonly number[] = [];
  readonly inFlight = 0;
  readonly #map: MemoryMap;
  readonly #disk: Buffer;
  readonly #ram: GuestRam;
  readonly #buffers: Buffer;
  readonly #depth: number;
  readonly #blocks: number;
  readonly #submittedAt: Float64Array;
  #random: number;
  #slot = 0;

  constructor({ depth, requestBytes, workingSetBytes, seed = 1 }: LoadPattern) {
    this.requestBytes = requestBytes;
    this.#depth = depth;
    this.#blocks = Math.floor(workingSetBytes / requestBytes);
    // The same kinds of memory that a back end's disk and a guest are in; written once, so that reads read pages of their own.
    this.#map = mapAnonymous(Math.ceil((this.#blocks * requestBytes) / PAGE_BYTES) * PAGE_BYTES);
    this.#disk = viewBytes(this.#map.address, this.#map.length).fill(1);
    this.#ram = new GuestRam(depth * requestBytes);
    this.#buffers = this.#ram.bytes.fill(1);
    this.#submittedAt = new Float64Array(depth);
    this.#random = seed >>> 0 || 1;
  }

  start(): void {
    this.#submittedAt.fill(nowNs());
  }

  turn(goOn: boolean): number {
    if (!goOn) return 0;
    const count = Math.min(this.#depth, BATCH_MAX);
    for (let i = 0; i < count; i++) {
      const to = ((this.#slot + i) % this.#depth) * this.requestBytes;
      const from = (this.#next() % this.#blocks) * this.requestBytes;
      this.#disk.copy(this.#buffers, to, from, from + this.requestBytes);
    }
    const now = nowNs();
    for (let i = 0; i < count; i++) {
      this.counters.latency.add(now - this.#submittedAt[this.#slot]!);
      this.#submittedAt[this.#slot] = now;
      this.#slot = this.#slot + 1 === this.#depth ? 0 : this.#slot + 1;
    }
    this.counters.countTurn(count, 0);
    return count;
  }

  #next(): number {
    // xorshift32
    let x = this.#random;
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    this.#random = x >>> 0;
    return this.#random;
  }

  requestCalls(): boolean {
    return true;
  }

  suppressCalls(): void {}

  close(): void {
    unmap(this.#map);
    this.#ram.close();
  }
}

/** A guest without a back end that has nothing to do: whoever polls looks at where its requests would come, and finds none. */
export class IdleDirect implements Part {
  readonly counters = new LoadCounters();
  readonly requestBytes = 0;
  readonly callFds: readonly number[] = [];
  readonly inFlight = 0;
  readonly #ram = new GuestRam(PAGE_BYTES);
  readonly #words = this.#ram.words;

  start(): void {}

  turn(): number {
    return this.#words[0]!;
  }

  requestCalls(): boolean {
    return false;
  }

  suppressCalls(): void {}

  close(): void {
    this.#ram.close();
  }
}

/** Writes what is used of a disk once, so that reads read pages of its own. */
export async function fillDisk(socket: string, bytes: number): Promise<void> {
  const requestBytes = Math.min(bytes, 64 * 1024);
  const pattern = { depth: 8, requestBytes, readShare: 0, workingSetBytes: bytes, sequential: true };
  const part = await BlockPart.connect(socket, pattern);
  try {
    part.start();
    while (part.counters.requests * requestBytes < bytes) part.turn(true);
    while (part.inFlight > 0) part.turn(false);
  } finally {
    part.close();
  }
}
