import { closeSync, fdatasyncSync, fsyncSync, ftruncateSync, openSync, unlinkSync, writeSync } from 'node:fs';
import type { BackendSpec } from '../../../block/backends/index.js';
import { SECTOR_BYTES } from '../../../block/features.js';
import { viewBytes } from '../../../host/memory-view.js';
import { MAP_PAGE_BYTES } from '../clusters/cluster-map.js';
import type { StoreSpec } from '../clusters/commit.js';
import { clustersOf, liveAt, pagesOf, stableAt } from '../clusters/layout.js';
import { slotSectors } from './prepared.js';
import { LIVE, openSyncDisk, openSyncFile, SnapshotLookup, SnapshotReader, type SyncDisk } from './reader.js';

/** Most that is read at once, bytes. */
const CHUNK_BYTES = 2 ** 20;

/** What is done beside the sidecores, by a thread that may wait. Plain data. */
export interface Task {
  readonly kind: 'export' | 'fold' | 'merge';
  readonly store: StoreSpec;
  readonly shared: SharedArrayBuffer;
  readonly live: BackendSpec;
  /** The snapshot; of `fold` the store whose clusters go to `into`. */
  readonly slot: number;
  readonly into?: number;
  /** Where an export goes. */
  readonly file?: string;
  /** Of `Progress`. */
  readonly progress: SharedArrayBuffer;
}

/** How far a task is: bytes done, and of how many; and whether it is to end. */
export class Progress {
  readonly buffer: SharedArrayBuffer;
  readonly #values: Float64Array;

  constructor(buffer = new SharedArrayBuffer(24)) {
    this.buffer = buffer;
    this.#values = new Float64Array(buffer);
  }

  get done(): number {
    return this.#values[0]!;
  }

  set done(bytes: number) {
    this.#values[0] = bytes;
  }

  get total(): number {
    return this.#values[1]!;
  }

  set total(bytes: number) {
    this.#values[1] = bytes;
  }

  get cancelled(): boolean {
    return this.#values[2] === 1;
  }

  cancel(): void {
    this.#values[2] = 1;
  }
}

export const CANCELLED = 'cancelled';

/** Does a task. Throws what is wrong. */
export function runTask(task: Task): void {
  const live = openSyncDisk(task.live);
  const copies = openSyncFile(task.store.dataPath);
  try {
    if (task.kind === 'export') exportTo(task, live, copies);
    else if (task.kind === 'fold') fold(task, copies);
    else merge(task, live, copies);
  } finally {
    live.close();
    copies.close();
  }
}

/** Writes a snapshot to a new raw file, with holes where there are zeros. The file is removed if that fails. */
function exportTo({ store, shared, slot, file, progress }: Task, live: SyncDisk, copies: SyncDisk): void {
  const { diskBytes, clusterBytes } = store.shape;
  const reader = new SnapshotReader(new SnapshotLookup(store, shared), slot, live, copies);
  const how = new Progress(progress);
  how.total = diskBytes;
  const fd = openSync(file!, 'wx', 0o600);
  try {
    ftruncateSync(fd, diskBytes);
    const buffer = Buffer.alloc(CHUNK_BYTES);
    const zeros = Buffer.alloc(clusterBytes);
    for (let at = 0; at < diskBytes; at += CHUNK_BYTES) {
      if (how.cancelled) throw new Error(CANCELLED);
      const chunk = buffer.subarray(0, Math.min(CHUNK_BYTES, diskBytes - at));
      reader.read(at / clusterBytes, chunk);
      for (let i = 0; i < chunk.length; i += clusterBytes) {
        const part = chunk.subarray(i, i + clusterBytes);
        if (part.equals(zeros.subarray(0, part.length))) continue;
        for (let done = 0; done < part.length; ) done += writeSync(fd, part, done, part.length - done, at + i + done);
      }
      how.done = at + chunk.length;
    }
    fsyncSync(fd);
  } catch (error) {
    unlinkSync(file!);
    throw error;
  } finally {
    closeSync(fd);
  }
}

