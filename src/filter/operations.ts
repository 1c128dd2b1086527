import { type BlockBackend, MORE, PENDING } from '../block/backends/backend.js';
import { RequestType, SECTOR_BYTES } from '../block/features.js';
import type { BlockRequest, RequestOwner, RequestPool } from '../block/request.js';
import { BATCH_BYTES_MAX, FILTER_OPERATIONS_MAX } from '../limits.js';
import { OwnBuffer } from './buffers.js';
import type { ChainFilter } from './chain-filter.js';
import type { IoBuffer, IoTarget } from './contract.js';
import { type RequestView, viewOf } from './request-view.js';
import { Ring } from './ring.js';

/** Of an operation that goes through no filters: more than there are. */
const NO_FLOOR = 2 ** 20;

/** A range of a request has so many sectors at most: its count has 32 bits. VIRTIO 1.3, 5.2.6 */
const SECTORS_MAX = 2 ** 32 - 1;

/** Operations that a filter is told of at once: one that begins the next whenever one has ended leaves others their time. */
const TOLD_MAX = 32;

/** An operation of a filter's own. Pooled. */
export class Operation {
  filter!: ChainFilter;
  target!: Target;
  /** One of `RequestType`. */
  type = 0;
  buffer: OwnBuffer | undefined = undefined;
  offset = 0;
  sector = 0;
  /** Bytes of IN and OUT, else sectors. */
  length = 0;
  flag = false;
  tag = 0;
  status = 0;
}

/** What operations need of their chain. */
export interface OperationHost {
  readonly pool: RequestPool;
  /** Of the chain. */
  readonly filters: readonly ChainFilter[];
  /** Takes an operation's request down through the filters below its own. Returns its status, PENDING or MORE. */
  down(request: BlockRequest, view: RequestView, from: number): number;
  /** It has been done by the back end: takes it up to its filter, and ends it. */
  returned(request: BlockRequest, view: RequestView, status: number): void;
  /** It goes on piece by piece. */
  begun(request: BlockRequest): void;
  /** Something waits for the next turn. */
  wake(): void;
  /** Tells a filter that one of its operations has ended. */
  tell(filter: ChainFilter, tag: number, status: number): void;
}

/** Where operations of one filter go: what is below it, or a disk of its own. */
export class Target implements IoTarget, RequestOwner {
  readonly sizeBytes: number;
  readonly backend: BlockBackend;
  readonly filter: ChainFilter;
  /** It is what is below the filter, other filters included. */
  readonly isBelow: boolean;
  readonly #operations: Operations;

  constructor(filter: ChainFilter, backend: BlockBackend, sizeBytes: number, isBelow: boolean, operations: Operations) {
    this.filter = filter;
    this.backend = backend;
    this.sizeBytes = sizeBytes;
    this.isBelow = isBelow;
    this.#operations = operations;
  }

  get owner(): RequestOwner | undefined {
    return this.#operations.owner;
  }

  read(buffer: IoBuffer, sector: number, length: number, tag: number, offset = 0): void {
    this.#begin(RequestType.IN, buffer, offset, sector, length, false, tag);
  }

  write(buffer: IoBuffer, sector: number, length: number, tag: number, offset = 0, durable = false): void {
    this.#begin(RequestType.OUT, buffer, offset, sector, length, durable, tag);
  }

  flush(tag: number): void {
    this.#begin(RequestType.FLUSH, undefined, 0, 0, 0, false, tag);
  }

  discard(sector: number, sectors: number, tag: number): void {
    this.#begin(RequestType.DISCARD, undefined, 0, sector, sectors, true, tag);
  }

  writeZeroes(sector: number, sectors: number, unmap: boolean, tag: number): void {
    this.#begin(RequestType.WRITE_ZEROES, undefined, 0, sector, sectors, unmap, tag);
  }

  /** The back end is done with a request that it had answered with PENDING. */
  complete(request: BlockRequest, status: number): void {
    this.#operations.returned(request, status);
  }

