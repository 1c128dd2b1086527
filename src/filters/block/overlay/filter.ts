import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { assert, SidecoreError } from '../../../errors.js';
import { defineBlockFilter } from '../../../filter/index.js';
import { statIfThere } from '../../../host/file-faults.js';
import { committingHelper, type StoreSpec } from '../clusters/commit.js';
import { clusterOption, type Shape, sharedBytes, sharedWords, Word } from '../clusters/layout.js';
import { MapFile } from '../clusters/map-file.js';
import { overlayHooks } from './queue.js';

/** What sidecores and helpers are told. */
export interface OverlayPrepared {
  readonly store: StoreSpec;
  readonly canDiscard: boolean;
}

interface OverlayOptions {
  readonly path: string;
  readonly cluster: number;
}

const shapeOf = ({ cluster }: OverlayOptions, diskBytes: number): Shape => ({
  diskBytes,
  clusterBytes: cluster,
  slots: 1,
});

/**
 * A disk of its own over a base that stays as it is: what the guest writes goes to a file, the top, and what it has not written is read from
 * the base. Any number of disks may have one base.
 */
export const overlay = defineBlockFilter({
  name: 'overlay',
  defers: true,
  failsClosed: true,
  options: (z) =>
    z.strictObject({
      path: z.string().min(1),
      cluster: clusterOption(z),
      accept_base: z.boolean().default(false),
    }),
  counters: ['from_top', 'from_base', 'divided', 'bytes_filled', 'commits'],
  sharedBytes: ({ options, below }) => sharedBytes(shapeOf(options, below.sizeBytes)),
  disks: ({ path }, { base, below }) => ({
    top: { type: 'file', path: resolve(base, path), size: below.sizeBytes },
  }),
  check({ options, below, base, image }) {
    if (below === undefined) return undefined;
    const path = resolve(base, options.path);
    if (!below.readOnly)
      throw new SidecoreError(
        'CONFIG_INVALID',
        'overlay: its base can be written',
        'Say `read_only: true` in `backend`.',
      );
    const top = statIfThere(path);
    if (top?.isFile() && top.size !== below.sizeBytes)
      throw new SidecoreError(
        'IMAGE_INVALID',
        `${path} has ${top.size} bytes, and its base has ${below.sizeBytes}`,
        'An overlay is as large as its base.',
      );
    const mapPath = `${path}.map`;
    if (top !== undefined && top.blocks > 0 && !existsSync(mapPath))
      throw new SidecoreError(
        'IMAGE_INVALID',
        `${path} has data, and no map: ${mapPath} is missing`,
        'Put the map back, or name a file that is not there yet: it is made.',
      );
    const header = {
      kind: 'overlay',
      ...shapeOf(options, below.sizeBytes),
      base: image?.stamp?.() ?? 'unknown',
    } as const;
    MapFile.look(mapPath, header, (old) => {
      if (old.base === header.base || old.base === 'unknown' || header.base === 'unknown' || options.accept_base)
        return;
      throw new SidecoreError(
        'IMAGE_INVALID',
        `the base of ${path} has changed since that was made: it was last written at ${timeOf(old.base)}, now at ${timeOf(header.base)}`,
        'What is in the top may not fit it. If the base is the same, copied or touched only, set `accept_base: true` once.',
      );
    });
    return { path, mapPath, header };
  },
  manage({ found, below, disks, shared }) {
    assert(found !== undefined, 'what is below is open');
    const { path, mapPath, header } = found;
    const { abilities } = disks['top']!;
    const file = MapFile.open(mapPath, header);
    try {
      file.reserve(0);
    } catch (error) {
      file.close();
      throw error;
    }
    const store: StoreSpec = { shape: file.shape, mapAddress: file.map.address, mapPath, dataPath: path };
    const info = () => {
      const { clusterBytes } = file.shape;
      const clusters = file.mapOf(shared, 0).count();
      const words = sharedWords(shared);
      return {
        path,
        base_stamp: file.header.base,
        cluster: clusterBytes,
        size_bytes: below.sizeBytes,
        bytes_in_top: clusters * clusterBytes,
        durable: Atomics.load(words, Word.CHANGES) === Atomics.load(words, Word.COMMITTED),
        broken: Atomics.load(words, Word.BROKEN) === 1,
      };
    };
    return {
      prepared: { store, canDiscard: abilities.discard },
      commands: { info },
      status: info,
      close: () => file.close(),
    };
  },
  offers: (_below, _options, { canDiscard }: OverlayPrepared) => ({
    readOnly: false,
    discard: canDiscard,
    writeZeroes: true,
    secureErase: false,
  }),
  helper: (context) => committingHelper(context),
  create: overlayHooks,
});

const timeOf = (stamp = ''): string => new Date(Number(stamp.slice(0, -6))).toISOString();
