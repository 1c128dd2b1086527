import type { z } from 'zod';
import type { BackendOptions } from '../block/backends/index.js';
import type { Histogram } from './histogram.js';
import type { BlockFilterCheck, BlockFilterManager, BlockFilterSetup, FilterAbilities } from './manage-contract.js';

export type {
  BlockFilterCheck,
  BlockFilterManager,
  BlockFilterSetup,
  FilterAbilities,
  FilterCommand,
  ManagedDisk,
} from './manage-contract.js';

/**
 * A stretch of guest memory: `bytes[offset … offset + length)`, for as long as the request is the filter's. `bytes.buffer` is all of the
 * process's address space: whoever makes a view of it starts from `bytes.byteOffset`.
 */
export interface Segment {
  readonly bytes: Uint8Array;
  readonly offset: number;
  readonly length: number;
}

/**
 * A block request as filters see it, already checked against the standard. Pooled: it is the filter's only between its
 * `submit` and the end of its `complete`, and the next request with the same slot, another guest's perhaps, is the same object.
 */
export interface FilterRequest {
  /** Tells it from all others in flight on this sidecore: 0 to `context.slots - 1`. Index your own arrays by it. */
  readonly slot: number;
  /** One of `RequestType`, without GET_ID. VIRTIO 1.3, 5.2.6 */
  readonly type: number;
  /** First sector, units of 512 bytes; of IN and OUT. */
  readonly sector: number;
  /** Bytes of data of IN and OUT; of the others, what their ranges cover. */
  readonly bytes: number;
  /** A write that is on stable storage before it completes. */
  readonly durable: boolean;
  /** Pieces of guest memory that hold the data of IN and OUT; zero of the others. Any length: a sector may be cut. */
  readonly segmentCount: number;
  /** One of them; good until the next call. */
  segment(index: number): Segment;
  /** Copies data of an OUT, `position` bytes into it, to `target[offset … offset + length)`. */
  copyTo(position: number, target: Uint8Array, offset: number, length: number): void;
  /** Fills data of an IN, `position` bytes into it, from `source[offset … offset + length)`. */
  copyFrom(position: number, source: Uint8Array, offset: number, length: number): void;
  /** Ranges of DISCARD, WRITE_ZEROES and SECURE_ERASE; zero of the others. */
  readonly rangeCount: number;
  /** First sector of a range. */
  rangeSector(index: number): number;
  /** Sectors in a range. */
  rangeSectors(index: number): number;
  /** Whether WRITE_ZEROES may give the range's room back. */
  rangeUnmap(index: number): boolean;
  /** Ends the request here, with one of `Status`: nobody below sees it. Only within `submit`, and instead of `next`. */
  complete(status: number): void;
  /**
   * Keeps the request: within `submit`, instead of `next`; or within `complete`, which returns `DEFERRED` then. Returns the token
   * by which `context.goOn` or `context.finish` ends that. Only filters that say `defers`.
   */
  defer(): number;
  /**
   * Has one of the filter's own disks take the request, at the same sectors, instead of what is below; it comes to `complete` as one that
   * was passed on. Only within `submit`, instead of `next`, and of filters that say `defers`. Throws if the disk has no such sectors.
   */
  redirect(disk: IoTarget): void;
}

/** What `complete` returns after `request.defer()`. */
export const DEFERRED = -1;

/** Says that a request goes on to the next filter, or to the back end, when `submit` returns. */
export type Next = (request: FilterRequest) => void;

/** What a filter does with the requests of one queue. At least one of the first two. */
export interface BlockFilterHooks {
  /**
   * On the way down. Calls `next(request)`, `request.complete(status)` or `request.defer()`, once, before it returns. Not called for
   * requests that filters nearer to the guest have ended.
   */
  submit?(request: FilterRequest, next: Next): void;
  /**
   * On the way up, in the opposite order: once for each request that this filter passed on, when its data are there. Returns
   * the status that the filter above, or the guest, gets; or `DEFERRED`.
   */
  complete?(request: FilterRequest, status: number): number;
  /** An operation that the filter had begun has ended, with one of `Status`. */
  done?(tag: number, status: number): void;
  /** The helper has answered. While its queue is let go of, or held, only a filter that keeps requests is told; others afterwards. */
  answered?(tag: number, result: number): void;
  /** Once a turn of the sidecore while the filter keeps requests, and when the time of `context.wakeAt` has come. */
  tick?(): void;
  /**
   * Its queue is being let go of, or held: false while it is in the middle of what others wait for, such as a lock in shared memory that
   * it holds. What it begins goes on until then; afterwards it waits. Asked again and again,
   * for as long as it may keep a request; then it has failed.
   */
  settled?(): boolean;
  /**
   * In each turn instead of `tick`, while the filter keeps requests and the queue is to become empty, because it is let go of, moves, or
   * gets other filters: what is kept only for time's sake goes on now.
   */
  hurry?(): void;
  /** Another filter takes its place: gives what that gets as `context.previous`. Nothing is in flight. */
  handOver?(): unknown;
  /** The queue is let go of, or the filter is; nothing of it is in flight. */
  close?(): void;
}

