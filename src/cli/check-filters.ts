import type { FileOptions } from '../block/backends/file/open.js';
import { type PeekedDisk, peekDisk } from '../block/backends/peek.js';
import { type Config, type DiskConfig, type NicConfig, sourceOf } from '../daemon/config.js';
import type { KeyPath } from '../daemon/config-text.js';
import { SidecoreError } from '../errors.js';
import {
  checkBlockFilter,
  checkFrameFilter,
  disksOf,
  frameSharedBytesOf,
  offeredUnprepared,
  sharedBytesOf,
} from '../filter/ask-definition.js';
import { isNextToBackend } from '../filter/placing.js';

/** What a device's filters say of it before it is opened. Keys begin below the device. */
export interface FoundFilters {
  readonly faults: { readonly keys: KeyPath; readonly error: SidecoreError }[];
  readonly notes: { readonly keys: KeyPath; readonly text: string }[];
  /** Images that they want for themselves. */
  readonly disks: { readonly keys: KeyPath; readonly use: string; readonly options: FileOptions }[];
}

const nothing = (): FoundFilters => ({ faults: [], notes: [], disks: [] });

/** Undefined if it throws, which is noted. */
function attempt<T>({ faults }: FoundFilters, keys: KeyPath, call: () => T): T | undefined {
  try {
    return call();
  } catch (error) {
    if (!(error instanceof SidecoreError)) throw error;
    faults.push({ keys, error });
    return undefined;
  }
}

/**
 * Has the filters of a disk look whether they could serve it, beginning at the back end.
 *
 * @param isSound - nothing is wrong with its back end
 */
export function lookAtDiskFilters(vm: string, device: string, config: Config, isSound: boolean): FoundFilters {
  const disk = config.vms[vm]!.disks[device]!;
  const { backend, queues } = disk;
  const found = nothing();
  const peeked = isSound ? peek(disk, config) : undefined;
  const site = (keys: KeyPath) => ({ vm, device, queues, log: (text: string) => found.notes.push({ keys, text }) });
  let below: PeekedDisk['abilities'] | undefined = peeked?.abilities;
  if (backend.type === 'snapshot' && backend.view !== undefined) {
    const { view } = backend;
    const keys = ['backend', 'name'];
    attempt(found, keys, () => checkBlockFilter(view, { ...site(keys), below, image: peeked?.image }));
    below = below && offeredUnprepared(view, below);
  }
  const filters = disk.filters.map(({ ready }) => ready!);
  for (const [index, filter] of [...filters.entries()].reverse()) {
    const keys = ['filters', index, 'options'];
    const image = isNextToBackend(filters, index) ? peeked?.image : undefined;
    below = attempt(found, keys, () => {
      checkBlockFilter(filter, { ...site(keys), below, image });
      if (below === undefined) return undefined;
      sharedBytesOf(filter, below, queues);
      for (const options of Object.values(disksOf(filter, below)))
        if (options.type === 'file') found.disks.push({ keys, use: filter.use, options });
      return offeredUnprepared(filter, below);
    });
  }
  return found;
}

/** The same for a card. */
export function lookAtCardFilters(vm: string, device: string, { filters }: NicConfig): FoundFilters {
  const found = nothing();
  for (const [index, { ready }] of filters.entries()) {
    const keys = ['filters', index, 'options'];
    const log = (text: string) => void found.notes.push({ keys, text });
    attempt(found, keys, () => {
      checkFrameFilter(ready!, { vm, device, log });
      frameSharedBytesOf(ready!);
    });
  }
  return found;
}

/** A snapshot has the size of the disk that it is of, as far as that can be seen. */
function peek({ backend, read_only }: DiskConfig, config: Config): PeekedDisk | undefined {
  if (backend.type === 'file') return peekDisk({ ...backend, readOnly: read_only || backend.read_only });
  if (backend.type !== 'snapshot') return peekDisk(backend);
  const source = sourceOf(backend.of, config);
  return source && peek({ ...source.disk, read_only: true }, config);
}
