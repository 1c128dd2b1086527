import { type BlockBackend, MORE, PENDING } from '../block/backends/backend.js';
import { RequestType, SECTOR_BYTES } from '../block/features.js';
import type { BlockRequest, RequestOwner, RequestPool } from '../block/request.js';
import { BATCH_BYTES_MAX, FILTER_OPERATIONS_MAX } from '../limits.js';
import type { OwnBuffer } from './buffers.js';
import type { ChainFilter } from './chain-filter.js';
import type { IoBuffer, IoTarget } from './contract.js';
import { type RequestView, viewOf } from './request-view.js';

/** Of an operation that goes through no filters: more than there are. */
const NO_FLOOR = 2 ** 20;

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
    const bytes = buffer === undefined ? length * SECTOR_BYTES : length;
    const within = sector >= 0 && length >= 0 && bytes % SECTOR_BYTES === 0;
    if (!within || sector * SECTOR_BYTES + bytes > this.sizeBytes)
      throw new RangeError(`there are no ${bytes} bytes at sector ${sector}`);
    if (buffer !== undefined && !(length > 0 && offset >= 0 && offset + length <= buffer.bytes.length))
      throw new RangeError(`the buffer has no ${length} bytes at ${offset}`);
    this.#operations.begin(this, type, buffer as OwnBuffer | undefined, offset, sector, length, flag, tag);
  }
}

/** The operations of a chain's filters: begun when there is a request of the pool for them, and told when they have ended. */
export class Operations {
  readonly #host: OperationHost;
  readonly #free: Operation[] = [];
  /** Rings of those that wait for a request, and of those that have ended. */
  readonly #waiting = new Ring<Operation>();
  readonly #ended = new Ring<Operation>();
  /** Those in flight. */
  inFlight = 0;
  /** None is begun: they wait. */
  paused = false;
  #telling = false;

  constructor(host: OperationHost) {
    this.#host = host;
  }

  /** Where requests come from: for whose death an operation's is. */
  owner: RequestOwner | undefined = undefined;

  /** Something waits that a turn can do. */
  get active(): boolean {
    return this.#ended.count > 0 || (this.#waiting.count > 0 && !this.paused);
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
    if (this.paused || this.#waiting.count > 0 || !this.#start(operation)) {
      this.#waiting.push(operation);
      this.#host.wake();
    }
  }

  /** Begins those that wait, as far as there are requests for them. Returns how many. */
  startWaiting(): number {
    let count = 0;
    while (this.#waiting.count > 0 && !this.paused && this.#start(this.#waiting.first)) {
      this.#waiting.shift();
      count++;
    }
    return count;
  }

  /** Those of a filter that wait are forgotten. */
  forget(filter: ChainFilter): void {
    for (let i = this.#waiting.count; i > 0; i--) {
      const operation = this.#waiting.shift();
      if (operation.filter !== filter) this.#waiting.push(operation);
      else this.#giveBack(operation);
    }
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

  /** Tells filters what has ended; what they begin meanwhile and ends at once, too. Returns how many that were. */
  tell(): number {
    if (this.#telling || this.#ended.count === 0) return 0;
    this.#telling = true;
    let count = 0;
    while (this.#ended.count > 0) {
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

  /** False if there is no request for it. */
  #start(operation: Operation): boolean {
    const request = this.#host.pool.take(this.inFlight);
    if (request === undefined) return false;
    this.inFlight++;
    const { target, buffer, type, length, sector, flag } = operation;
    const view = (request.view as RequestView | undefined) ?? viewOf(request);
    view.operation = operation;
    request.type = type;
    request.sector = sector;
    request.queue = target;
    request.durable = flag;
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
    return true;
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

/** A queue of things that allocates only when it grows. */
class Ring<T> {
  #slots: (T | undefined)[] = new Array(64).fill(undefined);
  #head = 0;
  count = 0;

  push(item: T): void {
    if (this.count === this.#slots.length) this.#grow();
    this.#slots[(this.#head + this.count) & (this.#slots.length - 1)] = item;
    this.count++;
  }

  get first(): T {
    return this.#slots[this.#head]!;
  }

  shift(): T {
    const item = this.#slots[this.#head]!;
    this.#slots[this.#head] = undefined;
    this.#head = (this.#head + 1) & (this.#slots.length - 1);
    this.count--;
    return item;
  }

  #grow(): void {
    const old = this.#slots;
    this.#slots = Array.from({ length: 2 * old.length }, (_, i) =>
      i < old.length ? old[(this.#head + i) & (old.length - 1)] : undefined,
    );
    this.#head = 0;
  }
}
