import { RequestType, SECTOR_BYTES, Status } from '../block/features.js';
import { Histogram } from '../filter/histogram.js';
import { nowNs } from '../host/clock.js';
import { EPOLLET, EPOLLIN, Epoll } from '../host/epoll.js';
import type { BlockDriver, BlockDriverQueue } from './block-driver.js';
import { LoadCounters } from './load-counters.js';

/** What a guest asks of its disk. */
export interface LoadPattern {
  /** Requests in flight, each queue. */
  readonly depth: number;
  /** Bytes of each request. */
  readonly requestBytes: number;
  /** Share of reads, 0 to 1; the rest are writes. */
  readonly readShare: number;
  /** Bytes from the start of the disk that are used; with `verify`, each queue has as many of its own. */
  readonly workingSetBytes: number;
  readonly sequential?: boolean;
  /** Fills what it writes and checks what it reads; slower. */
  readonly verify?: boolean;
  /** The disk is known to hold zeros, so that what was never written can be verified too. */
  readonly blank?: boolean;
  readonly seed?: number;
}

/** Completions handled before what was submitted anew is shown to the device, and the next guest has its turn. */
const BATCH_MAX = 16;
/** Looks at all guests without a completion before the clock is read. */
const SPINS_PER_CLOCK = 256;

/** One queue of one guest under load. */
export class LoadedQueue {
  readonly queue: BlockDriverQueue;
  readonly counters: LoadCounters;
  /** Requests submitted and not completed. */
  inFlight = 0;
  readonly #driver: BlockDriver;
  readonly #pattern: LoadPattern;
  readonly #blocks: number;
  /** First sector of its blocks. */
  readonly #firstSector: number;
  readonly #blockSectors: number;
  readonly #submittedAt: Float64Array;
  readonly #type: Uint8Array;
  readonly #block: Uint32Array;
  /** Per block: what it was last filled with; and whether a request for it is in flight. Only when verifying. */
  readonly #written: Uint32Array;
  readonly #busy: Uint8Array;
  readonly #expected: Uint32Array;
  readonly #expectedBytes: Uint8Array;
  #random: number;
  #position = 0;

  constructor(driver: BlockDriver, queue: BlockDriverQueue, pattern: LoadPattern, counters: LoadCounters) {
    this.#driver = driver;
    this.queue = queue;
    this.counters = counters;
    this.#pattern = pattern;
    const room = pattern.verify ? Math.floor(driver.capacity / driver.queues.length) : driver.capacity;
    const bytes = Math.min(pattern.workingSetBytes, room);
    this.#blocks = Math.floor(bytes / pattern.requestBytes);
    this.#blockSectors = pattern.requestBytes / SECTOR_BYTES;
    this.#firstSector = pattern.verify ? driver.queues.indexOf(queue) * this.#blocks * this.#blockSectors : 0;
    this.#submittedAt = new Float64Array(pattern.depth);
    this.#type = new Uint8Array(pattern.depth);
    this.#block = new Uint32Array(pattern.depth);
    this.#written = new Uint32Array(pattern.verify ? this.#blocks : 0);
    this.#busy = new Uint8Array(pattern.verify ? this.#blocks : 0);
    this.#expected = new Uint32Array(pattern.verify ? pattern.requestBytes >>> 2 : 0);
    this.#expectedBytes = new Uint8Array(this.#expected.buffer);
    this.#random = (pattern.seed ?? 1) >>> 0;
  }

  /** Requests completed in this window. */
  get requests(): number {
    return this.counters.requests;
  }

