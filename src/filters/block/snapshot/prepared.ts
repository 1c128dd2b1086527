import { SECTOR_BYTES } from '../../../block/features.js';
import type { StoreSpec } from '../clusters/commit.js';
import { clustersOf, type Shape } from '../clusters/layout.js';

/** What sidecores and helpers are told. Plain data. */
export interface SnapshotPrepared {
  readonly store: StoreSpec;
  /** Copies are durable before what they are of is overwritten. */
  readonly powerSafe: boolean;
  /** Where copies cannot be stored, snapshots are given up; otherwise writes fail. */
  readonly dropsWhenFull: boolean;
}

/** Sectors of one store in the file of copies. */
export const slotSectors = (shape: Shape): number => (clustersOf(shape) * shape.clusterBytes) / SECTOR_BYTES;
