import type { BackendSpec } from '../../../block/backends/index.js';
import { SECTOR_BYTES } from '../../../block/features.js';
import { messageOf } from '../../../errors.js';
import { bootId } from '../../../host/boot-id.js';
import { viewSigned32 } from '../../../host/memory-view.js';
import { punchHole } from '../clusters/allocate.js';
import type { StoreSpec } from '../clusters/commit.js';
import { KEPT_AT, KeptWord, sharedWords, Word } from '../clusters/layout.js';
import type { MapFile } from '../clusters/map-file.js';
import { type Manifest, readManifest, type StoreEntry, writeManifest } from './manifest.js';
import { slotSectors } from './prepared.js';
import { openSyncDisk, openSyncFile } from './reader.js';
import { makeDurable, merge, Progress, type Task } from './tasks.js';

/** What a disk's stores are made of, and where. */
export interface StateParts {
  readonly spec: StoreSpec;
  readonly map: MapFile;
  readonly manifestPath: string;
  readonly shared: SharedArrayBuffer;
  readonly live: BackendSpec;
  readonly powerSafe: boolean;
  log(text: string): void;
  /** When the disk was last written, and when before it was opened; null if nobody knows. */
  stamp(): string | null;
  readonly openedStamp: string | null;
  /** Another one of this daemon has them open, whose place this takes. */
  readonly takesOver: boolean;
  /** Makes the disk itself durable. */
  sync(): void;
}

/** The stores of a disk's snapshots: as files have them, and as queues are told of them. */
export class StoreState {
  readonly manifest: Manifest;
  readonly #parts: StateParts;
  readonly #words: Int32Array;
  readonly #kept: Int32Array;

  /** Puts right what is not, after an unlucky end, and says so. */
  constructor(parts: StateParts) {
    this.#parts = parts;
    this.manifest = readManifest(parts.manifestPath);
    this.#words = sharedWords(parts.shared);
    this.#kept = viewSigned32(parts.map.map.address + KEPT_AT, 64);
    this.#recover();
    this.publish();
    this.setNewest();
  }

  get stores(): StoreEntry[] {
    return this.manifest.stores;
  }

  #recover(): void {
    const { map, spec, log } = this.#parts;
    const { stores, open, power_safe: wasSafe, merging } = this.manifest;
    const powerFailed = open !== null && open !== bootId();
    const dropped = this.#kept[KeptWord.DROPPED] === 1;
    const why = dropped
      ? 'old content could not be stored'
      : powerFailed && !wasSafe
        ? 'the host went down before old content was on stable storage'
        : this.#wasWrittenWithout()
          ? 'the disk was written without them'
          : undefined;
    if (stores.length > 0 && why !== undefined) {
      for (const store of stores) store.damaged = true;
      log(`snapshots are damaged, because ${why}: ${stores.map(({ name }) => name ?? '(deleted)').join(', ')}`);
    }
    for (const { slot } of stores) map.reserve(slot);
    for (let slot = 0; slot < spec.shape.slots; slot++)
      if (!stores.some((store) => store.slot === slot)) this.empty(slot);
    this.save();
    this.#kept[KeptWord.DROPPED] = 0;
    if (merging === null) return;
    log(`going back to ${stores.find(({ slot }) => slot === merging)?.name} was interrupted: it is done now`);
    this.publish();
    const live = openSyncDisk(this.#parts.live);
    const copies = openSyncFile(spec.dataPath);
    try {
      merge(this.task('merge', merging, new Progress()), live, copies);
    } finally {
      live.close();
      copies.close();
    }
    this.mergeEnded();
  }

  /** The disk is not as it was when the filter let go of it. */
  #wasWrittenWithout(): boolean {
    const { live, takesOver, openedStamp } = this.#parts;
    const { open, stamp } = this.manifest;
    // A disk in memory is a new one with each daemon.
    if (live.type === 'memory') return !takesOver;
    return open === null && stamp !== null && stamp !== openedStamp;
  }

  task(kind: Task['kind'], slot: number, progress: Progress): Task {
    const { spec: store, shared, live } = this.#parts;
    return { kind, store, shared, live, slot, progress: progress.buffer };
  }

  mergeEnded(): void {
    this.#parts.sync();
    this.manifest.merging = null;
    this.save();
  }

  /** Nothing is left in a slot. */
  empty(slot: number): void {
    const { map, spec } = this.#parts;
    map.clear(slot, 'live');
    map.clear(slot, 'stable');
    const bytes = slotSectors(spec.shape) * SECTOR_BYTES;
    punchHole(spec.dataPath, slot * bytes, bytes);
  }

  save(): void {
    this.manifest.open = this.stores.length > 0 ? bootId() : null;
    this.manifest.power_safe = this.#parts.powerSafe;
    writeManifest(this.#parts.manifestPath, this.manifest);
  }

  /** Tells those who read snapshots which stores there are. */
  publish(): void {
    Atomics.add(this.#words, Word.GENERATION, 1);
    this.stores.forEach(({ slot }, i) => {
      Atomics.store(this.#words, Word.ORDER + i, slot);
    });
    Atomics.store(this.#words, Word.STORES, this.stores.length);
    Atomics.add(this.#words, Word.GENERATION, 1);
  }

  /** Tells the disk's queues where copies go. Nothing is in flight. */
  setNewest(): void {
    const last = this.stores.at(-1);
    Atomics.store(this.#words, Word.NEWEST, last === undefined || last.damaged ? 0 : last.slot + 1);
  }

  /** What queues have given up since the last look is known for good; where even that finds no room, the map keeps it. */
  noteDropped(): void {
    if (Atomics.load(this.#kept, KeptWord.DROPPED) !== 1) return;
    for (const store of this.stores) store.damaged = true;
    try {
      this.save();
      Atomics.store(this.#kept, KeptWord.DROPPED, 0);
    } catch (error) {
      this.#parts.log(`the list of snapshots cannot be written: ${messageOf(error)}`);
    }
  }

  /** No queue uses them any more: all is durable. */
  close(): void {
    this.noteDropped();
    for (const { slot } of this.stores) makeDurable(this.#parts.spec, slot);
    this.manifest.open = null;
    this.manifest.stamp = this.#parts.stamp();
    if (Atomics.load(this.#kept, KeptWord.DROPPED) === 0) writeManifest(this.#parts.manifestPath, this.manifest);
  }
}