  start(now: number): void {
    for (let slot = 0; slot < this.#pattern.depth; slot++) this.#submit(slot, now);
    this.inFlight = this.#pattern.depth;
    this.#publish(0);
  }

  /** Handles completions and submits as many anew, unless the load is ending. Returns how many there were. */
  turn(timed: boolean, goOn: boolean): number {
    let slot = this.queue.take();
    if (slot < 0) return 0;
    const now = timed ? nowNs() : 0;
    let count = 0;
    while (slot >= 0) {
      count++;
      if (this.queue.status(slot) !== Status.OK) this.#fail(slot);
      else if (this.#pattern.verify) this.#check(slot);
      if (timed) this.counters.latency.add(now - this.#submittedAt[slot]!);
      if (goOn) this.#submit(slot, now);
      slot = count < BATCH_MAX ? this.queue.take() : -1;
    }
    if (!goOn) this.inFlight -= count;
    this.#publish(count);
    return count;
  }

  #publish(completed: number): void {
    const before = this.queue.kicks;
    this.queue.publish();
    this.counters.countTurn(completed, this.queue.kicks - before);
  }

  #next(): number {
    // xorshift32
    let x = this.#random || 0x9e3779b9;
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    this.#random = x >>> 0;
    return this.#random;
  }

  #chooseBlock(): number {
    if (this.#pattern.sequential) {
      this.#position = this.#position + 1 >= this.#blocks ? 0 : this.#position + 1;
      return this.#position;
    }
    return this.#next() % this.#blocks;
  }

