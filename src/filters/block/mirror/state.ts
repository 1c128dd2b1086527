import { BlockLocks } from '../parts/block-locks.js';
import { type RegionPlace, Regions, summaryBytes } from './regions.js';

/** Words that all queues share. */
export const Word = {
  /** One while the second half gets nothing. */
  DEGRADED: 0,
  STALE: 1,
  /** An operator has stopped the copying. */
  PAUSED: 2,
  /** How often an operator has asked for it. */
  ASKED: 3,
  /** It has failed: it was not known so far by who copies. */
  FAILED: 4,
} as const;
const WORDS = 16;

/** Doubles that all queues share, which who copies writes. */
export const Figure = {
  /** When the second half is tried again, ns; and the pause, ms. */
  RETRY_AT: 0,
  PAUSE_MS: 1,
  /** Bytes copied since the mirror was opened. */
  COPIED: 2,
} as const;
const FIGURES = 8;
const FIGURES_AT = 4 * WORDS;
const LOCKS_AT = FIGURES_AT + 8 * FIGURES;
const SUMMARY_AT = LOCKS_AT + BlockLocks.BYTES;

export const mirrorSharedBytes = (sizeBytes: number, regionBytes: number): number =>
  SUMMARY_AT + summaryBytes(sizeBytes, regionBytes);

/** What the queues of a mirror share, and its bitmaps. */
export class MirrorState {
  readonly words: Int32Array;
  readonly figures: Float64Array;
  readonly regions: Regions;
  readonly #shared: SharedArrayBuffer;

  constructor(shared: SharedArrayBuffer, place: RegionPlace) {
    this.#shared = shared;
    this.words = new Int32Array(shared, 0, WORDS);
    this.figures = new Float64Array(shared, FIGURES_AT, FIGURES);
    const summary = new Int32Array(shared, SUMMARY_AT, summaryBytes(place.sizeBytes, place.regionBytes) / 4);
    this.regions = new Regions(place, summary, this.words.subarray(Word.STALE, Word.STALE + 1));
  }

  locks(queue: number): BlockLocks {
    return new BlockLocks(this.#shared, LOCKS_AT, queue);
  }

  get isDegraded(): boolean {
    return Atomics.load(this.words, Word.DEGRADED) === 1;
  }

  /** The second half has failed. True if that was not known. */
  degrade(): boolean {
    Atomics.store(this.words, Word.FAILED, 1);
    return Atomics.compareExchange(this.words, Word.DEGRADED, 0, 1) === 0;
  }
}
