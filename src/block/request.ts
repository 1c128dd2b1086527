import type { GuestMemory } from '../guest-memory/guest-memory.js';
import { BATCH_BYTES_MAX, QUEUE_REQUESTS_RESERVED, RANGES_MAX } from '../limits.js';
import { Chain } from '../virtio/chain.js';
import type { BlockBackend } from './backends/backend.js';

/** Who takes a request that completes later: its queue, or what stands between that and the back end. */
export interface RequestOwner {
  /** Gets the kernel's answers for the request. */
  readonly backend: BlockBackend;
  /** Before whom it stands; missing of a queue. */
  readonly owner?: RequestOwner | undefined;
  complete(request: BlockRequest, status: number): void;
}

/**
 * One block request, from the ring to its completion. Pooled: taken when a chain is popped, given back when its status is
 * in the used ring.
 *
 * The data are `chain.segments[first … end)`, without header and status byte, in `memory`.
 */
export class BlockRequest {
  /** Place in its pool; identifies the request to the kernel while it is in flight. */
  readonly slot: number;
  readonly chain = new Chain();
  /** One of `RequestType`; any 32-bit number until it is checked. */
  type = 0;
  /** First sector, in units of 512 bytes. */
  sector = 0.5;
  /** Data bytes, of all segments together. */
  dataBytes = 0;
  /** Bytes that it counts for in its queue's turn: its data, or what its ranges cover. */
  costBytes = 0;
  /** First data segment. */
  first = 0;
  /** Segment after the last data segment. */
  end = 0;
  /** Window and offset of the status byte. */
  statusWindow = 0;
  statusOffset = 0;
  /** Ranges of DISCARD, WRITE_ZEROES and SECURE_ERASE: first sector, number of sectors, whether to give room back. */
  readonly rangeSector = new Float64Array(RANGES_MAX);
  readonly rangeSectors = new Uint32Array(RANGES_MAX);
  readonly rangeUnmap = new Uint8Array(RANGES_MAX);
  rangeCount = 0;
  /** A write that must be on stable storage before it completes (write-through). */
  durable = false;
  /** Bytes that a back end does at once of what takes its thread's time. */
  pieceBytes = BATCH_BYTES_MAX;
  /** How far a back end has come with it: bytes, or ranges and phases; meaning as the back end likes. */
  progress = 0;
  step = 0;
  /** The queue it came from, or came from last, or the filters before it; and that guest's memory. */
  queue: RequestOwner | undefined = undefined;
  memory: GuestMemory | undefined = undefined;
  /** How filters see it; made when the first one does. */
  view: object | undefined = undefined;

  constructor(slot: number) {
    this.slot = slot;
  }
}

/** All requests of one sidecore. Made once; taking and giving back allocates nothing. */
export class RequestPool {
  readonly requests: BlockRequest[] = [];
  readonly #free: Uint16Array;
  #freeCount: number;
  /** Kept for queues with less in flight than each may have. */
  readonly #reserved: number;

  constructor(capacity: number) {
    this.#free = new Uint16Array(capacity);
    this.#freeCount = 0;
    this.#reserved = capacity >>> 1;
    for (let slot = capacity - 1; slot >= 0; slot--) this.#free[this.#freeCount++] = slot;
  }

  /**
   * A request for a queue that has so many in flight; undefined if all are in use, or if what is left is kept for queues that
   * have hardly any. Slots are used lowest first, and built on first use.
   */
  take(inFlight: number): BlockRequest | undefined {
    if (this.#freeCount === 0) return undefined;
    if (inFlight >= QUEUE_REQUESTS_RESERVED && this.#freeCount <= this.#reserved) return undefined;
    const slot = this.#free[--this.#freeCount]!;
    const request = this.requests[slot];
    if (request !== undefined) return request;
    const fresh = new BlockRequest(slot);
    this.requests[slot] = fresh;
    return fresh;
  }

  giveBack(request: BlockRequest): void {
    this.#free[this.#freeCount++] = request.slot;
  }
}
