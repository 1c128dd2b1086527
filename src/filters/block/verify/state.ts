import { viewSigned32 } from '../../../host/memory-view.js';
import { WINDOW_BYTES } from '../../../limits.js';
import { FILTER_BLOCK_BYTES, VERIFY_PLACES_MAX } from '../../limits.js';
import { BlockLocks } from '../parts/block-locks.js';
import { UNKNOWN } from './checksum.js';

/** Where checksums are. Plain data. */
export interface SumPlace {
  readonly address: number;
  readonly sizeBytes: number;
}

export const blocksOf = (sizeBytes: number): number => Math.ceil(sizeBytes / FILTER_BLOCK_BYTES);

/** Words that all queues share. */
export const Word = {
  /** One while an operator wants all to be read, and how often that was wanted. */
  SCRUBBING: 0,
  ASKED: 1,
  /** Damaged blocks that were found since the disk was opened. */
  DAMAGED: 2,
} as const;
const WORDS = 16;
/** Doubles that all queues share. */
export const Figure = {
  /** Of the reading of all: bytes a second, next block, damaged blocks found, and when it ended, ms since 1970. */
  RATE: 0,
  AT: 1,
  FOUND: 2,
  ENDED: 3,
  /** Sectors of damaged blocks, the last ones. */
  PLACES: 8,
} as const;
const FIGURES = 8 + VERIFY_PLACES_MAX;
/** Blocks far apart share a generation: reads that a write overtakes for all that is known are read again. */
const GENERATIONS = 2 ** 16;
const FIGURES_AT = 4 * WORDS;
const LOCKS_AT = FIGURES_AT + 8 * FIGURES;
const GENERATIONS_AT = LOCKS_AT + BlockLocks.BYTES;

export const VERIFY_SHARED_BYTES = GENERATIONS_AT + 4 * GENERATIONS;

const WINDOW_WORDS = WINDOW_BYTES / 4;

/** What the queues of a disk share, and its checksums: a word for each block, in a mapped file. */
export class VerifyState {
  readonly words: Int32Array;
  readonly figures: Float64Array;
  readonly blocks: number;
  readonly #shared: SharedArrayBuffer;
  readonly #generations: Int32Array;
  readonly #windows: Int32Array[] = [];

  constructor(shared: SharedArrayBuffer, { address, sizeBytes }: SumPlace) {
    this.#shared = shared;
    this.words = new Int32Array(shared, 0, WORDS);
    this.figures = new Float64Array(shared, FIGURES_AT, FIGURES);
    this.#generations = new Int32Array(shared, GENERATIONS_AT, GENERATIONS);
    this.blocks = blocksOf(sizeBytes);
    for (let at = 0; at < 4 * this.blocks; at += WINDOW_BYTES)
      this.#windows.push(viewSigned32(address + at, Math.min(WINDOW_BYTES, 4 * this.blocks - at)));
  }

  locks(queue: number): BlockLocks {
    return new BlockLocks(this.#shared, LOCKS_AT, queue);
  }

  sum(block: number): number {
    return this.#windows[Math.floor(block / WINDOW_WORDS)]![block % WINDOW_WORDS]!;
  }

  areKnown(first: number, count: number): boolean {
    for (let i = 0; i < count; i++) if (this.sum(first + i) === UNKNOWN) return false;
    return true;
  }

  /** The block is the caller's. Seen by others, and by who comes after a kill, in its order with what is done before and after. */
  set(block: number, sum: number): void {
    Atomics.store(this.#windows[Math.floor(block / WINDOW_WORDS)]!, block % WINDOW_WORDS, sum);
  }

  /** All are unknown. */
  forget(): void {
    for (const window of this.#windows) window.fill(0);
  }

  /** A write to a block begins or ends. */
  change(block: number): void {
    Atomics.add(this.#generations, block & (GENERATIONS - 1), 1);
  }

  /** Grows with each write to one of these blocks that begins or ends. */
  generations(first: number, count: number): number {
    let sum = 0;
    for (let block = first; block < first + count; block++)
      sum = (sum + Atomics.load(this.#generations, block & (GENERATIONS - 1))) | 0;
    return sum;
  }

  /** A block is damaged. */
  noteDamage(sector: number): void {
    const count = Atomics.add(this.words, Word.DAMAGED, 1);
    this.figures[Figure.PLACES + (count % VERIFY_PLACES_MAX)] = sector;
  }

  /** For `status`. */
  get damage(): number[] {
    const count = Math.min(VERIFY_PLACES_MAX, this.words[Word.DAMAGED]!);
    return [...new Set(this.figures.subarray(Figure.PLACES, Figure.PLACES + count))].sort((one, two) => one - two);
  }

  /** How many blocks are known, for the main thread. */
  countKnown(): number {
    let count = 0;
    for (const window of this.#windows) for (const sum of window) if (sum !== 0) count++;
    return count;
  }
}
