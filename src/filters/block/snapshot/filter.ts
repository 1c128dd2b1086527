import { existsSync } from 'node:fs';
import { SECTOR_BYTES } from '../../../block/features.js';
import { SidecoreError } from '../../../errors.js';
import { defineBlockFilter } from '../../../filter/index.js';
import { committingHelper } from '../clusters/commit.js';
import { clusterOption, SLOTS_MAX, sharedBytes } from '../clusters/layout.js';
import { MapFile } from '../clusters/map-file.js';
import { readManifest, storeFiles } from './manifest.js';
import { type SnapshotPrepared, slotSectors } from './prepared.js';
import { snapshotHooks } from './queue.js';
import { mapHeader, SnapshotStore, shapeOf } from './store.js';

const SLOTS_DEFAULT = 32;

type Given = Readonly<Record<string, string>>;

function need(given: Given, key: string): string {
  const value = given[key];
  if (value !== undefined) return value;
  throw new SidecoreError('CONFIG_INVALID', `say ${key}=…`);
}

/** Point-in-time snapshots: before something is overwritten for the first time since the newest one, it is copied to that one's store. */
export const snapshot = defineBlockFilter({
  name: 'snapshot',
  defers: true,
  failsClosed: true,
  last: true,
  sameBytes: true,
  options: (z) =>
    z.strictObject({
      path: z.string().min(1),
      cluster: clusterOption(z),
      max: z.int().min(1).max(SLOTS_MAX).default(SLOTS_DEFAULT),
      on_full: z.enum(['fail', 'drop']).default('fail'),
      power_safe: z.boolean().default(false),
    }),
  counters: ['copied', 'bytes_copied', 'commits', 'dropped'],
  sharedBytes: ({ options, below }) => sharedBytes(shapeOf(options, below.sizeBytes)),
  check({ options, base, below }) {
    const files = storeFiles(options, base);
    if (below?.readOnly) throw new SidecoreError('CONFIG_INVALID', 'snapshot is for disks that can be written');
    for (const path of [files.copies, files.map])
      if (existsSync(files.manifest) && !existsSync(path))
        throw new SidecoreError(
          'IMAGE_MISSING',
          `${path} is missing, and there are snapshots`,
          'Put it back, or name another folder.',
        );
    if (below !== undefined) MapFile.look(files.map, mapHeader(options, below.sizeBytes));
    readManifest(files.manifest);
  },
  disks(options, { base, below }) {
    const shape = shapeOf(options, below.sizeBytes);
    const size = shape.slots * slotSectors(shape) * SECTOR_BYTES;
    return { copies: { type: 'file', path: storeFiles(options, base).copies, size, makesFolder: true } };
  },
  manage(setup) {
    const store = new SnapshotStore(setup);
    const { options } = setup;
    const prepared: SnapshotPrepared = {
      store: store.spec,
      powerSafe: options.power_safe,
      dropsWhenFull: options.on_full === 'drop',
    };
    return {
      prepared,
      commands: {
        create: async (given) => store.create(need(given, 'name')),
        list: () => ({ snapshots: store.list() }),
        delete: async (given) => store.delete(need(given, 'name')),
        merge: (given) => store.merge(need(given, 'name')),
        export: (given) => store.export(need(given, 'name'), need(given, 'file')),
        job: (given) => store.job(Number(need(given, 'job'))),
        cancel: (given) => store.cancel(Number(need(given, 'job'))),
        settle: async () => {
          await store.settled();
          return { snapshots: store.list() };
        },
      },
      status: () => ({ snapshots: store.list() }),
      close: () => store.close(),
    };
  },
  helper: (context) => committingHelper(context),
  create: snapshotHooks,
});
