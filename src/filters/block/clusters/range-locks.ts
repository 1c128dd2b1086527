/** Locks of a disk: those of ranges that are so many locks apart are one. A power of two. */
const LOCKS = 1024;

/**
 * Locks on ranges of a disk in memory that all its queues share, each held by a queue. None is ever waited for: who does not get them asks
 * again in a later turn. What a queue held when its sidecore died is let go of by the next one that serves it.
 */
export class RangeLocks {
  static readonly BYTES = 4 * LOCKS;
  /** Locks that were asked for in vain, since it was set to zero: what is tried again in each turn has to be bounded. */
  failed = 0;
  readonly #words: Int32Array;
  readonly #owner: number;
  readonly #unitShift: number;

  /**
   * @param queue - its number
   * @param unitShift - a lock is for so many sectors, as a power of two
   */
  constructor(words: Int32Array, queue: number, unitShift: number) {
    this.#words = words;
    this.#owner = queue + 1;
    this.#unitShift = unitShift;
  }

  /** Takes all locks of sectors `[from, end)`, or none. */
  take(from: number, end: number): boolean {
    const first = this.#unit(from);
    const count = this.#count(first, end);
    for (let i = 0; i < count; i++) {
      if (Atomics.compareExchange(this.#words, (first + i) % LOCKS, 0, this.#owner) === 0) continue;
      this.#release(first, i);
      this.failed += i + 1;
      return false;
    }
    return true;
  }

  release(from: number, end: number): void {
    const first = this.#unit(from);
    this.#release(first, this.#count(first, end));
  }

  /** Lets go of all that this queue has. */
  releaseAll(): void {
    for (let i = 0; i < LOCKS; i++) Atomics.compareExchange(this.#words, i, this.#owner, 0);
  }

  #release(first: number, count: number): void {
    for (let i = 0; i < count; i++) Atomics.store(this.#words, (first + i) % LOCKS, 0);
  }

  #unit(sector: number): number {
    return Math.floor(sector / 2 ** this.#unitShift);
  }

  #count(first: number, end: number): number {
    return Math.min(LOCKS, this.#unit(end - 1) + 1 - first);
  }
}
