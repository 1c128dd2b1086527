import { BLOCK_LOCKS } from '../../limits.js';

const MASK = BLOCK_LOCKS - 1;

/**
 * Locks of a disk's blocks, in memory that all its queues share: whoever changes a block has it for itself until it has done so. A lock
 * names the queue that holds it, so that those of a sidecore that died can be let go of. Nobody waits here: who does not get a lock
 * asks again later.
 */
export class BlockLocks {
  static readonly BYTES = 4 * BLOCK_LOCKS;
  /** Locks that were asked for in vain, since it was set to zero: what is tried again in each turn has to be bounded. */
  failed = 0;
  readonly #words: Int32Array;
  readonly #owner: number;

  constructor(memory: SharedArrayBuffer, byteOffset: number, queue: number) {
    this.#words = new Int32Array(memory, byteOffset, BLOCK_LOCKS);
    this.#owner = queue + 1;
  }

  /** Lets go of all that the queue holds, of which nothing is in flight any more. */
  reset(): void {
    const words = this.#words;
    for (let i = 0; i < BLOCK_LOCKS; i++) if (words[i] === this.#owner) Atomics.store(words, i, 0);
  }

  /** Takes blocks, all or none. */
  take(first: number, count: number): boolean {
    const words = this.#words;
    const wanted = Math.min(count, BLOCK_LOCKS);
    for (let i = 0; i < wanted; i++) {
      if (Atomics.compareExchange(words, (first + i) & MASK, 0, this.#owner) === 0) continue;
      this.release(first, i);
      this.failed += i + 1;
      return false;
    }
    return true;
  }

  release(first: number, count: number): void {
    const words = this.#words;
    const held = Math.min(count, BLOCK_LOCKS);
    for (let i = 0; i < held; i++) Atomics.store(words, (first + i) & MASK, 0);
  }
}
