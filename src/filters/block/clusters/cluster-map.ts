import { viewSigned32 } from '../../../host/memory-view.js';

/** Bytes of bitmap whose changes are noted together: a page of the file. */
export const MAP_PAGE_BYTES = 4096;
const WORDS_PER_PAGE_SHIFT = 10;

/**
 * Which clusters a store has: one bit each, in mapped memory that all threads see. A bit is set when the cluster's data are in the store,
 * and never before, so that whoever sees it set may read them.
 */
export class ClusterMap {
  readonly words: Int32Array;
  readonly clusters: number;
  readonly #dirty: Uint8Array;
  readonly #marks: Int32Array;
  readonly #mark: number;

  /**
   * @param address - of its bits
   * @param dirty - one byte for each page of bits: whether it has changed since it was made durable
   * @param marks - word `mark` of them counts changes
   */
  constructor(address: number, clusters: number, dirty: Uint8Array, marks: Int32Array, mark: number) {
    this.words = viewSigned32(address, 4 * Math.ceil(clusters / 32));
    this.clusters = clusters;
    this.#dirty = dirty;
    this.#marks = marks;
    this.#mark = mark;
  }

  has(cluster: number): boolean {
    return ((this.words[cluster >>> 5]! >>> (cluster & 31)) & 1) === 1;
  }

  /** The first cluster from `from` on, before `end`, that it has or has not, as `has` says; `end` if there is none. */
  find(has: boolean, from: number, end: number): number {
    const skip = has ? 0 : -1;
    for (let at = from; at < end; ) {
      if ((at & 31) === 0 && end - at >= 32 && this.words[at >>> 5] === skip) {
        at += 32;
        continue;
      }
      if (this.has(at) === has) return at;
      at++;
    }
    return end;
  }

  hasAll(from: number, end: number): boolean {
    return from + 1 === end ? this.has(from) : this.find(false, from, end) === end;
  }

  hasNone(from: number, end: number): boolean {
    return from + 1 === end ? !this.has(from) : this.find(true, from, end) === end;
  }

  /** The store has the data of these from now on. */
  setAll(from: number, end: number): void {
    for (let at = from; at < end; ) {
      const word = at >>> 5;
      const last = Math.min(end, (word + 1) * 32);
      const bits = last - at === 32 ? -1 : ((1 << (last - at)) - 1) << (at & 31);
      Atomics.or(this.words, word, bits);
      Atomics.store(this.#dirty, word >>> WORDS_PER_PAGE_SHIFT, 1);
      at = last;
    }
    // Last: whoever has seen this count finds the pages noted.
    Atomics.add(this.#marks, this.#mark, 1);
  }

  /** How many it has. */
  count(): number {
    let count = 0;
    for (const word of this.words) {
      if (word === 0) continue;
      let bits = word - ((word >>> 1) & 0x55555555);
      bits = (bits & 0x33333333) + ((bits >>> 2) & 0x33333333);
      count += (((bits + (bits >>> 4)) & 0x0f0f0f0f) * 0x01010101) >>> 24;
    }
    return count;
  }
}