  #begin(
    type: number,
    buffer: IoBuffer | undefined,
    offset: number,
    sector: number,
    length: number,
    flag: boolean,
    tag: number,
  ): void {
    const isData = type === RequestType.IN || type === RequestType.OUT;
    const bytes = isData ? length : length * SECTOR_BYTES;
    // Filters may say anything; what cannot be done has to show here, where it is known whose fault it is.
    const within = Number.isInteger(sector) && sector >= 0 && Number.isInteger(length) && length >= 0;
    if (!within || bytes % SECTOR_BYTES !== 0 || sector * SECTOR_BYTES + bytes > this.sizeBytes)
      throw new RangeError(`there are no ${bytes} bytes at sector ${sector}`);
    if (isData) requirePiece(buffer, offset, length);
    else if (length > SECTORS_MAX) throw new RangeError(`${length} sectors are more than one operation can have`);
    this.#operations.begin(this, type, buffer as OwnBuffer | undefined, offset, sector, length, flag, tag);
  }
}

function requirePiece(buffer: IoBuffer | undefined, offset: number, length: number): void {
  if (!(buffer instanceof OwnBuffer)) throw new TypeError('the buffer is none of `context.buffers`');
  const within = length > 0 && Number.isInteger(offset) && offset >= 0 && offset + length <= buffer.bytes.length;
  if (!within) throw new RangeError(`the buffer has no ${length} bytes at ${offset}`);
}

/** The operations of a chain's filters: begun when there is a request of the pool for them, and told when they have ended. */
export class Operations {
  readonly #host: OperationHost;
  readonly #free: Operation[] = [];
  readonly #ended = new Ring<Operation>();
  /** Those that wait for a request of the pool, or because they are paused; each in its filter's ring. */
  #waiting = 0;
  /** Those in flight. */
  inFlight = 0;
  /** None is begun: they wait. But a filter that keeps requests may need its own to bring them to their end. */
  paused = false;
  #telling = false;

  constructor(host: OperationHost) {
    this.#host = host;
  }

  /** Where requests come from: for whose death an operation's is. */
  owner: RequestOwner | undefined = undefined;

  /** Something waits that a turn can do. */
  get active(): boolean {
    return this.#ended.count > 0 || (this.#waiting > 0 && !this.paused);
  }

  /** Nothing of it is in flight, and filters were told of all that was. */
  get settled(): boolean {
    return this.inFlight === 0 && this.#ended.count === 0;
  }

  begin(
    target: Target,
    type: number,
    buffer: OwnBuffer | undefined,
    offset: number,
    sector: number,
    length: number,
    flag: boolean,
    tag: number,
  ): void {
    const { filter } = target;
    if (filter.gone) throw new Error('the filter is let go of');
    if (filter.operations >= FILTER_OPERATIONS_MAX)
      throw new Error(`more than ${FILTER_OPERATIONS_MAX} operations at once`);
    filter.operations++;
    const operation = this.#free.pop() ?? new Operation();
    operation.filter = filter;
    operation.target = target;
    operation.type = type;
    operation.buffer = buffer;
    operation.offset = offset;
    operation.sector = sector;
    operation.length = length;
    operation.flag = flag;
    operation.tag = tag;
    // In their order.
    const request = this.#mayBegin(filter) && filter.waiting.count === 0 ? this.#takeRequest() : undefined;
    if (request !== undefined) return this.#start(operation, request);
    filter.waiting.push(operation);
    this.#waiting++;
    this.#host.wake();
  }

