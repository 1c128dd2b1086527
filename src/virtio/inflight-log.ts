/** Words before the first slot. */
const HEADER_WORDS = 2;
/** Word: position up to which everything given back is settled. */
const SETTLED = 0;
/** Word: how far the next chain to take is ahead of the next to give back, without those in flight; fixed at the start. */
const BASE_OFFSET = 1;

/**
 * Which chains of a ring are in flight, in memory that outlives the thread that serves it: another thread takes the ring
 * over and finishes what the first had taken. One word a descriptor head: zero, or the order in which it was taken.
 *
 * It has the content of vhost-user's inflight region (per head: in flight, order; for the whole: the settled used
 * index), so that the same contract can be kept in memory that outlives the process. A layout that loses its descriptors to
 * used ones keeps more: `ChainLog`.
 */
export class InflightLog {
  protected readonly words: Int32Array;
  protected readonly size: number;
  #sequence = 0;

  /** Words of shared memory that a ring of this size needs. */
  static wordsFor(queueSize: number): number {
    return HEADER_WORDS + queueSize;
  }

  constructor(words: Int32Array, size = words.length - HEADER_WORDS) {
    this.words = words;
    this.size = size;
  }

  /** Starts an empty log for a ring whose indices are these. */
  reset(nextAvail: number, usedIndex: number): void {
    this.words.fill(0);
    this.words[SETTLED] = usedIndex;
    this.words[BASE_OFFSET] = this.distance(usedIndex, nextAvail);
  }

  /** Notes that a chain is in flight; false if it was already. Done before anything else happens with the chain. */
  take(head: number): boolean {
    const slot = HEADER_WORDS + head;
    if (this.words[slot] !== 0) return false;
    this.#sequence = (this.#sequence + 1) & 0x7fffffff || 1;
    this.words[slot] = this.#sequence;
    return true;
  }

  /** Takes the first so many heads of a list, one after the other; returns how many were not in flight before the first that was. */
  takeAll(heads: Uint16Array, count: number): number {
    const { words } = this;
    let sequence = this.#sequence;
    let i = 0;
    for (; i < count; i++) {
      const slot = HEADER_WORDS + heads[i]!;
      if (words[slot] !== 0) break;
      sequence = (sequence + 1) & 0x7fffffff || 1;
      words[slot] = sequence;
    }
    this.#sequence = sequence;
    return i;
  }

  has(head: number): boolean {
    return this.words[HEADER_WORDS + head] !== 0;
  }

  /** Notes that the driver has been given a chain back. Done after it was published. */
  finish(head: number): void {
    this.words[HEADER_WORDS + head] = 0;
  }

  /** Notes that everything up to this position is settled. */
  settle(usedIndex: number): void {
    this.words[SETTLED] = usedIndex;
  }

  get settled(): number {
    return this.words[SETTLED]!;
  }

  /** How far the ring's start had its two ends apart: chains that were lost before. */
  get lost(): number {
    return this.words[BASE_OFFSET]!;
  }

  /** The next avail index of a ring whose published used index is this. */
  nextAvail(usedIndex: number, inFlight: number): number {
    return (usedIndex + inFlight + this.words[BASE_OFFSET]!) & 0xffff;
  }

  /** Where the ring stands if everything that is in flight is given up, as SET_VRING_BASE says it. */
  base(): number {
    return this.nextAvail(this.settled, this.inFlight().length);
  }

  /** Heads in flight, in the order in which they were taken. New chains are ordered after them. */
  inFlight(): number[] {
    const taken: { head: number; order: number }[] = [];
    for (let head = 0; head < this.size; head++) {
      const order = this.words[HEADER_WORDS + head]!;
      if (order !== 0) taken.push({ head, order });
    }
    // The order is a free-running number: a gap of more than half its range means that it has wrapped.
    taken.sort((a, b) => ((a.order - b.order) << 1) >> 1);
    this.#sequence = taken.at(-1)?.order ?? 0;
    return taken.map(({ head }) => head);
  }

  /** From one position of the ring to another. */
  protected distance(from: number, to: number): number {
    return (to - from) & 0xffff;
  }
}
