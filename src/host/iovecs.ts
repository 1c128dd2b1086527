import { type MemoryMap, mapAnonymous, unmap } from './memory-map.js';
import { viewWords32 } from './memory-view.js';

/** struct iovec, 16 bytes: address and length, 8 bytes each. readv(2) */
const IOVEC_BYTES = 16;
const IOVEC_WORDS = IOVEC_BYTES / 4;
const HIGH = 2 ** -32;

/** Lists of iovecs, all of the same length, for the kernel. Mapped, not allocated: the kernel may use them longer than their thread lives. */
export class Iovecs {
  readonly #map: MemoryMap;
  readonly #words: Uint32Array;
  readonly #listLength: number;

  constructor(lists: number, listLength: number) {
    this.#map = mapAnonymous(lists * listLength * IOVEC_BYTES);
    this.#words = viewWords32(this.#map.address, this.#map.length);
    this.#listLength = listLength;
  }

  /** Address of a list. */
  address(list: number): number {
    return this.#map.address + list * (this.#listLength * IOVEC_BYTES);
  }

  set(list: number, index: number, address: number, length: number): void {
    const at = (list * this.#listLength + index) * IOVEC_WORDS;
    const words = this.#words;
    // Storing a number in 32 bits takes its lower half; the length's upper half stays zero.
    words[at] = address;
    words[at + 1] = address * HIGH;
    words[at + 2] = length;
  }

  close(): void {
    unmap(this.#map);
  }
}
