import { existsSync, rmSync } from 'node:fs';
import { resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { OpenDisk } from '../../../block/backends/backend.js';
import type { BackendSpec } from '../../../block/backends/index.js';
import { assert, messageOf, SidecoreError } from '../../../errors.js';
import type { BlockFilterSetup } from '../../../filter/index.js';
import { requireWritable } from '../../../host/file-faults.js';
import type { StoreSpec } from '../clusters/commit.js';
import { type Shape, sharedWords, Word } from '../clusters/layout.js';
import { MapFile } from '../clusters/map-file.js';
import { type Job, Jobs } from './jobs.js';
import { findSnapshot, goodSnapshot, SNAPSHOT_NAME, type StoreEntry, storeFiles } from './manifest.js';
import { StoreState } from './state.js';
import { Progress } from './tasks.js';

export interface SnapshotOptions {
  readonly path: string;
  readonly cluster: number;
  readonly max: number;
  readonly on_full: 'fail' | 'drop';
  readonly power_safe: boolean;
}

export const shapeOf = ({ cluster, max }: SnapshotOptions, diskBytes: number): Shape => ({
  diskBytes,
  clusterBytes: cluster,
  slots: max,
});

export const mapHeader = (options: SnapshotOptions, diskBytes: number) =>
  ({ kind: 'snapshots', ...shapeOf(options, diskBytes) }) as const;

/** Stores that are open, by the disk that they are of: "VM/disk". */
const open = new Map<string, SnapshotStore>();

/** The snapshots of a disk of this daemon. Throws if it has none. */
export function snapshotsOf(label: string): SnapshotStore {
  const store = open.get(label);
  if (store !== undefined) return store;
  throw new SidecoreError(
    'CONFIG_INVALID',
    `there is no disk ${label} with the filter snapshot`,
    'Write VM/disk of one that has it.',
  );
}

const fail = (text: string, remedy = '') => new SidecoreError('DEVICE_BUSY', text, remedy);

/** The snapshots of one disk, on the main thread. */
export class SnapshotStore {
  readonly spec: StoreSpec;
  readonly shared: SharedArrayBuffer;
  readonly live: BackendSpec;
  readonly copies: OpenDisk<BackendSpec>;
  readonly #label: string;
  readonly #setup: BlockFilterSetup<SnapshotOptions>;
  readonly #map: MapFile;
  readonly #state: StoreState;
  readonly #words: Int32Array;
  readonly #jobs = new Jobs();
  /** Who uses a snapshot, by its slot: how many. */
  readonly #users = new Map<number, number>();
  /** One change after the other. */
  #changes: Promise<unknown> = Promise.resolve();
  /** Changes under way. */
  #busy = 0;

  constructor(setup: BlockFilterSetup<SnapshotOptions>) {
    const { options, base, below, disks, image, shared, vm, device, log } = setup;
    assert(image !== undefined, 'it is the last');
    const before = open.get(`${vm}/${device}`);
    if (before !== undefined && (before.#users.size > 0 || before.#busy > 0))
      throw fail(
        `snapshots of ${vm}/${device} are in use`,
        'Ask again when nothing is attached, exported or tidied up.',
      );
    this.#setup = setup;
    this.#label = `${vm}/${device}`;
    this.shared = shared;
    const { copies: dataPath, map: mapPath, manifest: manifestPath } = storeFiles(options, base);
    this.#map = MapFile.open(mapPath, mapHeader(options, below.sizeBytes));
    this.copies = disks['copies'] as OpenDisk<BackendSpec>;
    this.live = setup.backend!;
    const shape = shapeOf(options, below.sizeBytes);
    this.spec = { shape, mapAddress: this.#map.map.address, mapPath, dataPath };
    this.#words = sharedWords(shared);
    const { spec, live } = this;
    try {
      const sync = () => image.sync();
      const stamp = () => image.stamp?.() ?? null;
      const openedStamp = image.openedStamp ?? null;
      const powerSafe = options.power_safe;
      const takesOver = before?.spec.mapPath === mapPath;
      const parts = {
        spec,
        map: this.#map,
        manifestPath,
        shared,
        live,
        powerSafe,
        takesOver,
        log,
        stamp,
        openedStamp,
        sync,
      };
      this.#state = new StoreState(parts);
    } catch (error) {
      this.#map.close();
      throw error;
    }
    open.set(this.#label, this);
  }

  #change<T>(act: () => Promise<T>): Promise<T> {
    this.#busy++;
    const done = this.#changes.then(act).finally(() => {
      this.#busy--;
    });
    this.#changes = done.catch(() => {});
    return done;
  }

  // --- what operators ask for ----------------------------------------------------------------------------------

  create(name: string): Promise<StoreEntry> {
    return this.#change(async () => {
      this.#state.noteDropped();
      const { stores } = this.#state;
      if (!SNAPSHOT_NAME.test(name))
        throw new SidecoreError(
          'CONFIG_INVALID',
          `${name} is no name of a snapshot`,
          'Letters, digits, `.`, `_` and `-`, at most 64.',
        );
      if (stores.some((store) => store.name === name)) throw fail(`${this.#label} has a snapshot ${name} already`);
      const slot = Array.from({ length: this.spec.shape.slots }, (_, i) => i).find(
        (free) => !stores.some((store) => store.slot === free),
      );
      if (slot === undefined) throw fail(`${this.#label} has as many snapshots as it may (max)`, 'Delete one.');
      const entry: StoreEntry = { name, slot, created: new Date().toISOString(), damaged: false };
      this.#map.reserve(slot);
      stores.push(entry);
      try {
        this.#state.save();
        await this.#setup.hold(() => {
          entry.created = new Date().toISOString();
          this.#state.publish();
          this.#state.setNewest();
        });
      } catch (error) {
        stores.splice(stores.indexOf(entry), 1);
        this.#state.save();
        throw error;
      }
      return entry;
    });
  }

  list() {
    this.#state.noteDropped();
    const { clusterBytes } = this.spec.shape;
    return this.#state.stores.map(({ name, slot, created, damaged }) => ({
      name,
      created,
      bytes: this.#map.mapOf(this.shared, slot).count() * clusterBytes,
      damaged,
      in_use: this.#users.get(slot) ?? 0,
    }));
  }

  /** Its name is gone at once; the rest is done in the background. */
  delete(name: string): Promise<unknown> {
    return this.#change(async () => {
      const entry = findSnapshot(this.#state.stores, this.#label, name);
      if (this.#users.has(entry.slot))
        throw fail(`the snapshot ${name} is in use`, 'It is attached to a disk, or being exported.');
      entry.name = null;
      this.#state.save();
      void this.#change(() => this.#tidy()).catch((error) =>
        this.#setup.log(`tidying up snapshots: ${messageOf(error)}`),
      );
      return { deleted: name };
    });
  }

  /** Resolves when nothing is being tidied up. */
  async settled(): Promise<void> {
    let last: unknown;
    while (last !== this.#changes) {
      last = this.#changes;
      await last;
    }
  }

  /** Stores whose snapshots are deleted: one that nothing older needs goes; another one's clusters go to the next older. */
  async #tidy(): Promise<void> {
    const { stores } = this.#state;
    while (stores.length > 0 && stores[0]!.name === null) await this.#remove(stores[0]!);
    // The newest is still being filled.
    for (let i = stores.length - 2; i > 0; i--) {
      const entry = stores[i]!;
      if (entry.name !== null) continue;
      const progress = new Progress();
      await this.#jobs.run({ ...this.#state.task('fold', entry.slot, progress), into: stores[i - 1]!.slot });
      await this.#remove(entry);
    }
  }

  async #remove(entry: StoreEntry): Promise<void> {
    const { stores } = this.#state;
    const isNewest = stores.at(-1) === entry;
    stores.splice(stores.indexOf(entry), 1);
    this.#state.save();
    const tell = () => {
      this.#state.publish();
      this.#state.setNewest();
    };
    if (isNewest) await this.#setup.hold(tell);
    else this.#state.publish();
    this.#map.clear(entry.slot, 'live');
    await this.#roundsEnded();
    this.#state.empty(entry.slot);
  }

  /** Whoever was making bits durable has ended: they have nothing of a store that is gone any more. */
  async #roundsEnded(): Promise<void> {
    const begun = Atomics.load(this.#words, Word.ROUNDS);
    while (Atomics.load(this.#words, Word.ROUNDS_ENDED) - begun < 0) await sleep(1);
  }

  /** The disk goes back to a snapshot, which stays. */
  merge(name: string): Job {
    const entry = this.#good(name);
    if (this.#setup.connected())
      throw fail(`${this.#label} is in use: a front end is connected`, 'Shut its guest down, and ask again.');
    const progress = new Progress();
    const done = this.#change(() =>
      this.#setup.hold(async () => {
        if (this.#setup.connected()) throw fail(`${this.#label} is in use: a front end is connected`);
        this.#state.manifest.merging = entry.slot;
        this.#state.save();
        await this.#jobs.run(this.#state.task('merge', entry.slot, progress));
        this.#state.mergeEnded();
        // As long as it takes: there is no front end, and it can be cancelled.
      }, Number.POSITIVE_INFINITY),
    );
    return this.#jobs.add('merge', progress, done);
  }

  /** Writes a snapshot to a new file, while the guest runs. */
  export(name: string, file: string): Job {
    const entry = this.#good(name);
    const target = resolve(this.#setup.base, file);
    if (existsSync(target))
      throw new SidecoreError('IMAGE_INVALID', `${target} is there already`, 'A snapshot is exported to a new file.');
    requireWritable(target);
    const progress = new Progress();
    this.use(entry.slot);
    const task = { ...this.#state.task('export', entry.slot, progress), file: target };
    const done = this.#jobs.run(task).then(() => {
      this.#state.noteDropped();
      if (!entry.damaged) return;
      rmSync(task.file, { force: true });
      throw fail(`the snapshot ${name} was given up meanwhile`);
    });
    return this.#jobs.add(
      'export',
      progress,
      done.finally(() => this.unuse(entry.slot)),
    );
  }

  job(id: number): Job {
    return this.#jobs.find(id);
  }

  cancel(id: number): void {
    this.#jobs.cancel(id);
  }

  /** One whose content is all there. */
  #good(name: string): StoreEntry {
    this.#state.noteDropped();
    return goodSnapshot(this.#state.stores, this.#label, name);
  }

  /** Slot of a snapshot, which stays until `unuse`. */
  attach(name: string): number {
    const { slot } = this.#good(name);
    this.use(slot);
    return slot;
  }

  /** The disk below a view of a snapshot. Its own reads are of the disk as it is: a view has to be above it. */
  lend(): OpenDisk<BackendSpec> {
    const { below, image } = this.#setup;
    // When the disk was last written says nothing of its snapshots.
    const { stamp: _stamp, openedStamp: _openedStamp, ...itself } = image!;
    return {
      spec: this.live,
      abilities: { ...below, readOnly: true, discard: false, writeZeroes: false, secureErase: false },
      image: itself,
      resize: () => {
        throw fail('a snapshot has the size that it has');
      },
      close() {},
    };
  }

  use(slot: number): void {
    this.#users.set(slot, (this.#users.get(slot) ?? 0) + 1);
  }

  unuse(slot: number): void {
    const left = this.#users.get(slot)! - 1;
    if (left > 0) this.#users.set(slot, left);
    else this.#users.delete(slot);
  }

  /** No queue uses it any more. */
  async close(): Promise<void> {
    await this.#jobs.stop();
    await this.#changes;
    // Another may have taken its place.
    if (open.get(this.#label) === this) {
      open.delete(this.#label);
      this.#state.close();
    }
    this.#map.close();
    if (this.#users.size === 0) return;
    // Those who show a snapshot still read the map, and nothing is copied for them any more: they find no end of a change, and fail.
    Atomics.or(this.#words, Word.GENERATION, 1);
    this.#setup.log('snapshots that other disks show are gone: these disks fail from now on');
  }
}
