import type { BackendAbilities, DiskImage } from '../block/backends/backend.js';
import type { BackendSpec } from '../block/backends/index.js';

/** The part of what a disk can do that filters may change. */
export type FilterAbilities = Pick<
  BackendAbilities,
  'sizeBytes' | 'readOnly' | 'discard' | 'writeZeroes' | 'secureErase' | 'inOrder'
>;

/** A disk of a filter, on the main thread. */
export interface ManagedDisk {
  readonly abilities: BackendAbilities;
  readonly image: DiskImage;
}

/** A disk's filter, wherever it is looked at. */
interface FilterSite<Options> {
  readonly vm: string;
  readonly device: string;
  readonly queues: number;
  readonly options: Options;
  /** Folder of the configuration, from which paths in options start. */
  readonly base: string;
  log(text: string): void;
}

/** What a filter's `check` gets, of a disk that may not be open. */
export interface BlockFilterCheck<Options = unknown> extends FilterSite<Options> {
  /** What is below; undefined if that is not known before the disk is opened. */
  readonly below: FilterAbilities | undefined;
  /** The image, to look into; undefined where `manage` gets none, and if it cannot be read. One that is still to be made has zeros. */
  readonly image: Pick<DiskImage, 'read' | 'stamp'> | undefined;
}

/** What a filter's side on the main thread gets. */
export interface BlockFilterSetup<Options = unknown, Found = unknown> extends FilterSite<Options> {
  /** What `check` has returned. */
  readonly found: Found;
  /** What is below, as the filters there have changed it. */
  readonly below: BackendAbilities;
  /** The back end; undefined unless the filter is the last, or those below say `sameBytes`. What it has in flight is not waited for. */
  readonly image: DiskImage | undefined;
  /** The same as sidecores are told of it: for what reads it on threads of its own. */
  readonly backend: BackendSpec | undefined;
  readonly disks: Readonly<Record<string, ManagedDisk>>;
  readonly shared: SharedArrayBuffer;
  readonly group: SharedArrayBuffer;
  /**
   * Runs a function while nothing of the disk is in flight above its back end, and nothing is begun: one at a time, and none within
   * another. Rejects with `DEVICE_BUSY` if what is in flight, or another hold, does not end in `HOLD_MS_MAX`. If the function has not come
   * to its end after `secondsMax` (`FILTER_HOLD_S`; infinite for one that sees to it), the disk goes on, and the filter has failed.
   */
  hold<T>(during: () => T | Promise<T>, secondsMax?: number): Promise<T>;
  /** A front end is connected. */
  connected(): boolean;
}

/** What an operator asks of a filter: `sidecore filter ask VM/disk NAME COMMAND key=value…`. Answers with plain data. */
export type FilterCommand = (given: Readonly<Record<string, string>>) => unknown;

/** A filter's side on the main thread: one for each disk. */
export interface BlockFilterManager<Prepared = unknown> {
  readonly prepared?: Prepared;
  readonly commands?: Readonly<Record<string, FilterCommand>>;
  /** Plain data, for `status`. */
  status?(): unknown;
  close?(): void | Promise<void>;
}
