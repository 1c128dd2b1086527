/** Buckets for each power of two: relative error at most 1/32. */
const SUB = 32;
const SUB_BITS = 5;
const OCTAVES = 40;

/**
 * Counts of times, log-linear: fixed size, nothing allocated when one is added. Its memory may be shared: then one thread
 * adds while others read.
 */
export class Histogram {
  /** Size of the memory that one takes. */
  static readonly BYTES = OCTAVES * SUB * Uint32Array.BYTES_PER_ELEMENT;
  readonly #counts: Uint32Array;

  constructor(memory: ArrayBufferLike = new ArrayBuffer(Histogram.BYTES), byteOffset = 0) {
    this.#counts = new Uint32Array(memory, byteOffset, OCTAVES * SUB);
  }

  /** Adds a time, ns; anything from zero to some minutes. */
  add(ns: number): void {
    this.#counts[bucketOf(ns)]!++;
  }

  /** How many times there are. */
  get total(): number {
    return this.#counts.reduce((sum, count) => sum + count, 0);
  }

  /** The time that a share (0 to 1) of all stays at or below, ns; zero without any. */
  quantile(share: number): number {
    let left = Math.max(1, Math.ceil(this.total * share));
    for (let bucket = 0; bucket < this.#counts.length; bucket++) {
      left -= this.#counts[bucket]!;
      if (left <= 0) return middleOf(bucket);
    }
    return 0;
  }

  /** Adds what another has counted. */
  merge(other: Histogram): void {
    for (let bucket = 0; bucket < this.#counts.length; bucket++) this.#counts[bucket]! += other.#counts[bucket]!;
  }

  /** What was added after `earlier`, a copy of this one's former state. */
  since(earlier: Histogram): Histogram {
    const later = new Histogram();
    for (let bucket = 0; bucket < this.#counts.length; bucket++) {
      later.#counts[bucket] = this.#counts[bucket]! - earlier.#counts[bucket]!;
    }
    return later;
  }

  copy(): Histogram {
    const copy = new Histogram();
    copy.#counts.set(this.#counts);
    return copy;
  }

  clear(): void {
    this.#counts.fill(0);
  }
}

function bucketOf(ns: number): number {
  if (ns < SUB) return ns < 0 ? 0 : ns | 0;
  const octave = Math.min(OCTAVES - 2, Math.floor(Math.log2(ns)) - SUB_BITS);
  return Math.min((octave + 1) * SUB + (Math.floor(ns / 2 ** octave) - SUB), OCTAVES * SUB - 1);
}

function middleOf(bucket: number): number {
  if (bucket < SUB) return bucket;
  const octave = Math.floor(bucket / SUB) - 1;
  return ((bucket % SUB) + SUB + 0.5) * 2 ** octave;
}
