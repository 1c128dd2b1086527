import type { z } from 'zod';
import type { BackendAbilities } from '../block/backends/backend.js';
import type { Histogram } from './histogram.js';

/** A stretch of guest memory: `bytes[offset … offset + length)`. */
export interface Segment {
  readonly bytes: Uint8Array;
  readonly offset: number;
  readonly length: number;
}

/**
 * A block request as filters see it, already checked against the standard. Pooled: it is the filter's only between its
 * `submit` and the end of its `complete`, and the next request with the same slot is the same object.
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
}

/** Says that a request goes on to the next filter, or to the back end, when `submit` returns. */
export type Next = (request: FilterRequest) => void;

/** What a filter does with the requests of one queue. At least one of the first two. */
export interface BlockFilterHooks {
  /**
   * On the way down. Calls `next(request)` or `request.complete(status)`, once, before it returns. Not called for requests
   * that filters nearer to the guest have ended.
   */
  submit?(request: FilterRequest, next: Next): void;
  /**
   * On the way up, in the opposite order: once for each request that this filter passed on, when its data are there. Returns
   * the status that the filter above, or the guest, gets.
   */
  complete?(request: FilterRequest, status: number): number;
  /** The queue is let go of; nothing is in flight. */
  close?(): void;
}

/** A count in shared memory, which `sidecore status` shows. */
export interface Counter {
  add(count: number): void;
}

/** What a filter gets, once for each queue, on the sidecore that serves it. */
export interface BlockFilterContext<Options = unknown> {
  /** Names of VM and disk. */
  readonly vm: string;
  readonly device: string;
  /** Number of the queue in its device. */
  readonly queue: number;
  /** As the schema gave them: plain data. */
  readonly options: Options;
  /** Requests that a sidecore may have in flight; see `FilterRequest.slot`. */
  readonly slots: number;
  /** Memory of `sharedBytes`, zeros at first: the same for all queues of the device, on whichever sidecores. */
  readonly shared: SharedArrayBuffer;
  /** One of those that the definition names; of this queue alone. */
  counter(name: string): Counter;
  histogram(name: string): Histogram;
  /** Puts the monotonic time, ns, into a slot of an array. It is a system call at worst, and allocates nothing. */
  readNowNs(into: Float64Array, slot: number): void;
  /** Has the daemon log a line: of each filter of a disk one in ten seconds, others are counted. */
  log(text: string): void;
}

/** The part of what a disk can do that filters may change. */
export type FilterAbilities = Pick<
  BackendAbilities,
  'readOnly' | 'discard' | 'writeZeroes' | 'secureErase' | 'inOrder'
>;

export interface BlockFilter<Schema extends z.ZodType = z.ZodType> {
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
  /** Bytes of `context.shared`. */
  readonly sharedBytes?: number;
  /** What a disk with this filter offers its guest, on the main thread, when the daemon starts: changes to what is below. */
  offers?(below: FilterAbilities, options: z.output<Schema>): Partial<FilterAbilities>;
  /** Makes what serves one queue, on its sidecore: again when the queue moves, or when the sidecore was replaced. */
  create(context: BlockFilterContext<z.output<Schema>>): BlockFilterHooks;
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
export function defineBlockFilter<Schema extends z.ZodType>(filter: BlockFilter<Schema>): BlockFilter<Schema> {
  return filter;
}
