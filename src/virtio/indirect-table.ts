import { type GuestMemory, Translation } from '../guest-memory/guest-memory.js';
import { Segments } from '../guest-memory/segments.js';
import { CHAIN_SEGMENTS_MAX } from '../limits.js';
import { DESCRIPTOR_BYTES, DESCRIPTOR_WORDS } from './ring-layout.js';
import { Pop } from './virtqueue.js';

/**
 * An indirect descriptor table in guest memory, opened for one chain at a time. It is read where it lies, or from a copy if it lies
 * across windows or unaligned. VIRTIO 1.3, 2.7.5.3 and 2.8.7
 */
export class IndirectTable {
  /** Memory in which the open table is, and the word at which it starts. */
  words: Uint32Array;
  firstWord = 0;
  /** Descriptors of it that may be read: no more than a chain may have. */
  count = 0;
  readonly #memory: GuestMemory;
  readonly #pieces = new Segments(2);
  readonly #copy = new Uint32Array(CHAIN_SEGMENTS_MAX * DESCRIPTOR_WORDS);
  readonly #copyBytes = Buffer.from(this.#copy.buffer);

  constructor(memory: GuestMemory) {
    this.#memory = memory;
    this.words = this.#copy;
  }

  /** Finds a table: zero, or a fault. */
  open(low: number, high: number, length: number): number {
    if (length === 0 || length % DESCRIPTOR_BYTES !== 0) return Pop.INDIRECT_INVALID;
    const pieces = this.#pieces;
    const bytes = Math.min(length, this.#copy.byteLength);
    pieces.count = 0;
    if (this.#memory.translate(low, high, bytes, pieces) !== Translation.OK) return Pop.ADDRESS_INVALID;
    this.count = bytes / DESCRIPTOR_BYTES;
    const offset = pieces.offset[0]!;
    const words = this.#memory.words[pieces.window[0]!]!;
    if (pieces.count === 1 && (offset & 3) === 0 && offset + bytes <= words.byteLength) {
      this.words = words;
      this.firstWord = offset >>> 2;
      return 0;
    }
    for (let i = 0, at = 0; i < pieces.count; i++) {
      const from = pieces.offset[i]!;
      at += this.#memory.bytes[pieces.window[i]!]!.copy(this.#copyBytes, at, from, from + pieces.length[i]!);
    }
    this.words = this.#copy;
    this.firstWord = 0;
    return 0;
  }
}
