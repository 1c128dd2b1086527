import { resolve } from 'node:path';
import { SidecoreError } from '../../../errors.js';
import type { BlockFilterCheck, BlockFilterManager, BlockFilterSetup } from '../../../filter/contract.js';
import { statIfThere } from '../../../host/file-faults.js';
import { checkStateFile, type Found, openStateFile } from '../parts/state-file.js';
import { bitmapBytes, type RegionPlace, type Regions, regionBytesOf } from './regions.js';
import { Figure, MirrorState, Word } from './state.js';

export interface MirrorSetupOptions {
  readonly to: { readonly size?: number | undefined } & (
    | { readonly type: 'file'; readonly path: string }
    | { readonly type: 'memory' }
  );
  readonly bitmap?: string | undefined;
  readonly resync_rate: number;
}

/** What sidecores get: where the bitmaps are, and what the second half can do. */
export interface MirrorPrepared extends RegionPlace {
  readonly discard: boolean;
  readonly writeZeroes: boolean;
}

/** How a file of bitmaps was left, for `status`. */
const FOUND: Readonly<Record<Found, string>> = {
  new: 'it was new, and all was copied',
  clean: 'it had been closed',
  killed: 'its daemon had been killed: what was being written then was copied',
  'host-down': 'its host had gone down: all was copied',
};

const MAGIC = 'sidecore mirror';

/** Where the bitmaps are; undefined: in memory. */
function bitmapPath({ to, bitmap }: MirrorSetupOptions, base: string): string | undefined {
  const path = bitmap ?? (to.type === 'file' ? `${to.path}.mirror` : undefined);
  return path === undefined ? undefined : resolve(base, path);
}

export function checkMirror({ options, base, below }: BlockFilterCheck<MirrorSetupOptions>): void {
  const { to } = options;
  const file = to.type === 'file' ? statIfThere(resolve(base, to.path)) : undefined;
  const bytes = file?.isFile() ? file.size : to.size;
  if (below !== undefined && bytes !== undefined && bytes < below.sizeBytes)
    throw new SidecoreError(
      'IMAGE_INVALID',
      `the second half has ${bytes} bytes, and the disk ${below.sizeBytes}`,
      'Make it as large as the disk.',
    );
  const path = bitmapPath(options, base);
  if (path !== undefined) checkStateFile(path, { magic: MAGIC });
}

/** A mirror's side on the main thread. */
export function manageMirror(setup: BlockFilterSetup<MirrorSetupOptions>): BlockFilterManager<MirrorPrepared> {
  const { vm, device, options, base, below, disks, shared, image } = setup;
  const second = disks.to!;
  const { sizeBytes } = below;
  const regionBytes = regionBytesOf(sizeBytes);
  const shape = {
    magic: MAGIC,
    identity: `${vm}/${device} ${sizeBytes} ${regionBytes}`,
    bytes: bitmapBytes(sizeBytes, regionBytes),
  };
  const stateAt = (address: number) => new MirrorState(shared, { address, sizeBytes, regionBytes });
  const file = openStateFile(bitmapPath(options, base), shape, shared, (address, found) => {
    const { regions } = stateAt(address);
    if (found === 'killed') regions.recover();
    else {
      regions.written.fill(0);
      if (found !== 'clean') markAll(regions);
    }
  });
  const state = stateAt(file.address);
  const { words, figures, regions } = state;
  if (file.users === 1) Atomics.store(words, Word.STALE, regions.countStale());
  const bytesLeft = () => Math.min(sizeBytes, Atomics.load(words, Word.STALE) * regionBytes);
  const phase = () => {
    const left = Atomics.load(words, Word.STALE);
    if (state.isDegraded) return 'degraded';
    if (left === 0) return 'in sync';
    return Atomics.load(words, Word.PAUSED) === 1 ? 'paused' : 'copying';
  };
  const status = () => ({
    phase: phase(),
    left_bytes: bytesLeft(),
    copied_bytes: figures[Figure.COPIED]!,
    rate: options.resync_rate,
    paused: Atomics.load(words, Word.PAUSED) === 1,
    when_opened: FOUND[file.found],
  });
  return {
    prepared: {
      address: file.address,
      sizeBytes,
      regionBytes,
      discard: second.abilities.discard,
      writeZeroes: second.abilities.writeZeroes,
    },
    status,
    commands: {
      status,
      pause() {
        Atomics.store(words, Word.PAUSED, 1);
        return status();
      },
      resync({ full = 'no' }) {
        if (full !== 'no' && full !== 'yes')
          throw new SidecoreError('CONFIG_INVALID', `full: expects yes or no, not ${full}`);
        if (full === 'yes') regions.markAllStale();
        Atomics.store(words, Word.PAUSED, 0);
        Atomics.add(words, Word.ASKED, 1);
        return status();
      },
    },
    close() {
      // What is equal is so on stable storage, before it is noted that it is.
      image?.sync();
      second.image.sync();
      file.close();
    },
  };
}

function markAll(regions: Regions): void {
  regions.stale.fill(0);
  regions.markAllStale();
}