  #submit(slot: number, now: number): void {
    const { readShare, verify, blank, requestBytes } = this.#pattern;
    let block = this.#chooseBlock();
    let read = readShare === 1 || (readShare > 0 && this.#next() / 2 ** 32 < readShare);
    if (verify) {
      while (this.#busy[block] === 1) block = this.#chooseBlock();
      this.#busy[block] = 1;
      // What was never written is not known, unless the disk was blank.
      if (this.#written[block] === 0 && !blank) read = false;
      if (!read) {
        const stamp = this.#next() | 1;
        this.#written[block] = stamp;
        const at = this.queue.dataAddress(slot);
        this.#driver.ram.words.fill(stamp, at >>> 2, (at + requestBytes) >>> 2);
      }
    }
    this.#block[slot] = block;
    this.#type[slot] = read ? RequestType.IN : RequestType.OUT;
    this.#submittedAt[slot] = now;
    this.queue.submit(
      slot,
      read ? RequestType.IN : RequestType.OUT,
      this.#firstSector + block * this.#blockSectors,
      requestBytes,
    );
  }

  #check(slot: number): void {
    const block = this.#block[slot]!;
    this.#busy[block] = 0;
    if (this.#type[slot] !== RequestType.IN) return;
    const { requestBytes } = this.#pattern;
    const at = this.queue.dataAddress(slot);
    this.#expected.fill(this.#written[block]!);
    const { bytes } = this.#driver.ram;
    this.counters.countCheck(bytes.compare(this.#expectedBytes, 0, requestBytes, at, at + requestBytes) === 0);
  }

  #fail(slot: number): void {
    this.counters.countError();
    if (this.#pattern.verify) this.#busy[this.#block[slot]!] = 0;
  }
}

/** What a window of load gave, over all guests. */
export interface LoadResult {
  readonly requests: number;
  readonly errors: number;
  readonly mismatches: number;
  readonly kicks: number;
  readonly seconds: number;
  readonly iops: number;
}

/** Something else that the thread of a load drives in turn with it. */
export interface LoadCompanion {
  /** Counts from zero. */
  clear(): void;
  /** Returns how much there was to do. */
  turn(): number;
  /** Descriptors by which it is called when there is something to do. */
  readonly callFds: readonly number[];
  /** Asks to be called; true if there is something to do already. */
  requestCalls(): boolean;
}

/**
 * The load of many guests, driven by one thread: several polling threads on one CPU would measure the kernel's time slices.
 * Guests poll for completions, or sleep until they are called.
 */
export class Load {
  readonly queues: LoadedQueue[];
  readonly #sleeping: boolean;
  readonly #timed: boolean;
  readonly #epoll: Epoll | undefined;
  readonly #companions: readonly LoadCompanion[];

  /**
   * @param options.sleeping - guests sleep on their call descriptors instead of polling
   * @param options.timed - keeps the latency of each request; costs a clock reading for each batch
   * @param options.counters - memory for the counters of each queue, `LoadCounters.BYTES` long
   */
  constructor(
    guests: readonly BlockDriver[],
    pattern: LoadPattern,
    options: {
      sleeping?: boolean;
      timed?: boolean;
      counters?: readonly ArrayBufferLike[];
      companions?: readonly LoadCompanion[];
    } = {},
  ) {
    this.#companions = options.companions ?? [];
    this.#sleeping = options.sleeping ?? false;
    this.#timed = options.timed ?? false;
    let seed = pattern.seed ?? 1;
    this.queues = guests
      .flatMap((guest) => guest.queues.map((queue) => ({ guest, queue })))
      .map(({ guest, queue }, index) => {
        const counters = new LoadCounters(options.counters?.[index]);
        return new LoadedQueue(guest, queue, { ...pattern, seed: seed++ }, counters);
      });
    if (this.#sleeping) {
      const fds = [
        ...this.queues.map(({ queue }) => queue.callFd),
        ...this.#companions.flatMap(({ callFds }) => callFds),
      ];
      this.#epoll = new Epoll(fds.length);
      for (const [index, fd] of fds.entries()) this.#epoll.add(fd, EPOLLIN | EPOLLET, index);
    }
  }

  /** Starts all requests; they go on from window to window until `finish`. */
  start(): void {
    const now = nowNs();
    for (const queue of this.queues) queue.start(now);
  }

  /** Drives the load for a time; counts from zero. */
  run(ms: number): LoadResult {
    for (const queue of this.queues) queue.counters.clear();
    for (const companion of this.#companions) companion.clear();
    const start = nowNs();
    const end = start + ms * 1e6;
    let now = start;
    let looks = 0;
    while (now < end) {
      if (this.#look(true) === 0 && this.#sleeping) this.#sleep();
      if (++looks % SPINS_PER_CLOCK === 0 || this.#sleeping) now = nowNs();
    }
    return this.#result((nowNs() - start) / 1e9);
  }

  /** Lets everything in flight complete. False if something did not within the time. */
  finish(timeoutMs = 10_000): boolean {
    const deadline = nowNs() + timeoutMs * 1e6;
    for (const queue of this.queues) queue.queue.ring.suppressCalls();
    while (this.queues.some((queue) => queue.inFlight > 0)) {
      this.#look(false);
      if (nowNs() > deadline) return false;
    }
    return true;
  }

  #look(goOn: boolean): number {
    let count = 0;
    for (let i = 0; i < this.queues.length; i++) count += this.queues[i]!.turn(this.#timed, goOn);
    if (goOn) for (let i = 0; i < this.#companions.length; i++) count += this.#companions[i]!.turn();
    return count;
  }

  /** Sleeps until any guest is called, for at most 100 ms. */
  #sleep(): void {
    let ready = false;
    for (const { queue } of this.queues) ready = queue.ring.requestCalls() || ready;
    for (const companion of this.#companions) ready = companion.requestCalls() || ready;
    if (!ready) this.#epoll!.wait(100);
  }

  #result(seconds: number): LoadResult {
    const sum = (pick: (counters: LoadCounters) => number) =>
      this.queues.reduce((total, { counters }) => total + pick(counters), 0);
    const requests = sum((counters) => counters.requests);
    return {
      requests,
      errors: sum((counters) => counters.errors),
      mismatches: sum((counters) => counters.mismatches),
      kicks: sum((counters) => counters.kicks),
      seconds,
      iops: requests / seconds,
    };
  }

  /** Latency over all guests at a share (0 to 1), ns. */
  latency(share: number): number {
    const all = new Histogram();
    for (const { counters } of this.queues) all.merge(counters.latency);
    return all.quantile(share);
  }
}
