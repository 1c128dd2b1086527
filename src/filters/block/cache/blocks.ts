import { windowsOver } from '../../../guest-memory/windows.js';
import { QUEUES_MAX, WINDOW_BYTES } from '../../../limits.js';
import { FILTER_BLOCK_BYTES } from '../../limits.js';

/** Blocks among which one makes place for another. */
const WAYS = 8;
/** Words of a block's entry: a count of changes, odd meanwhile; block number and one; its generation; whether it was read lately. */
const Entry = { CHANGES: 0, KEY: 1, GENERATION: 2, USED: 3, WORDS: 4 } as const;
/** Blocks of the cache are so many times fewer than generations: few blocks share one, and are forgotten together. */
const GENERATIONS_PER_BLOCK = 8;
const GENERATIONS_MIN = 2 ** 12;

/** Where a cache's data are. Plain data. */
export interface CachePlace {
  readonly address: number;
  readonly sets: number;
}

export const setsOf = (sizeBytes: number): number => Math.max(1, Math.floor(sizeBytes / FILTER_BLOCK_BYTES / WAYS));

export const dataBytesOf = (sets: number): number => sets * WAYS * FILTER_BLOCK_BYTES;

const generationsOf = (sets: number) =>
  2 ** Math.ceil(Math.log2(Math.max(GENERATIONS_MIN, sets * WAYS * GENERATIONS_PER_BLOCK)));

export const cacheSharedBytes = (sets: number): number =>
  4 * (QUEUES_MAX + sets + sets * WAYS * Entry.WORDS + generationsOf(sets));

/**
 * Blocks of a disk in memory, for all its queues at once, without locks. A block has a *generation*, which each write to it makes
 * another when it begins and when it ends; what was stored in the cache under an earlier one is forgotten thereby. Who stores a block
 * has seen its generation before the data were fetched.
 */
export class CacheBlocks {
  readonly #filling: Int32Array;
  readonly #hands: Int32Array;
  readonly #entries: Int32Array;
  readonly #generations: Int32Array;
  readonly #mask: number;
  readonly #sets: number;
  readonly #windows: readonly Buffer[];
  readonly #queue: number;
  readonly #fence = new Int32Array(new SharedArrayBuffer(4));
  /** Where the block that was found or taken last is. */
  bytes: Buffer;
  offset = 0;
  /** Blocks that made place for others, since it was set to zero. */
  evicted = 0;

  constructor(shared: SharedArrayBuffer, { address, sets }: CachePlace, queue: number) {
    const generations = generationsOf(sets);
    this.#filling = new Int32Array(shared, 0, QUEUES_MAX);
    this.#hands = new Int32Array(shared, 4 * QUEUES_MAX, sets);
    this.#entries = new Int32Array(shared, 4 * (QUEUES_MAX + sets), sets * WAYS * Entry.WORDS);
    const at = 4 * (QUEUES_MAX + sets + sets * WAYS * Entry.WORDS);
    this.#generations = new Int32Array(shared, at, generations);
    this.#mask = generations - 1;
    this.#sets = sets;
    this.#queue = queue;
    this.#windows = windowsOver(address, dataBytesOf(sets)).map(({ bytes }) => bytes);
    this.bytes = this.#windows[0]!;
  }

