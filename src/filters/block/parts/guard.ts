import {
  type BlockFilterContext,
  DEFERRED,
  type FilterRequest,
  type IoBuffer,
  type Next,
} from '../../../filter/contract.js';
import { RequestType, SECTOR_BYTES, Status } from '../../../filter/index.js';
import {
  COPY_OTHERS,
  COPY_PIECE_BYTES,
  COPY_PIECES,
  COPY_PIECES_AT_ONCE,
  COPY_RANGE_SECTORS,
  FILTER_BLOCK_BYTES,
  LOCKS_FAILED_MAX,
} from '../../limits.js';
import type { BlockLocks } from './block-locks.js';
import { blockOf, blocksIn, type GuardUser, nextRange, Way, wayOf } from './guard-user.js';

/**
 * The requests of one queue that change its disk, for filters for which no two may change the same block at once, and for which data
 * must be read only once from the guest, who may change them meanwhile. Data go by buffers of our own, in pieces that end where blocks end
 * and lie in their buffer as in their blocks.
 *
 * Tags of operations: those of pieces are `2 * piece` and one more, those of slots `TAG_SLOTS + 2 * slot` and one more. What the
 * filter does itself begins at `TAG_OWN`.
 */
export class Guard {
  static readonly TAG_SLOTS = 2 * COPY_PIECES;
  readonly tagOwn: number;
  readonly #context: BlockFilterContext;
  readonly #locks: BlockLocks;
  readonly #user: GuardUser;
  readonly #pool;
  // By slot.
  readonly #requests: FilterRequest[] = [];
  readonly #way: Uint8Array;
  readonly #token: Float64Array;
  readonly #first: Float64Array;
  readonly #count: Float64Array;
  /** Bytes of data that are in pieces, or the range; and of that the sectors that are done. */
  readonly #at: Float64Array;
  readonly #within: Float64Array;
  readonly #open: Int32Array;
  readonly #status: Uint8Array;
  readonly #isCutting: Uint8Array;
  /** Of a flush or a request with ranges: it is one of those that are counted. */
  readonly #isBegun: Uint8Array;
  // By piece.
  readonly buffers: IoBuffer[] = [];
  readonly #pieceSlot = new Int32Array(COPY_PIECES);
  readonly #pieceOpen = new Int32Array(COPY_PIECES);
  readonly #pieceStatus = new Uint8Array(COPY_PIECES);
  readonly #piecePosition = new Int32Array(COPY_PIECES);
  /** Where a piece's data are: first sector, bytes, and where they begin in its buffer. */
  readonly pieceSector = new Float64Array(COPY_PIECES);
  readonly pieceBytes = new Int32Array(COPY_PIECES);
  readonly pieceOffset = new Int32Array(COPY_PIECES);
  /** Slots that wait for blocks or for something else, and those whose data are not all in pieces yet: in their order. */
  readonly #waiting: Int32Array;
  #waitingCount = 0;
  readonly #cutting: Int32Array;
  #cuttingCount = 0;
  /** Pieces that may be begun in this call. */
  #room = 0;
  #others = 0;

  constructor(context: BlockFilterContext, locks: BlockLocks, user: GuardUser) {
    const { slots } = context;
    this.#context = context;
    this.#locks = locks;
    this.#user = user;
    this.#pool = context.buffers(COPY_PIECES, COPY_PIECE_BYTES);
    this.tagOwn = Guard.TAG_SLOTS + 2 * slots;
    this.#way = new Uint8Array(slots);
    this.#token = new Float64Array(slots);
    this.#first = new Float64Array(slots);
    this.#count = new Float64Array(slots);
    this.#at = new Float64Array(slots);
    this.#within = new Float64Array(slots);
    this.#open = new Int32Array(slots);
    this.#status = new Uint8Array(slots);
    this.#isCutting = new Uint8Array(slots);
    this.#isBegun = new Uint8Array(slots);
    this.#waiting = new Int32Array(slots);
    this.#cutting = new Int32Array(slots);
    locks.reset();
  }

  /** Some request has to be asked about in the next turn. */
  get waits(): boolean {
    return this.#waitingCount > 0 || this.#cuttingCount > 0;
  }

  /** The request that a piece is of. */
  requestOf(piece: number): FilterRequest {
    return this.#requests[this.#pieceSlot[piece]!]!;
  }

