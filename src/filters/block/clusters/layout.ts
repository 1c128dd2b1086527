import type { z as zod } from 'zod';
import { SECTOR_BYTES } from '../../../block/features.js';
import { ClusterMap, MAP_PAGE_BYTES } from './cluster-map.js';
import { RangeLocks } from './range-locks.js';

/** Words that the queues of a disk, its main thread and its helpers share. */
export const Word = {
  /** How often bits were set; and how often, when they were last made durable. */
  CHANGES: 0,
  COMMITTED: 1,
  /** One once storage has failed to make something durable. */
  BROKEN: 2,
  /** Snapshots: the slot of the newest store and one; zero if nothing is copied. */
  NEWEST: 3,
  /** Snapshots: even; odd while stores are put together. */
  GENERATION: 4,
  /** How often somebody has begun to make bits durable, and ended. */
  ROUNDS: 6,
  ROUNDS_ENDED: 7,
  /** Snapshots: how many stores there are, and from here on their slots, oldest first. */
  STORES: 5,
  ORDER: 16,
} as const;

/** Slots of stores in one file. */
export const SLOTS_MAX = 256;
const WORDS = Word.ORDER + SLOTS_MAX;
const LOCKS_AT = 4 * WORDS;
const DIRTY_AT = LOCKS_AT + RangeLocks.BYTES;

/** Pages of a map's file before its bitmaps: its header, and words that outlive the daemon. */
const HEAD_BYTES = 2 * MAP_PAGE_BYTES;
/** Words on the second of them. */
export const KeptWord = { DROPPED: 0 } as const;
export const KEPT_AT = MAP_PAGE_BYTES;

/** Sectors of one lock, as a power of two: 64 KiB, which is the largest cluster. */
const LOCK_SHIFT = 7;
export const CLUSTER_BYTES_MAX = 2 ** LOCK_SHIFT * SECTOR_BYTES;
const CLUSTER_BYTES_MIN = MAP_PAGE_BYTES;

/** How large clusters are. */
export const clusterOption = (z: typeof zod) =>
  z
    .int()
    .min(CLUSTER_BYTES_MIN)
    .max(CLUSTER_BYTES_MAX)
    .refine((bytes) => Number.isInteger(Math.log2(bytes)), 'a power of two')
    .default(CLUSTER_BYTES_MIN);

/** Where things lie in a store's data, in the file of its bitmaps, and in shared memory. Plain data. */
export interface Shape {
  /** Of the disk, bytes. */
  readonly diskBytes: number;
  /** A power of two, of at least a page. */
  readonly clusterBytes: number;
  /** Stores that there can be. */
  readonly slots: number;
}

export const clustersOf = ({ diskBytes, clusterBytes }: Shape): number => Math.ceil(diskBytes / clusterBytes);

/** Pages of the bits of one store. */
export const pagesOf = (shape: Shape): number => Math.ceil(clustersOf(shape) / 8 / MAP_PAGE_BYTES);

/** Bytes of the file of bitmaps. */
export const mapFileBytes = (shape: Shape): number => HEAD_BYTES + 2 * shape.slots * pagesOf(shape) * MAP_PAGE_BYTES;

/** Where the bits of a slot begin in it: those that are true now, and those that are on stable storage together with their data. */
export const liveAt = (shape: Shape, slot: number): number => HEAD_BYTES + 2 * slot * pagesOf(shape) * MAP_PAGE_BYTES;
export const stableAt = (shape: Shape, slot: number): number => liveAt(shape, slot) + pagesOf(shape) * MAP_PAGE_BYTES;

/** Bytes of a filter's shared memory. */
export const sharedBytes = (shape: Shape): number => DIRTY_AT + shape.slots * pagesOf(shape);

export const sharedWords = (shared: SharedArrayBuffer): Int32Array => new Int32Array(shared, 0, WORDS);

export const rangeLocks = (shared: SharedArrayBuffer, queue: number): RangeLocks =>
  new RangeLocks(new Int32Array(shared, LOCKS_AT, RangeLocks.BYTES / 4), queue, LOCK_SHIFT);

/** Which pages of a slot's bits have changed. */
export const dirtyPages = (shape: Shape, shared: SharedArrayBuffer, slot: number): Uint8Array =>
  new Uint8Array(shared, DIRTY_AT + slot * pagesOf(shape), pagesOf(shape));

/** The clusters that a store has. @param mapAddress - where the file of bitmaps is mapped */
export function clusterMap(shape: Shape, shared: SharedArrayBuffer, mapAddress: number, slot: number): ClusterMap {
  const dirty = dirtyPages(shape, shared, slot);
  const words = sharedWords(shared);
  return new ClusterMap(mapAddress + liveAt(shape, slot), clustersOf(shape), dirty, words, Word.CHANGES);
}
