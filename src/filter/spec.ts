import type { BlockDeviceSpec } from '../block/device.js';

/** What a filter does when it has thrown: errors to its guest, or requests pass it by. */
export type FaultPolicy = 'closed' | 'open';

/** Where a filter's definition comes from, for any thread: ours by name, or a module's text. Plain data. */
export type FilterModule =
  | { readonly kind: 'built-in'; readonly name: string }
  /** CommonJS, everything that it needs in one text. */
  | { readonly kind: 'text'; readonly file: string; readonly text: string };

/** One filter of a device as a sidecore is told of it. Plain data. */
export interface FilterSpec {
  /** Tells it from all other filters of all devices of the daemon: a positive 32-bit number. */
  readonly id: number;
  /** As its definition has them. */
  readonly name: string;
  readonly counters: readonly string[];
  readonly histograms: readonly string[];
  readonly module: FilterModule;
  readonly options: unknown;
  readonly onFault: FaultPolicy;
  /** Of `FilterMemory`. */
  readonly memory: SharedArrayBuffer;
  /** State of its own that all queues share. */
  readonly shared: SharedArrayBuffer;
}

/** The filters of a device, nearest to the guest first. Plain data. */
export interface ChainSpec {
  readonly vm: string;
  readonly device: string;
  readonly queues: number;
  /** Of `ChainControl`. */
  readonly control: SharedArrayBuffer;
  readonly filters: readonly FilterSpec[];
}

/** A disk with filters. */
export interface FilteredDeviceSpec extends BlockDeviceSpec {
  readonly filters?: ChainSpec | undefined;
}
