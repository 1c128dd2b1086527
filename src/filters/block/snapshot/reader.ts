import { closeSync, openSync, readSync, writeSync } from 'node:fs';
import type { BackendSpec } from '../../../block/backends/index.js';
import { SECTOR_BYTES } from '../../../block/features.js';
import { viewBytes } from '../../../host/memory-view.js';
import type { ClusterMap } from '../clusters/cluster-map.js';
import type { StoreSpec } from '../clusters/commit.js';
import { clusterMap, sharedWords, Word } from '../clusters/layout.js';
import { slotSectors } from './prepared.js';

/** The cluster's content is the disk's own. */
export const LIVE = -1;

/** In which store the clusters of a snapshot are: for any thread. */
export class SnapshotLookup {
  readonly store: StoreSpec;
  readonly words: Int32Array;
  readonly #shared: SharedArrayBuffer;
  readonly #maps: (ClusterMap | undefined)[] = [];

  constructor(store: StoreSpec, shared: SharedArrayBuffer) {
    this.store = store;
    this.#shared = shared;
    this.words = sharedWords(shared);
  }

  map(slot: number): ClusterMap {
    let map = this.#maps[slot];
    if (map === undefined) {
      const { shape, mapAddress } = this.store;
      map = clusterMap(shape, this.#shared, mapAddress, slot);
      this.#maps[slot] = map;
    }
    return map;
  }

  /** Odd while stores are put together. */
  get generation(): number {
    return Atomics.load(this.words, Word.GENERATION);
  }

  /** Slots of a snapshot's own store and of all newer ones. */
  slotsFrom(slot: number): number[] {
    const count = Atomics.load(this.words, Word.STORES);
    const order = Array.from({ length: count }, (_, i) => Atomics.load(this.words, Word.ORDER + i));
    const at = order.indexOf(slot);
    return at < 0 ? [] : order.slice(at);
  }

  /** The slot of the first of those stores that has a cluster, or `LIVE`. */
  sourceOf(slots: readonly number[], cluster: number): number {
    for (const slot of slots) if (this.map(slot).has(cluster)) return slot;
    return LIVE;
  }
}

/** Reads and writes a back end, waiting for it. */
export interface SyncDisk {
  read(offset: number, target: Buffer): void;
  write(offset: number, source: Buffer): void;
  close(): void;
}

/** A back end as a thread that may wait uses it. */
export function openSyncDisk(spec: BackendSpec): SyncDisk {
  if (spec.type === 'memory')
    return {
      read: (offset, target) => void viewBytes(spec.address + offset, target.length).copy(target),
      write: (offset, source) => void source.copy(viewBytes(spec.address + offset, source.length)),
      close() {},
    };
  if (spec.type === 'null') return { read: (_, target) => void target.fill(0), write() {}, close() {} };
  return openSyncFile(`/proc/self/fd/${spec.fd}`);
}

export function openSyncFile(path: string): SyncDisk {
  const fd = openSync(path, 'r+');
  return {
    read(offset, target) {
      for (let at = 0; at < target.length; ) {
        const count = readSync(fd, target, at, target.length - at, offset + at);
        if (count === 0) return void target.fill(0, at);
        at += count;
      }
    },
    write(offset, source) {
      for (let at = 0; at < source.length; ) at += writeSync(fd, source, at, source.length - at, offset + at);
    },
    close: () => closeSync(fd),
  };
}

/** A snapshot's content, read while the disk is written: for threads that may wait. */
export class SnapshotReader {
  readonly lookup: SnapshotLookup;
  readonly #slot: number;
  readonly #live: SyncDisk;
  readonly #copies: SyncDisk;

  constructor(lookup: SnapshotLookup, slot: number, live: SyncDisk, copies: SyncDisk) {
    this.lookup = lookup;
    this.#slot = slot;
    this.#live = live;
    this.#copies = copies;
  }

  /** Fills a buffer from whole clusters. Throws what storage does. */
  read(cluster: number, target: Buffer): void {
    const { clusterBytes } = this.lookup.store.shape;
    const end = cluster + Math.ceil(target.length / clusterBytes);
    for (;;) {
      const { generation } = this.lookup;
      const slots = this.lookup.slotsFrom(this.#slot);
      const sources = Array.from({ length: end - cluster }, (_, i) => this.lookup.sourceOf(slots, cluster + i));
      this.#readFrom(sources, cluster, target);
      // What was copied meanwhile may have been overwritten meanwhile: then it is read again, from the copy.
      const now = this.lookup.slotsFrom(this.#slot);
      const isSame = sources.every((source, i) => this.lookup.sourceOf(now, cluster + i) === source);
      if (isSame && (generation & 1) === 0 && this.lookup.generation === generation) return;
    }
  }

  #readFrom(sources: readonly number[], first: number, target: Buffer): void {
    const { shape } = this.lookup.store;
    const { clusterBytes } = shape;
    for (let i = 0; i < sources.length; ) {
      const source = sources[i]!;
      let end = i + 1;
      while (end < sources.length && sources[end] === source) end++;
      const part = target.subarray(i * clusterBytes, Math.min(end * clusterBytes, target.length));
      const offset = (first + i) * clusterBytes;
      if (source === LIVE) this.#live.read(offset, part);
      else this.#copies.read(source * slotSectors(shape) * SECTOR_BYTES + offset, part);
      i = end;
    }
  }
}
