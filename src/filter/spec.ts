import type { BackendSpec } from '../block/backends/index.js';
import type { BlockDeviceSpec } from '../block/device.js';

/** What a filter does when it has thrown: errors to its guest, or requests pass it by. */
export type FaultPolicy = 'closed' | 'open';

/** A filter as it is configured, with defaults. Plain data. */
export interface WrittenFilter {
  readonly use: string;
  readonly options: Readonly<Record<string, unknown>>;
  readonly on_fault: FaultPolicy;
  readonly time_limit_us: number;
  /** Of disks only. */
  readonly defer_limit_s?: number | undefined;
  readonly quarantine: boolean;
  readonly watch: boolean;
}

/** Where a filter's definition comes from, for any thread: ours by name, or a module's text. Plain data. */
export type FilterModule =
  | { readonly kind: 'built-in'; readonly name: string }
  /** CommonJS, everything that it needs in one text. */
  | { readonly kind: 'text'; readonly file: string; readonly text: string };

/** A disk of a filter's own, as sidecores are told of it. */
export interface FilterDiskSpec {
  readonly backend: BackendSpec;
  readonly sizeBytes: number;
}

/** One filter of a device of any kind as a sidecore is told of it. Plain data. */
export interface AnyFilterSpec {
  /** Unlike that of any other in the daemon, and of what was in its place before; positive, 31 bits. */
  readonly id: number;
  /** Whose place it takes, and state. */
  readonly replaces?: number | undefined;
  /** As its definition has them. */
  readonly name: string;
  readonly counters: readonly string[];
  readonly histograms: readonly string[];
  readonly defers: boolean;
  readonly module: FilterModule;
  readonly options: unknown;
  /** By its `manage`. */
  readonly prepared: unknown;
  readonly onFault: FaultPolicy;
  /** Longest that a call may take on average, ns. */
  readonly timeNsMax: number;
  /** Of `FilterMemory`. */
  readonly memory: SharedArrayBuffer;
  /** State of its own that all queues share, and that of its group. */
  readonly shared: SharedArrayBuffer;
  readonly group: SharedArrayBuffer;
}

/** One filter of a disk. */
export interface FilterSpec extends AnyFilterSpec {
  readonly hasHelper: boolean;
  /** Longest that it may keep a request, ns. */
  readonly deferNsMax: number;
  readonly disks: Readonly<Record<string, FilterDiskSpec>>;
  /** Of the disk as it is below the filter, bytes. */
  readonly belowBytes: number;
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

/** A disk with filters. They may be others later. */
export interface FilteredDeviceSpec extends BlockDeviceSpec {
  filters?: ChainSpec | undefined;
}
