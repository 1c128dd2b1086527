import { assert } from '../../../errors.js';
import { Iovecs } from '../../../host/iovecs.js';
import { type MemoryMap, mapAnonymous, unmap } from '../../../host/memory-map.js';
import { viewBytes } from '../../../host/memory-view.js';
import { CHAIN_SEGMENTS_MAX, REQUESTS_IN_FLIGHT_MAX } from '../../../limits.js';
import type { RequestPool } from '../../request.js';

/** One bounce buffer, bytes. A longer request goes through it piece by piece. */
export const BOUNCE_BYTES = 64 * 1024;
/** Bounce buffers of a sidecore. */
const BOUNCE_COUNT = 16;
/** The bounce buffer that is never taken: for pieces that are transferred while the sidecore waits. */
export const BOUNCE_SYNC = 0;
/** No bounce buffer. */
export const NO_BOUNCE = -1;

/** Zeros to write where the file system cannot zero, bytes. */
export const ZEROS_BYTES = 2 ** 20;

/**
 * What the file back ends of one sidecore keep for the kernel: for each request slot a list of iovecs, a few bounce buffers,
 * and zeros. Mapped, not allocated: if the sidecore dies, the kernel may still use it, and it stays.
 */
export class Arena {
  /** Address of zeros, which are only ever read. */
  readonly zeros: number;
  /** Attempts of the operation of each request slot that were in vain. */
  readonly retries = new Uint8Array(REQUESTS_IN_FLIGHT_MAX);
  /** Bounce buffer of each request slot. */
  readonly bounce = new Int8Array(REQUESTS_IN_FLIGHT_MAX).fill(NO_BOUNCE);
  readonly #iovecs = new Iovecs(REQUESTS_IN_FLIGHT_MAX, CHAIN_SEGMENTS_MAX);
  readonly #bounces: MemoryMap;
  readonly #bounceBytes: Buffer;
  readonly #zeros: MemoryMap;
  readonly #free = new Uint8Array(BOUNCE_COUNT);
  #freeCount = 0;
  #users = 0;

  static readonly #arenas = new WeakMap<RequestPool, Arena>();

  /** The arena of the sidecore that has this pool. Each call is paired with a `release`. */
  static of(pool: RequestPool): Arena {
    let arena = Arena.#arenas.get(pool);
    if (arena === undefined) {
      arena = new Arena();
      Arena.#arenas.set(pool, arena);
    }
    arena.#users++;
    return arena;
  }

  private constructor() {
    this.#bounces = mapAnonymous(BOUNCE_COUNT * BOUNCE_BYTES);
    this.#bounceBytes = viewBytes(this.#bounces.address, this.#bounces.length);
    this.#zeros = mapAnonymous(ZEROS_BYTES);
    this.zeros = this.#zeros.address;
    for (let i = BOUNCE_COUNT - 1; i > BOUNCE_SYNC; i--) this.#free[this.#freeCount++] = i;
  }

  release(pool: RequestPool): void {
    this.#users--;
    if (this.#users > 0) return;
    assert(this.#freeCount === BOUNCE_COUNT - 1, 'a bounce buffer is still taken');
    Arena.#arenas.delete(pool);
    this.#iovecs.close();
    unmap(this.#bounces);
    unmap(this.#zeros);
  }

  /** Address of a request slot's iovecs. */
  iovecs(slot: number): number {
    return this.#iovecs.address(slot);
  }

  setIovec(slot: number, index: number, address: number, length: number): void {
    this.#iovecs.set(slot, index, address, length);
  }

  /** Takes a bounce buffer for a request slot, or the one for waiting if no other is free. */
  takeBounce(slot: number): void {
    this.bounce[slot] = this.#freeCount > 0 ? this.#free[--this.#freeCount]! : BOUNCE_SYNC;
  }

  /** Ends the use of a request slot's bounce buffer, if it has one. */
  giveBounceBack(slot: number): void {
    const bounce = this.bounce[slot]!;
    if (bounce === NO_BOUNCE) return;
    this.bounce[slot] = NO_BOUNCE;
    if (bounce !== BOUNCE_SYNC) this.#free[this.#freeCount++] = bounce;
  }

  bounceAddress(slot: number): number {
    return this.#bounces.address + this.bounce[slot]! * BOUNCE_BYTES;
  }

  /** All bounce buffers; that of a slot begins at `bounceOffset`. */
  get bounceBytes(): Buffer {
    return this.#bounceBytes;
  }

  bounceOffset(slot: number): number {
    return this.bounce[slot]! * BOUNCE_BYTES;
  }
}