  #mayBegin({ held }: ChainFilter): boolean {
    return !this.paused || held > 0;
  }

  /** Undefined if what is left is kept for queues, and for filters that have hardly any operations in flight. */
  #takeRequest(): BlockRequest | undefined {
    return this.#host.pool.take(this.inFlight);
  }

  /** Begins those that wait, as far as there are requests for them. Returns how many. */
  startWaiting(): number {
    if (this.#waiting === 0) return 0;
    const { filters } = this.#host;
    let count = 0;
    for (let i = 0; i < filters.length; i++) {
      const filter = filters[i]!;
      while (filter.waiting.count > 0 && this.#mayBegin(filter)) {
        const request = this.#takeRequest();
        if (request === undefined) return count;
        this.#waiting--;
        this.#start(filter.waiting.shift(), request);
        count++;
      }
    }
    return count;
  }

  /** Those of a filter that wait are forgotten. */
  forget({ waiting }: ChainFilter): void {
    this.#waiting -= waiting.count;
    while (waiting.count > 0) this.#giveBack(waiting.shift());
  }

  /** An operation's request comes back from its back end. */
  returned(request: BlockRequest, status: number): void {
    this.#host.returned(request, request.view as RequestView, status);
    this.tell();
  }

  /** An operation has come back to its filter. */
  end(request: BlockRequest, view: RequestView, status: number): void {
    const operation = view.operation!;
    view.operation = undefined;
    view.floor = 0;
    this.#host.pool.giveBack(request);
    this.inFlight--;
    operation.status = status;
    this.#ended.push(operation);
    this.#host.wake();
  }

  /** Tells filters what has ended; some of what they begin meanwhile and ends at once, too. Returns how many that were. */
  tell(): number {
    if (this.#telling || this.#ended.count === 0) return 0;
    this.#telling = true;
    let count = 0;
    while (this.#ended.count > 0 && count < TOLD_MAX) {
      const operation = this.#ended.shift();
      const { filter, tag, status } = operation;
      this.#giveBack(operation);
      this.#host.tell(filter, tag, status);
      count++;
    }
    this.#telling = false;
    return count;
  }

  #giveBack(operation: Operation): void {
    operation.filter.operations--;
    operation.buffer = undefined;
    this.#free.push(operation);
  }

  #start(operation: Operation, request: BlockRequest): void {
    this.inFlight++;
    const { target, buffer, type, length, sector, flag } = operation;
    const view = (request.view as RequestView | undefined) ?? viewOf(request);
    view.operation = operation;
    request.type = type;
    request.sector = sector;
    request.queue = target;
    request.durable = flag && type === RequestType.OUT;
    request.pieceBytes = BATCH_BYTES_MAX;
    const { segments } = request.chain;
    segments.count = 0;
    request.first = 0;
    request.end = 0;
    request.rangeCount = 0;
    if (buffer !== undefined) {
      request.memory = buffer.memory;
      buffer.memory.translate(buffer.start + operation.offset, 0, length, segments);
      request.end = segments.count;
      request.dataBytes = length;
      request.costBytes = length;
    } else if (type !== RequestType.FLUSH) {
      request.rangeCount = 1;
      request.rangeSector[0] = sector;
      request.rangeSectors[0] = length;
      request.rangeUnmap[0] = flag ? 1 : 0;
    }
    const status = this.#give(request, view, target);
    if (status === MORE) this.#host.begun(request);
    else if (status !== PENDING) this.end(request, view, status);
  }

  #give(request: BlockRequest, view: RequestView, target: Target): number {
    if (!target.isBelow) {
      view.floor = NO_FLOOR;
      return submitTo(target.backend, request);
    }
    view.floor = target.filter.index + 1;
    return this.#host.down(request, view, view.floor);
  }
}

/** Gives a request to a back end, by its type. */
export function submitTo(backend: BlockBackend, request: BlockRequest): number {
  switch (request.type) {
    case RequestType.IN:
      return backend.read(request);
    case RequestType.OUT:
      return backend.write(request);
    case RequestType.FLUSH:
      return backend.flush(request);
    case RequestType.DISCARD:
      return backend.discard(request);
    case RequestType.WRITE_ZEROES:
      return backend.writeZeroes(request);
    default:
      return backend.secureErase(request);
  }
}