  submit(request: FilterRequest, next: Next): void {
    const { type, slot } = request;
    if (type === RequestType.IN || (type === RequestType.FLUSH && !this.#user.flushes)) return next(request);
    if (type !== RequestType.FLUSH && request.bytes === 0) return next(request);
    if (type === RequestType.SECURE_ERASE) return request.complete(Status.UNSUPP);
    this.#requests[slot] = request;
    this.#status[slot] = Status.OK;
    this.#at[slot] = type === RequestType.OUT || type === RequestType.FLUSH ? 0 : nextRange(request, 0);
    this.#within[slot] = 0;
    this.#isBegun[slot] = 0;
    this.#way[slot] = wayOf(type);
    if (this.#waitingCount > 0 || !this.#admit(slot)) {
      this.#waiting[this.#waitingCount++] = slot;
      this.#token[slot] = request.defer();
      return;
    }
    if (this.#way[slot] === Way.PASS) return next(request);
    this.#token[slot] = request.defer();
    this.#cut();
  }

  /** Has pieces read what the filter could not have otherwise; within `complete`, or for a request that is deferred there. */
  readPieces(request: FilterRequest): number {
    const { slot } = request;
    this.#requests[slot] = request;
    this.#status[slot] = Status.OK;
    this.#at[slot] = 0;
    this.#open[slot] = 0;
    this.#count[slot] = 0;
    this.#way[slot] = Way.READ;
    this.#token[slot] = request.defer();
    this.#beginCutting(slot);
    this.#cut();
    return DEFERRED;
  }

  /** Of one that was passed on; others are as they were. */
  complete(request: FilterRequest, status: number): number {
    const { slot } = request;
    if (this.#way[slot] !== Way.PASS) return status;
    this.#way[slot] = Way.NONE;
    const answer = this.#user.end(request, Way.PASS, status);
    this.#locks.release(this.#first[slot]!, this.#count[slot]!);
    return answer;
  }

  /** Once a turn while requests are kept. */
  tick(): void {
    const waiting = this.#waiting;
    const count = this.#waitingCount;
    const locks = this.#locks;
    let kept = 0;
    locks.failed = 0;
    for (let i = 0; i < count; i++) {
      const slot = waiting[i]!;
      if (locks.failed >= LOCKS_FAILED_MAX || !this.#admit(slot)) waiting[kept++] = slot;
      else if (this.#way[slot] === Way.PASS) this.#context.goOn(this.#token[slot]!);
    }
    // Those that came meanwhile.
    for (let i = count; i < this.#waitingCount; i++) waiting[kept++] = waiting[i]!;
    this.#waitingCount = kept;
    this.#cut();
  }

  /** An operation has ended. False if it is not the guard's. */
  done(tag: number, status: number): boolean {
    if (tag >= this.tagOwn) return false;
    const known = (tag & 1) === 1 && status !== Status.OK ? this.#secondFailed(tag, status) : status;
    if (tag < Guard.TAG_SLOTS) this.#pieceEnded(tag >> 1, known);
    else this.#slotEnded((tag - Guard.TAG_SLOTS) >> 1, known);
    return true;
  }

  #secondFailed(tag: number, status: number): number {
    const user = this.#user;
    if (user.secondFailed === undefined) return status;
    if (tag < Guard.TAG_SLOTS) {
      const piece = tag >> 1;
      return user.secondFailed(this.pieceSector[piece]!, this.pieceBytes[piece]! / SECTOR_BYTES);
    }
    const slot = (tag - Guard.TAG_SLOTS) >> 1;
    if (this.#way[slot] !== Way.RANGES) return user.secondFailed(0, 0);
    const sector = this.#requests[slot]!.rangeSector(this.#at[slot]!) + this.#within[slot]!;
    return user.secondFailed(sector, this.#rangeSectors(slot));
  }

  /** Lets a request that waits begin. False if it has to wait longer. */
  #admit(slot: number): boolean {
    const request = this.#requests[slot]!;
    const way = this.#way[slot]!;
    if (way === Way.FLUSH || way === Way.RANGES) return this.#admitOther(slot, request, way);
    const { sector } = request;
    const first = blockOf(sector);
    const count = blocksIn(sector, request.bytes / SECTOR_BYTES);
    if (!this.#locks.take(first, count)) return false;
    this.#first[slot] = first;
    this.#count[slot] = count;
    this.#open[slot] = 0;
    const found = this.#user.begin(request);
    this.#way[slot] = found;
    if (found === Way.COPY) this.#beginCutting(slot);
    return true;
  }

  #admitOther(slot: number, request: FilterRequest, way: number): boolean {
    const isFirst = this.#isBegun[slot] === 0;
    if (isFirst && this.#others >= COPY_OTHERS) return false;
    if (way === Way.FLUSH) {
      this.#begin(slot);
      this.#open[slot] = this.#user.flush(slot);
      return true;
    }
    const range = this.#at[slot]!;
    const sector = request.rangeSector(range) + this.#within[slot]!;
    const sectors = this.#rangeSectors(slot);
    const first = blockOf(sector);
    const count = blocksIn(sector, sectors);
    if (!this.#locks.take(first, count)) return false;
    if (isFirst) this.#begin(slot);
    this.#first[slot] = first;
    this.#count[slot] = count;
    this.#open[slot] = this.#user.clear(slot, request, sector, sectors, request.rangeUnmap(range));
    return true;
  }

  #begin(slot: number): void {
    this.#isBegun[slot] = 1;
    this.#others++;
  }

  /** Sectors of a range that are done together. */
  #rangeSectors(slot: number): number {
    const left = this.#requests[slot]!.rangeSectors(this.#at[slot]!) - this.#within[slot]!;
    return Math.min(left, COPY_RANGE_SECTORS);
  }

  #beginCutting(slot: number): void {
    this.#isCutting[slot] = 1;
    this.#cutting[this.#cuttingCount++] = slot;
  }

  /** Cuts what is to be moved into pieces, as long as there are buffers, and not too many at once. */
  #cut(): void {
    let done = 0;
    this.#room = COPY_PIECES_AT_ONCE;
    while (done < this.#cuttingCount) {
      const slot = this.#cutting[done]!;
      if (!this.#cutAll(slot)) break;
      done++;
    }
    if (done === 0) return;
    const ended = this.#cutting;
    for (let i = 0; i < done; i++) {
      const slot = ended[i]!;
      this.#isCutting[slot] = 0;
      // One that has failed meanwhile.
      if (this.#open[slot] === 0) this.#end(slot);
    }
    ended.copyWithin(0, done, this.#cuttingCount);
    this.#cuttingCount -= done;
  }

  /** True if there is nothing left of it to be cut. */
  #cutAll(slot: number): boolean {
    const request = this.#requests[slot]!;
    const way = this.#way[slot]!;
    const { bytes, sector } = request;
    while (this.#at[slot]! < bytes && this.#status[slot] === Status.OK) {
      const buffer = this.#room === 0 ? undefined : this.#pool.take();
      if (buffer === undefined) return false;
      this.#room--;
      const piece = buffer.index;
      const position = this.#at[slot]!;
      const offset = (((sector * SECTOR_BYTES) % FILTER_BLOCK_BYTES) + position) % FILTER_BLOCK_BYTES;
      const length = Math.min(bytes - position, COPY_PIECE_BYTES - offset);
      this.buffers[piece] = buffer;
      this.#pieceSlot[piece] = slot;
      this.#pieceStatus[piece] = Status.OK;
      this.#piecePosition[piece] = position;
      this.pieceSector[piece] = sector + position / SECTOR_BYTES;
      this.pieceBytes[piece] = length;
      this.pieceOffset[piece] = offset;
      if (way === Way.COPY) request.copyTo(position, buffer.bytes, offset, length);
      this.#at[slot] = position + length;
      this.#open[slot]!++;
      this.#pieceOpen[piece] = this.#user.move(piece, way);
    }
    return true;
  }

  /** More operations of a piece's. */
  addOperations(piece: number, count: number): void {
    this.#pieceOpen[piece]! += count;
  }

  #pieceEnded(piece: number, status: number): void {
    if (status !== Status.OK) this.#pieceStatus[piece] = status;
    if (--this.#pieceOpen[piece]! > 0) return;
    const slot = this.#pieceSlot[piece]!;
    const way = this.#way[slot]!;
    const answer = this.#user.moved(piece, way, this.#pieceStatus[piece]!);
    if (answer === DEFERRED) {
      this.#pieceStatus[piece] = Status.OK;
      return;
    }
    const buffer = this.buffers[piece]!;
    const offset = this.pieceOffset[piece]!;
    if (answer !== Status.OK) this.#status[slot] = answer;
    else if (way === Way.READ)
      this.#requests[slot]!.copyFrom(this.#piecePosition[piece]!, buffer.bytes, offset, this.pieceBytes[piece]!);
    this.#pool.giveBack(buffer);
    this.#open[slot]!--;
    if (this.#open[slot] === 0 && this.#isCutting[slot] === 0) this.#end(slot);
    this.#cut();
  }

  #slotEnded(slot: number, status: number): void {
    if (status !== Status.OK) this.#status[slot] = status;
    if (--this.#open[slot]! > 0) return;
    if (this.#way[slot] === Way.RANGES) {
      const request = this.#requests[slot]!;
      const range = this.#at[slot]!;
      const sectors = this.#rangeSectors(slot);
      this.#user.cleared(request, request.rangeSector(range) + this.#within[slot]!, sectors, this.#status[slot]!);
      this.#within[slot]! += sectors;
      const isWhole = this.#within[slot]! >= request.rangeSectors(range);
      const next = isWhole ? nextRange(request, range + 1) : range;
      if (this.#status[slot] === Status.OK && next < request.rangeCount) {
        this.#locks.release(this.#first[slot]!, this.#count[slot]!);
        if (isWhole) {
          this.#at[slot] = next;
          this.#within[slot] = 0;
        }
        if (!this.#admit(slot)) this.#waiting[this.#waitingCount++] = slot;
        return;
      }
    }
    this.#others--;
    this.#end(slot);
  }

  #end(slot: number): void {
    const way = this.#way[slot]!;
    const request = this.#requests[slot]!;
    this.#way[slot] = Way.NONE;
    const answer = this.#user.end(request, way, this.#status[slot]!);
    if (way === Way.COPY || way === Way.RANGES) this.#locks.release(this.#first[slot]!, this.#count[slot]!);
    this.#context.finish(this.#token[slot]!, answer);
  }
}
