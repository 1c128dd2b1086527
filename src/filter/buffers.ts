import { assert } from '../errors.js';
import { GuestMemory } from '../guest-memory/guest-memory.js';
import { mapAnonymous, PAGE_BYTES, retire } from '../host/memory-map.js';
import { viewBytes } from '../host/memory-view.js';
import { FILTER_BUFFER_BYTES_MAX } from '../limits.js';
import type { BufferPool, IoBuffer } from './contract.js';

/** A buffer, and where it lies in its pool's memory. */
export class OwnBuffer implements IoBuffer {
  readonly index: number;
  readonly bytes: Buffer;
  readonly address: number;
  /** As back ends see it. */
  readonly memory: GuestMemory;
  readonly start: number;
  taken = false;

  constructor(index: number, length: number, memory: GuestMemory, start: number, address: number) {
    this.index = index;
    this.bytes = viewBytes(address, length);
    this.memory = memory;
    this.start = start;
    this.address = address;
  }
}

/**
 * A filter's own memory. Mapped, not allocated: if its sidecore dies, the kernel may still use it, and it stays.
 */
export class OwnBuffers implements BufferPool {
  readonly #map: ReturnType<typeof mapAnonymous>;
  readonly #all: readonly OwnBuffer[];
  readonly #free: Uint32Array;
  #freeCount: number;

  /**
   * @param bytes - of each; they begin at pages
   * @param bytesMax - that their pages may take
   */
  constructor(count: number, bytes: number, bytesMax: number) {
    const each = Math.ceil(bytes / PAGE_BYTES) * PAGE_BYTES;
    const whole = Number.isInteger(count) && count > 0 && Number.isInteger(bytes) && bytes > 0;
    if (!whole || count * each > bytesMax)
      throw new Error(`buffers: at least one, and at most ${FILTER_BUFFER_BYTES_MAX} bytes of pages for each queue`);
    const map = mapAnonymous(count * each);
    this.#map = map;
    const region = { guestAddress: 0, userAddress: 0, size: map.length, hostAddress: map.address };
    const memory = new GuestMemory([region]);
    this.#all = Array.from(
      { length: count },
      (_, index) => new OwnBuffer(index, bytes, memory, index * each, map.address + index * each),
    );
    this.#free = Uint32Array.from({ length: count }, (_, i) => count - 1 - i);
    this.#freeCount = count;
  }

  get mappedBytes(): number {
    return this.#map.length;
  }

  take(): OwnBuffer | undefined {
    if (this.#freeCount === 0) return undefined;
    const buffer = this.#all[this.#free[--this.#freeCount]!]!;
    buffer.taken = true;
    return buffer;
  }

  giveBack(buffer: IoBuffer): void {
    const own = this.#all[buffer.index];
    if (own !== buffer || !own.taken) throw new Error('the buffer is not one that was taken from this pool');
    own.taken = false;
    this.#free[this.#freeCount++] = own.index;
  }

  close(): void {
    assert(this.#map.length > 0, 'buffers are closed once');
    retire(this.#map);
  }
}