/** A count in shared memory, which `sidecore status` shows. */
export interface Counter {
  add(count: number): void;
}

/** A piece of the filter's own memory, which storage and helpers can use too. */
export interface IoBuffer {
  /** Its number among those of its pool. */
  readonly index: number;
  readonly bytes: Buffer;
  /** Of its first byte in this process, good on any thread; a multiple of the page size. */
  readonly address: number;
}

export interface BufferPool {
  /** Undefined if all are taken. */
  take(): IoBuffer | undefined;
  giveBack(buffer: IoBuffer): void;
}

/**
 * Where a filter's own operations go. Each ends with one call of `done(tag, status)`: later, or when the hook that began it has
 * returned, never within the call. Sectors are units of 512 bytes; lengths, bytes, multiples of 512. Throws if the filter has
 * `FILTER_OPERATIONS_MAX` of them already, which is a fault of the filter's.
 */
export interface IoTarget {
  /** Bytes. */
  readonly sizeBytes: number;
  /** Fills `buffer.bytes[offset … offset + length)`. */
  read(buffer: IoBuffer, sector: number, length: number, tag: number, offset?: number): void;
  /** Stores them; on stable storage when it ends, if `durable`. */
  write(buffer: IoBuffer, sector: number, length: number, tag: number, offset?: number, durable?: boolean): void;
  flush(tag: number): void;
  discard(sector: number, sectors: number, tag: number): void;
  writeZeroes(sector: number, sectors: number, unmap: boolean, tag: number): void;
}

/** The filter's helper, on a thread that may wait. */
export interface HelperPort {
  /**
   * Has it do something: `handle({ code, bytes, a, b })` there, and `answered(tag, result)` here. The buffer is the helper's until then.
   * One that takes longer than a request may be kept has failed, and its filter with it.
   * Throws if the filter has `FILTER_JOBS_MAX` of them already.
   */
  ask(code: number, buffer: IoBuffer | undefined, tag: number, a?: number, b?: number): void;
}

/** What a helper is asked. */
export interface HelperJob {
  readonly code: number;
  /** All of the buffer; empty if there is none. */
  readonly bytes: Buffer;
  readonly address: number;
  readonly a: number;
  readonly b: number;
}

/** A filter's part that may wait, made for each queue on the thread of helpers. */
export interface FilterHelper {
  /** Returns a number for `answered`, now or later. One that throws answers with `HELPER_FAILED`. */
  handle(job: HelperJob): number | Promise<number>;
  close?(): void;
}

/** The answer of a helper that has thrown. */
export const HELPER_FAILED = -1;

/** What a filter's helper gets. */
export type FilterHelperContext<Options = unknown, Prepared = unknown> = Pick<
  BlockFilterContext<Options, Prepared>,
  'vm' | 'device' | 'queue' | 'options' | 'prepared' | 'shared' | 'group' | 'log'
>;

/** What a filter gets, once for each queue, on the sidecore that serves it. */
export interface BlockFilterContext<Options = unknown, Prepared = unknown> {
  /** Names of VM and disk. */
  readonly vm: string;
  readonly device: string;
  /** Number of the queue in its device, and how many it has. */
  readonly queue: number;
  readonly queues: number;
  /** As the schema gave them: plain data. */
  readonly options: Options;
  /** What `manage` has prepared: plain data. */
  readonly prepared: Prepared;
  /** Requests that a sidecore may have in flight; see `FilterRequest.slot`. */
  readonly slots: number;
  /** Memory of `sharedBytes`, zeros at first: the same for all queues of the device, on whichever sidecores. */
  readonly shared: SharedArrayBuffer;
  /** Memory of `groupBytes`: the same for all filters of this name and group in the daemon. */
  readonly group: SharedArrayBuffer;
  /** What `handOver` of the one gave whose place this takes; undefined if there was none. */
  readonly previous: unknown;
  /** One of those that the definition names; of this queue alone. */
  counter(name: string): Counter;
  histogram(name: string): Histogram;
  /** Puts the monotonic time, ns, into a slot of an array. It is a system call at worst, and allocates nothing. */
  readNowNs(into: Float64Array, slot: number): void;
  /** The time of the turn, ns, in its slot zero: good within `tick`, `done` and `answered`. */
  readonly now: Float64Array;
  /** Has `tick` called once that time has come, ns; of several calls the earliest counts. */
  wakeAt(timeNs: number): void;
  /** A request that was deferred in `submit` goes on. Its `complete` may be called before this returns. */
  goOn(token: number): void;
  /** One that was deferred in `submit` goes to one of the filter's own disks, as `request.redirect` has it. */
  redirect(token: number, disk: IoTarget): void;
  /** Ends one: deferred in `submit`, as `request.complete(status)`; deferred in `complete`, as if that had returned `status`. */
  finish(token: number, status: number): void;
  /** One that is deferred, once the hook that has deferred it has returned. */
  requestOf(token: number): FilterRequest;
  /** Own memory. Only within `create`. At most `FILTER_BUFFER_BYTES_MAX` for each queue. */
  buffers(count: number, bytes: number): BufferPool;
  /** What is below this filter. */
  readonly below: IoTarget;
  /** One of the definition's `disks`. */
  disk(name: string): IoTarget;
  /** Only of a definition with a `helper`. */
  readonly helper: HelperPort;
  /** Has the daemon log a line: of each filter of a disk one in ten seconds, others are counted. */
  log(text: string): void;
}

