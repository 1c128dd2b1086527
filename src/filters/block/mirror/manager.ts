import { isAbsolute, join } from 'node:path';
import type { BlockFilterManager, BlockFilterSetup } from '../../../filter/contract.js';
import { type Found, openStateFile } from '../parts/state-file.js';
import { bitmapBytes, type RegionPlace, type Regions, regionBytesOf } from './regions.js';
import { Figure, MirrorState, Word } from './state.js';

export interface MirrorSetupOptions {
  readonly to: { readonly type: 'file'; readonly path: string } | { readonly type: 'memory' };
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

/** A mirror's side on the main thread. */
export function manageMirror(setup: BlockFilterSetup<MirrorSetupOptions>): BlockFilterManager<MirrorPrepared> {
  const { vm, device, options, base, below, disks, shared, image } = setup;
  const second = disks.to!;
  const { sizeBytes } = below;
  if (second.abilities.sizeBytes < sizeBytes)
    throw new Error(`the second half has ${second.abilities.sizeBytes} bytes, and the disk ${sizeBytes}`);
  const { to } = options;
  const path = options.bitmap ?? (to.type === 'file' ? `${to.path}.mirror` : undefined);
  const regionBytes = regionBytesOf(sizeBytes);
  const shape = {
    magic: 'sidecore mirror',
    identity: `${vm}/${device} ${sizeBytes} ${regionBytes}`,
    bytes: bitmapBytes(sizeBytes, regionBytes),
  };
  const where = path === undefined ? undefined : isAbsolute(path) ? path : join(base, path);
  const stateAt = (address: number) => new MirrorState(shared, { address, sizeBytes, regionBytes });
  const file = openStateFile(where, shape, shared, (address, found) => {
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
        if (full !== 'no' && full !== 'yes') throw new Error('full is yes or no');
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