  /** Lets go of the entry that a predecessor on a sidecore that died was about to fill. */
  recover(): void {
    const way = this.#filling[this.#queue]! - 1;
    if (way < 0) return;
    const at = way * Entry.WORDS;
    this.#entries[at + Entry.KEY] = 0;
    if ((Atomics.load(this.#entries, at) & 1) === 1) Atomics.add(this.#entries, at, 1);
    Atomics.store(this.#filling, this.#queue, 0);
  }

  generation(block: number): number {
    return Atomics.load(this.#generations, block & this.#mask);
  }

  /** A write to a block begins or ends. Returns the generation that it has now. */
  change(block: number): number {
    return (Atomics.add(this.#generations, block & this.#mask, 1) + 1) | 0;
  }

  /** A write ends: true if nobody else has begun or ended one since it was `generation`, which is one more then. */
  changeFrom(block: number, generation: number): boolean {
    const at = block & this.#mask;
    const next = (generation + 1) | 0;
    if (Atomics.compareExchange(this.#generations, at, generation, next) === generation) return true;
    Atomics.add(this.#generations, at, 1);
    return false;
  }

  /** All blocks are forgotten. */
  changeAll(): void {
    for (let at = 0; at < this.#generations.length; at++) Atomics.add(this.#generations, at, 1);
  }

  #setOf(block: number): number {
    return ((Math.imul(block, 0x9e3779b1) ^ (block >>> 15)) >>> 0) % this.#sets;
  }

  /** Looks for a block as it is now. Returns its place, or -1. */
  find(block: number): number {
    const key = (block + 1) | 0;
    const generation = this.generation(block);
    const entries = this.#entries;
    const first = this.#setOf(block) * WAYS;
    for (let way = first; way < first + WAYS; way++) {
      const at = way * Entry.WORDS;
      if (entries[at + Entry.KEY] === key && entries[at + Entry.GENERATION] === generation) return way;
    }
    return -1;
  }

  /** Begins to read a block at the place where it was found: sets `bytes` and `offset`. Negative if it is there no more; else for `isStill`. */
  open(way: number, block: number): number {
    const entries = this.#entries;
    const at = way * Entry.WORDS;
    const changes = Atomics.load(entries, at);
    if ((changes & 1) === 1 || entries[at + Entry.KEY] !== ((block + 1) | 0)) return -1;
    if (entries[at + Entry.GENERATION] !== this.generation(block)) return -1;
    if (entries[at + Entry.USED] === 0) entries[at + Entry.USED] = 1;
    this.#point(way);
    return changes >>> 1;
  }

  /** Whether what was read since `open` is the block. */
  isStill(way: number, opened: number): boolean {
    // No read before this one may be done after the next.
    Atomics.store(this.#fence, 0, 0);
    const changes = Atomics.load(this.#entries, way * Entry.WORDS);
    return changes >>> 1 === opened && (changes & 1) === 0;
  }

  /** Takes a place for a block: `bytes` and `offset` are to be filled then. Negative if somebody else is at it: it is not stored. */
  take(block: number): number {
    const entries = this.#entries;
    const way = this.#victim(block);
    const at = way * Entry.WORDS;
    const changes = Atomics.load(entries, at);
    if ((changes & 1) === 1) return -1;
    // A sidecore that dies between these two, or those in `store`, takes the place with it: better than to take it from another.
    if (Atomics.compareExchange(entries, at, changes, (changes + 1) | 0) !== changes) return -1;
    Atomics.store(this.#filling, this.#queue, way + 1);
    const key = entries[at + Entry.KEY]!;
    if (key !== 0 && key !== ((block + 1) | 0) && entries[at + Entry.GENERATION] === this.generation(key - 1))
      this.evicted++;
    this.#point(way);
    return way;
  }

  /** The block is in the place that was taken, as it was at a generation. */
  store(way: number, block: number, generation: number): void {
    const entries = this.#entries;
    const at = way * Entry.WORDS;
    entries[at + Entry.KEY] = (block + 1) | 0;
    entries[at + Entry.GENERATION] = generation;
    entries[at + Entry.USED] = 0;
    Atomics.store(this.#filling, this.#queue, 0);
    Atomics.add(entries, at, 1);
  }

  /** Where the block is already, or a place that holds nothing of use, or the first that was not read since the hand came by. */
  #victim(block: number): number {
    const entries = this.#entries;
    const set = this.#setOf(block);
    const first = set * WAYS;
    const key = (block + 1) | 0;
    let useless = -1;
    for (let way = first; way < first + WAYS; way++) {
      const at = way * Entry.WORDS;
      const other = entries[at + Entry.KEY]!;
      if (other === key) return way;
      if (other === 0 || entries[at + Entry.GENERATION] !== this.#generations[(other - 1) & this.#mask]) useless = way;
    }
    if (useless >= 0) return useless;
    for (let looks = 0; ; looks++) {
      const hand = this.#hands[set]!;
      this.#hands[set] = (hand + 1) % WAYS;
      const at = (first + hand) * Entry.WORDS;
      if (looks === WAYS || entries[at + Entry.USED] === 0) return first + hand;
      entries[at + Entry.USED] = 0;
    }
  }

  #point(way: number): void {
    const at = way * FILTER_BLOCK_BYTES;
    const window = Math.floor(at / WINDOW_BYTES);
    this.bytes = this.#windows[window]!;
    this.offset = at - window * WINDOW_BYTES;
  }

  /** How many blocks are in it that are good. For the main thread. */
  count(): number {
    const entries = this.#entries;
    let count = 0;
    for (let at = 0; at < entries.length; at += Entry.WORDS) {
      const key = entries[at + Entry.KEY]!;
      if (key !== 0 && entries[at + Entry.GENERATION] === this.#generations[(key - 1) & this.#mask]) count++;
    }
    return count;
  }
}