export interface BlockFilter<Schema extends z.ZodType = z.ZodType, Prepared = unknown, Found = unknown> {
  /** Letters, digits and `-`. */
  readonly name: string;
  /**
   * Schema of its options, or how to make it: with a function a filter needs no zod of its own, and sidecores load none.
   * Without it, the filter takes no options.
   */
  readonly options?: Schema | ((zod: typeof z) => Schema);
  /** Names of its counters and histograms: letters, digits and `_`. */
  readonly counters?: readonly string[];
  readonly histograms?: readonly string[];
  /** It may keep requests: they may complete in another order than they came. */
  readonly defers?: boolean;
  /**
   * How long it may keep a request, s, if the configuration does not say: instead of `FILTER_DEFER_S`. Infinite for one whose purpose
   * it is, and which sees to it that all go on.
   */
  deferSeconds?(options: z.output<Schema>): number;
  /** Without it the disk's data mean something else: it is no filter to pass by when it fails, and `on_fault: open` is refused. */
  readonly failsClosed?: boolean;
  /** It needs `image` and `backend`: below it there may only be filters that say `sameBytes`. */
  readonly last?: boolean;
  /** Filters above it see what the back end has, byte by byte: they get that as `image`. */
  readonly sameBytes?: boolean;
  /** Bytes of `context.shared`. */
  readonly sharedBytes?:
    | number
    | ((setup: { options: z.output<Schema>; below: FilterAbilities; queues: number }) => number);
  /** Which others it shares `context.group` with; undefined if none. */
  group?(options: z.output<Schema>): string | undefined;
  readonly groupBytes?: number;
  /**
   * Throws what keeps it from serving this disk, as far as that can be seen without making, changing or locking anything: before `disks`
   * and `manage`, when the disk is opened, and for `sidecore check`. `manage` gets what it returns.
   */
  check?(setup: BlockFilterCheck<z.output<Schema>>): Found;
  /** Back ends of its own, by name. Makes nothing: `sidecore check` asks for them, too. */
  disks?(options: z.output<Schema>, setup: { base: string; below: FilterAbilities }): Record<string, BackendOptions>;
  /** Makes its side on the main thread, when the disk is opened. Throws if it cannot serve that disk. */
  manage?(setup: BlockFilterSetup<z.output<Schema>, Found>): BlockFilterManager<Prepared>;
  /** What a disk with this filter offers its guest, on the main thread, when the daemon starts: changes to what is below. */
  offers?(below: FilterAbilities, options: z.output<Schema>, prepared: Prepared): Partial<FilterAbilities>;
  /** Makes its part that may wait. */
  helper?(context: FilterHelperContext<z.output<Schema>, Prepared>): FilterHelper;
  /** Makes what serves one queue, on its sidecore: again when the queue moves, or when the sidecore was replaced. */
  create(context: BlockFilterContext<z.output<Schema>, Prepared>): BlockFilterHooks;
}

/**
 * Defines a block filter; a module's default export.
 *
 * @example
 * export default defineBlockFilter({
 *   name: 'no-discard',
 *   create: () => ({
 *     submit(request, next) {
 *       if (request.type === RequestType.DISCARD) request.complete(Status.UNSUPP);
 *       else next(request);
 *     },
 *   }),
 * });
 */
export function defineBlockFilter<Schema extends z.ZodType, Prepared, Found>(
  filter: BlockFilter<Schema, Prepared, Found>,
): BlockFilter<Schema, Prepared, Found> {
  return filter;
}
