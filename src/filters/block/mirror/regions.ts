import { SECTOR_BYTES } from '../../../filter/index.js';
import { viewSigned32 } from '../../../host/memory-view.js';
import { MIRROR_REGION_BYTES, MIRROR_REGIONS_MAX } from '../../limits.js';

/** Where a mirror's bitmaps are, and what they are of. Plain data. */
export interface RegionPlace {
  readonly address: number;
  readonly sizeBytes: number;
  readonly regionBytes: number;
}

/** Words of a bitmap that one word of the summary stands for. */
const SUMMARY_WORDS = 128;

export function regionBytesOf(sizeBytes: number): number {
  let bytes = MIRROR_REGION_BYTES;
  while (sizeBytes / bytes > MIRROR_REGIONS_MAX) bytes *= 2;
  return bytes;
}

const wordsOf = (sizeBytes: number, regionBytes: number) => Math.ceil(Math.ceil(sizeBytes / regionBytes) / 32);

/** Of both bitmaps. */
export const bitmapBytes = (sizeBytes: number, regionBytes: number): number => 8 * wordsOf(sizeBytes, regionBytes);

/** Of the summary, in shared memory. */
export const summaryBytes = (sizeBytes: number, regionBytes: number): number =>
  4 * Math.ceil(wordsOf(sizeBytes, regionBytes) / SUMMARY_WORDS);

/**
 * What is known of a mirror's regions: two bitmaps in a mapped file, which all threads change. A region is *written* from before its
 * first write until some time after its last one: if this process is killed meanwhile, its halves may differ. It is *stale* if they
 * differ for all that is known: nothing is written to the second half alone then, until it was copied.
 */
export class Regions {
  readonly regionBytes: number;
  readonly count: number;
  /** In their words: 32 regions each. */
  readonly written: Int32Array;
  readonly stale: Int32Array;
  /** Not zero where some region of 128 words may be written. */
  readonly summary: Int32Array;
  readonly #sectors: number;
  readonly #staleCount: Int32Array;

  /** @param staleCount - its slot zero: how many are stale */
  constructor({ address, sizeBytes, regionBytes }: RegionPlace, summary: Int32Array, staleCount: Int32Array) {
    const words = wordsOf(sizeBytes, regionBytes);
    this.regionBytes = regionBytes;
    this.count = Math.ceil(sizeBytes / regionBytes);
    this.written = viewSigned32(address, 4 * words);
    this.stale = viewSigned32(address + 4 * words, 4 * words);
    this.summary = summary;
    this.#sectors = regionBytes / SECTOR_BYTES;
    this.#staleCount = staleCount;
  }

  first(sector: number): number {
    return Math.floor(sector / this.#sectors);
  }

  last(sector: number, sectors: number): number {
    return Math.floor((sector + sectors - 1) / this.#sectors);
  }

  isStale(region: number): boolean {
    return (Atomics.load(this.stale, region >>> 5) & (1 << (region & 31))) !== 0;
  }

  /** Whether all regions are, in which so many sectors lie. */
  areAllStale(sector: number, sectors: number): boolean {
    const last = this.last(sector, sectors);
    for (let region = this.first(sector); region <= last; region++) if (!this.isStale(region)) return false;
    return true;
  }

  isAnyStale(sector: number, sectors: number): boolean {
    const last = this.last(sector, sectors);
    for (let region = this.first(sector); region <= last; region++) if (this.isStale(region)) return true;
    return false;
  }

  markWritten(sector: number, sectors: number): void {
    const { written, summary } = this;
    const last = this.last(sector, sectors);
    for (let region = this.first(sector); region <= last; region++) {
      const word = region >>> 5;
      const bit = 1 << (region & 31);
      if ((Atomics.load(written, word) & bit) !== 0) continue;
      Atomics.or(written, word, bit);
      Atomics.store(summary, Math.floor(word / SUMMARY_WORDS), 1);
    }
  }

  markStale(sector: number, sectors: number): void {
    const last = this.last(sector, sectors);
    for (let region = this.first(sector); region <= last; region++) this.#setStale(region >>> 5, 1 << (region & 31));
  }

  markAllStale(): void {
    const { count } = this;
    for (let word = 0; word < count >>> 5; word++) this.#setStale(word, -1);
    if ((count & 31) !== 0) this.#setStale(count >>> 5, (1 << (count & 31)) - 1);
  }

  #setStale(word: number, bits: number): void {
    const before = Atomics.or(this.stale, word, bits);
    const fresh = bits & ~before;
    if (fresh !== 0) Atomics.add(this.#staleCount, 0, ones(fresh));
  }

  /** Its halves are equal. Nobody writes to it meanwhile. */
  clear(region: number): void {
    const word = region >>> 5;
    const bit = 1 << (region & 31);
    if ((Atomics.and(this.stale, word, ~bit) & bit) !== 0) Atomics.sub(this.#staleCount, 0, 1);
    this.clearWritten(region);
  }

  /** Nobody writes to it meanwhile. */
  clearWritten(region: number): void {
    Atomics.and(this.written, region >>> 5, ~(1 << (region & 31)));
  }

  /** After the process was killed: what was being written then may differ. For one thread that is alone. */
  recover(): void {
    const { written, stale } = this;
    for (let word = 0; word < stale.length; word++) {
      if (written[word] !== 0) stale[word] = stale[word]! | written[word]!;
      written[word] = 0;
    }
  }

  /** Counts those that are stale, for one thread that is alone. */
  countStale(): number {
    let count = 0;
    for (const word of this.stale) if (word !== 0) count += ones(word);
    return count;
  }

  /** Next stale region from one on, having looked at so many words at most; or where to look further, as `-1 - region`. */
  nextStale(from: number, words: number): number {
    const { stale } = this;
    const last = Math.min(stale.length, (from >>> 5) + words);
    let mask = -1 << (from & 31);
    for (let word = from >>> 5; word < last; word++, mask = -1) {
      const bits = Atomics.load(stale, word) & mask;
      if (bits !== 0) return 32 * word + lowest(bits);
    }
    return -1 - (last === stale.length ? 0 : 32 * last);
  }

  /**
   * Lets regions be no longer written, that `isFree` says nobody writes to. Returns how many are left in those parts that were looked
   * at, or more than there may be in others.
   */
  sweep(take: (region: number) => boolean, release: (region: number) => void, regionsMax: number): boolean {
    const { summary, written } = this;
    let left = regionsMax;
    let isWhole = true;
    for (let part = 0; part < summary.length; part++) {
      if (summary[part] === 0) continue;
      if (left <= 0) return false;
      // First: what is set from now on is looked for again.
      Atomics.store(summary, part, 0);
      const end = Math.min(written.length, (part + 1) * SUMMARY_WORDS);
      let some = false;
      for (let word = part * SUMMARY_WORDS; word < end; word++) {
        for (let bits = Atomics.load(written, word); bits !== 0; bits &= bits - 1) {
          const region = 32 * word + lowest(bits);
          if (left-- <= 0) isWhole = false;
          else if (take(region)) {
            this.clearWritten(region);
            release(region);
            continue;
          }
          some = true;
        }
      }
      if (some) Atomics.store(summary, part, 1);
    }
    return isWhole;
  }
}

const lowest = (bits: number): number => 31 - Math.clz32(bits & -bits);

function ones(bits: number): number {
  let count = 0;
  for (let left = bits; left !== 0; left &= left - 1) count++;
  return count;
}