/** Copies what a store has and the next older one has not to that, durably. Neither is written by the disk's queues. */
function fold({ store, shared, slot, into, progress }: Task, copies: SyncDisk): void {
  const { shape } = store;
  const lookup = new SnapshotLookup(store, shared);
  const how = new Progress(progress);
  const from = lookup.map(slot);
  const to = lookup.map(into!);
  const clusters = clustersOf(shape);
  how.total = shape.diskBytes;
  const buffer = Buffer.alloc(CHUNK_BYTES);
  for (let cluster = from.find(true, 0, clusters); cluster < clusters; ) {
    let end = cluster;
    while (end < clusters && end - cluster < CHUNK_BYTES / shape.clusterBytes && from.has(end) && !to.has(end)) end++;
    if (end > cluster) {
      const part = buffer.subarray(0, (end - cluster) * shape.clusterBytes);
      copies.read(slotBytes(store, slot) + cluster * shape.clusterBytes, part);
      copies.write(slotBytes(store, into!) + cluster * shape.clusterBytes, part);
      to.setAll(cluster, end);
    } else end++;
    how.done = end * shape.clusterBytes;
    cluster = from.find(true, end, clusters);
  }
  makeDurable(store, into!);
}

const slotBytes = ({ shape }: StoreSpec, slot: number) => slot * slotSectors(shape) * SECTOR_BYTES;

/** Has the disk be as it was. Nobody uses it. What newer snapshots need of what it is now is copied, durably, before. */
export function merge({ store, shared, slot, progress }: Task, live: SyncDisk, copies: SyncDisk): void {
  const { shape } = store;
  const { clusterBytes, diskBytes } = shape;
  const lookup = new SnapshotLookup(store, shared);
  const how = new Progress(progress);
  how.total = diskBytes;
  const slots = lookup.slotsFrom(slot);
  const last = slots.at(-1)!;
  const newest = lookup.map(last);
  const buffer = Buffer.alloc(clusterBytes);
  const each = (act: (cluster: number, source: number, part: Buffer) => void) => {
    for (let cluster = 0; cluster < clustersOf(shape); cluster++) {
      const source = lookup.sourceOf(slots, cluster);
      if (source === LIVE) continue;
      act(cluster, source, buffer.subarray(0, Math.min(clusterBytes, diskBytes - cluster * clusterBytes)));
    }
  };
  each((cluster, _, part) => {
    if (newest.has(cluster)) return;
    live.read(cluster * clusterBytes, part);
    copies.write(slotBytes(store, last) + cluster * clusterBytes, part);
    newest.setAll(cluster, cluster + 1);
  });
  makeDurable(store, last);
  each((cluster, source, part) => {
    copies.read(slotBytes(store, source) + cluster * clusterBytes, part);
    live.write(cluster * clusterBytes, part);
    how.done = cluster * clusterBytes;
  });
  how.done = diskBytes;
}

/** First the data, then the bits. */
export function makeDurable({ shape, mapAddress, mapPath, dataPath }: StoreSpec, slot: number): void {
  const data = openSync(dataPath, 'r+');
  const map = openSync(mapPath, 'r+');
  try {
    const bits = Buffer.from(viewBytes(mapAddress + liveAt(shape, slot), pagesOf(shape) * MAP_PAGE_BYTES));
    fdatasyncSync(data);
    for (let at = 0; at < bits.length; at += MAP_PAGE_BYTES) {
      const page = bits.subarray(at, at + MAP_PAGE_BYTES);
      if (page.some((byte) => byte !== 0)) writeSync(map, page, 0, MAP_PAGE_BYTES, stableAt(shape, slot) + at);
    }
    fdatasyncSync(map);
  } finally {
    closeSync(data);
    closeSync(map);
  }
}
