import type {
  BlockFilterContext,
  BlockFilterHooks,
  FilterRequest,
  IoBuffer,
  IoTarget,
  Next,
} from '../../../filter/contract.js';
import { DEFERRED, RequestType, SECTOR_BYTES, Status } from '../../../filter/index.js';
import { viewSigned32 } from '../../../host/memory-view.js';
import {
  COPY_PIECE_BYTES,
  COPY_PIECES,
  FILTER_BLOCK_BYTES,
  VERIFY_READ_BYTES_MAX,
  VERIFY_READS_MAX,
} from '../../limits.js';
import { Guard } from '../parts/guard.js';
import { blockOf, blocksIn, type GuardUser, Way } from '../parts/guard-user.js';
import { Checker, Found } from './checker.js';
import { BAD, checksum, UNKNOWN } from './checksum.js';
import { Scrub } from './scrub.js';
import { type SumPlace, VerifyState } from './state.js';

export interface VerifyOptions {
  readonly on_mismatch: 'fail' | 'report';
  readonly scrub_rate: number;
}

const BLOCK_WORDS = FILTER_BLOCK_BYTES / 4;
const BLOCK_SECTORS = FILTER_BLOCK_BYTES / SECTOR_BYTES;

/** What is known of the first and the last block of a piece, which it may have parts of only. */
const Edge = { WHOLE: 0, UNKNOWN: 1, GOOD: 2, DAMAGED: 3 } as const;

/** Checksums for one queue. */
export class VerifyQueue implements GuardUser, BlockFilterHooks {
  readonly flushes = false;
  readonly #context: BlockFilterContext<VerifyOptions, SumPlace>;
  readonly #state: VerifyState;
  readonly #guard: Guard;
  readonly #checker: Checker;
  readonly #scrub: Scrub | undefined;
  readonly #below: IoTarget;
  readonly #sizeBytes: number;
  readonly #fails: boolean;
  readonly #unchecked;
  readonly #zeroSum = checksum(new Int32Array(BLOCK_WORDS), 0);
  /** By slot: the request is checked when it comes back; the generations of its blocks. */
  readonly #isChecked: Uint8Array;
  readonly #generations: Int32Array;
  /** What a read has brought, to be checked. */
  readonly #bytes = Buffer.alloc(VERIFY_READ_BYTES_MAX);
  readonly #words = new Int32Array(this.#bytes.buffer, this.#bytes.byteOffset, VERIFY_READ_BYTES_MAX / 4);
  // By piece.
  readonly #pieceWords: Int32Array[] = [];
  readonly #pieceGenerations = new Int32Array(COPY_PIECES);
  readonly #reads = new Int32Array(COPY_PIECES);
  readonly #isStored = new Uint8Array(COPY_PIECES);
  /** Blocks of which pieces have parts only: the first one's and the last one's buffer, and what is known of them. */
  readonly #edges: readonly IoBuffer[];
  readonly #edgeWords: readonly Int32Array[];
  readonly #edge = new Uint8Array(2 * COPY_PIECES);

  constructor(context: BlockFilterContext<VerifyOptions, SumPlace>) {
    const { prepared, shared, queue, slots, options } = context;
    const plain = context as BlockFilterContext;
    this.#context = context;
    this.#state = new VerifyState(shared, prepared);
    const locks = this.#state.locks(queue);
    this.#guard = new Guard(plain, locks, this);
    this.#checker = new Checker(plain, this.#state, locks);
    this.#below = context.below;
    this.#sizeBytes = prepared.sizeBytes;
    this.#fails = options.on_mismatch === 'fail';
    this.#unchecked = context.counter('unchecked_reads');
    this.#isChecked = new Uint8Array(slots);
    this.#generations = new Int32Array(slots);
    const edges = context.buffers(2 * COPY_PIECES, FILTER_BLOCK_BYTES);
    const all = Array.from({ length: 2 * COPY_PIECES }, () => edges.take()!);
    this.#edges = all.sort((one, other) => one.index - other.index);
    this.#edgeWords = this.#edges.map(({ address }) => viewSigned32(address, FILTER_BLOCK_BYTES));
    if (queue === 0) this.#scrub = new Scrub(plain, this.#state, this.#checker, this.#guard.tagOwn);
  }

  submit(request: FilterRequest, next: Next): void {
    if (request.type !== RequestType.IN) return this.#guard.submit(request, next);
    const { sector, bytes, slot } = request;
    if (bytes === 0) return next(request);
    // Of whole blocks that are known, and not too many, the guest gets what comes; of others, what we have read.
    const isWhole = sector % BLOCK_SECTORS === 0 && this.#endsWithBlock(sector, bytes);
    const first = blockOf(sector);
    const count = blocksIn(sector, bytes / SECTOR_BYTES);
    if (bytes > VERIFY_READ_BYTES_MAX || !isWhole || !this.#state.areKnown(first, count))
      return void this.#guard.readPieces(request);
    this.#generations[slot] = this.#state.generations(first, count);
    this.#isChecked[slot] = 1;
    next(request);
  }

  #endsWithBlock(sector: number, bytes: number): boolean {
    return bytes % FILTER_BLOCK_BYTES === 0 || sector * SECTOR_BYTES + bytes === this.#sizeBytes;
  }

  complete(request: FilterRequest, status: number): number {
    const { slot } = request;
    if (this.#isChecked[slot] === 0) return this.#guard.complete(request, status);
    this.#isChecked[slot] = 0;
    if (status !== Status.OK) return status;
    const { sector, bytes } = request;
    const count = blocksIn(sector, bytes / SECTOR_BYTES);
    request.copyTo(0, this.#bytes, 0, bytes);
    this.#bytes.fill(0, bytes, count * FILTER_BLOCK_BYTES);
    const found = this.#check(this.#words, blockOf(sector), count, this.#generations[slot]!);
    // The guest may have changed its memory, and a write may have overtaken the read: we read ourselves before anything is said.
    return found ? status : this.#guard.readPieces(request);
  }

  /** True if all is well. Says nothing of what is not, and learns nothing: the guest may have changed its memory. */
  #check(words: Int32Array, first: number, count: number, generations: number): boolean {
    const state = this.#state;
    for (let i = 0; i < count; i++) {
      const known = state.sum(first + i);
      if (known === UNKNOWN || checksum(words, i * BLOCK_WORDS) !== known) return false;
    }
    this.#checker.count(count);
    return state.generations(first, count) === generations;
  }

  tick(): void {
    this.#guard.tick();
    this.#scrub?.tick();
    if (this.#guard.waits) this.#context.wakeAt(0);
  }

  done(tag: number, status: number): void {
    if (!this.#guard.done(tag, status)) this.#scrub!.done(status);
  }

  // --- the guard's user ----------------------------------------------------------------------------------------

  begin({ sector, bytes }: FilterRequest): number {
    this.#change(blockOf(sector), blocksIn(sector, bytes / SECTOR_BYTES));
    return Way.COPY;
  }

  #change(first: number, count: number): void {
    for (let i = 0; i < count; i++) this.#state.change(first + i);
  }

  move(piece: number, way: number): number {
    this.#pieceWords[piece] ??= viewSigned32(this.#guard.buffers[piece]!.address, COPY_PIECE_BYTES);
    if (way === Way.COPY) return this.#beginWrite(piece);
    this.#reads[piece] = 0;
    this.#read(piece);
    return 1;
  }

  moved(piece: number, way: number, status: number): number {
    if (way === Way.READ) return this.#wasRead(piece, status);
    if (this.#isStored[piece] === 1) return this.#wasStored(piece, status);
    this.#mergeEdges(piece, status);
    this.#store(piece);
    this.#guard.addOperations(piece, 1);
    return DEFERRED;
  }

  end(_request: FilterRequest, _way: number, status: number): number {
    return status;
  }

  flush(): number {
    return 0;
  }

  // --- reads by pieces -----------------------------------------------------------------------------------------

  #firstBlock(piece: number): number {
    return blockOf(this.#guard.pieceSector[piece]!);
  }

  /** Bytes in a piece's buffer up to the end of its data. */
  #endOf(piece: number): number {
    return this.#guard.pieceOffset[piece]! + this.#guard.pieceBytes[piece]!;
  }

  /** The blocks that the piece has parts of, whole. */
  #read(piece: number): void {
    const first = this.#firstBlock(piece);
    const count = Math.ceil(this.#endOf(piece) / FILTER_BLOCK_BYTES);
    const length = Math.min(count * FILTER_BLOCK_BYTES, this.#sizeBytes - first * FILTER_BLOCK_BYTES);
    this.#pieceGenerations[piece] = this.#state.generations(first, count);
    this.#below.read(this.#guard.buffers[piece]!, first * BLOCK_SECTORS, length, 2 * piece);
  }

  #wasRead(piece: number, status: number): number {
    if (status !== Status.OK) return status;
    const first = this.#firstBlock(piece);
    const count = Math.ceil(this.#endOf(piece) / FILTER_BLOCK_BYTES);
    this.#clearBeyond(piece, first, count);
    const found = this.#checker.check(this.#pieceWords[piece]!, first, count, this.#pieceGenerations[piece]!);
    if (found === Found.GOOD) return Status.OK;
    if (found === Found.DAMAGED) return this.#fails ? Status.IOERR : Status.OK;
    if (++this.#reads[piece]! === VERIFY_READS_MAX) {
      this.#unchecked.add(1);
      return Status.OK;
    }
    this.#read(piece);
    this.#guard.addOperations(piece, 1);
    return DEFERRED;
  }

  /** The disk's last block may be a short one: what it has not counts as zeros. */
  #clearBeyond(piece: number, first: number, count: number): void {
    const end = this.#sizeBytes - first * FILTER_BLOCK_BYTES;
    if (end < count * FILTER_BLOCK_BYTES) this.#guard.buffers[piece]!.bytes.fill(0, end, count * FILTER_BLOCK_BYTES);
  }

  // --- writes --------------------------------------------------------------------------------------------------

  /** Blocks that are known, and of which the piece has parts only, are read first. Returns how many operations. */
  #beginWrite(piece: number): number {
    const end = this.#endOf(piece);
    const first = this.#firstBlock(piece);
    const last = first + Math.ceil(end / FILTER_BLOCK_BYTES) - 1;
    const endsWhole = this.#endsWithBlock(first * BLOCK_SECTORS, end);
    const isHead = this.#guard.pieceOffset[piece]! > 0 || (first === last && !endsWhole);
    const isTail = last > first && !endsWhole;
    let reads = 0;
    if (this.#beginEdge(2 * piece, first, isHead)) reads++;
    if (this.#beginEdge(2 * piece + 1, last, isTail)) reads++;
    this.#isStored[piece] = 0;
    if (reads > 0) return reads;
    this.#store(piece);
    return 1;
  }

  /** True if the block is read. */
  #beginEdge(edge: number, block: number, isPart: boolean): boolean {
    const isKnown = isPart && this.#state.sum(block) !== UNKNOWN;
    this.#edge[edge] = !isPart ? Edge.WHOLE : isKnown ? Edge.GOOD : Edge.UNKNOWN;
    if (!isKnown) return false;
    this.#below.read(this.#edges[edge]!, block * BLOCK_SECTORS, this.#lengthOf(block), edge);
    return true;
  }

  #lengthOf(block: number): number {
    return Math.min(FILTER_BLOCK_BYTES, this.#sizeBytes - block * FILTER_BLOCK_BYTES);
  }

  /** What the piece does not write of its first and last block comes from the disk, once it was checked. */
  #mergeEdges(piece: number, status: number): void {
    const { bytes } = this.#guard.buffers[piece]!;
    const end = this.#endOf(piece);
    const first = this.#firstBlock(piece);
    const last = first + Math.ceil(end / FILTER_BLOCK_BYTES) - 1;
    for (let side = 0; side < 2; side++) {
      const edge = 2 * piece + side;
      if (this.#edge[edge] !== Edge.GOOD) continue;
      const block = side === 0 ? first : last;
      const known = this.#state.sum(block);
      const length = this.#lengthOf(block);
      const old = this.#edges[edge]!.bytes;
      old.fill(0, length);
      if (status !== Status.OK) {
        this.#edge[edge] = Edge.UNKNOWN;
        continue;
      }
      if (checksum(this.#edgeWords[edge]!, 0) !== known) {
        this.#checker.noteDamage(block, known);
        this.#edge[edge] = Edge.DAMAGED;
        continue;
      }
      const start = (block - first) * FILTER_BLOCK_BYTES;
      if (side === 0) old.copy(bytes, 0, 0, this.#guard.pieceOffset[piece]!);
      if (end < start + length) old.copy(bytes, end, end - start, length);
    }
  }

  /** From here on until it is stored nothing is known of its blocks. */
  #store(piece: number): void {
    const { buffers, pieceSector, pieceBytes, pieceOffset } = this.#guard;
    const first = this.#firstBlock(piece);
    const count = Math.ceil(this.#endOf(piece) / FILTER_BLOCK_BYTES);
    for (let i = 0; i < count; i++) this.#state.set(first + i, UNKNOWN);
    this.#isStored[piece] = 1;
    const { durable } = this.#guard.requestOf(piece);
    this.#below.write(
      buffers[piece]!,
      pieceSector[piece]!,
      pieceBytes[piece]!,
      2 * piece,
      pieceOffset[piece]!,
      durable,
    );
  }

  #wasStored(piece: number, status: number): number {
    const first = this.#firstBlock(piece);
    const count = Math.ceil(this.#endOf(piece) / FILTER_BLOCK_BYTES);
    // First, so that a read that has old data does not take the new checksum for theirs.
    this.#change(first, count);
    if (status !== Status.OK) return status;
    this.#clearBeyond(piece, first, count);
    const words = this.#pieceWords[piece]!;
    for (let i = 0; i < count; i++) {
      const edge =
        i === 0 && this.#edge[2 * piece] !== Edge.WHOLE
          ? this.#edge[2 * piece]
          : i === count - 1
            ? this.#edge[2 * piece + 1]
            : Edge.WHOLE;
      if (edge === Edge.DAMAGED) this.#state.set(first + i, BAD);
      else if (edge !== Edge.UNKNOWN) this.#state.set(first + i, checksum(words, i * BLOCK_WORDS));
    }
    return status;
  }

  // --- ranges --------------------------------------------------------------------------------------------------

  clear(slot: number, { type }: FilterRequest, sector: number, sectors: number, unmap: boolean): number {
    const first = blockOf(sector);
    const count = blocksIn(sector, sectors);
    this.#change(first, count);
    for (let i = 0; i < count; i++) this.#state.set(first + i, UNKNOWN);
    const tag = Guard.TAG_SLOTS + 2 * slot;
    if (type === RequestType.DISCARD) this.#below.discard(sector, sectors, tag);
    else this.#below.writeZeroes(sector, sectors, unmap, tag);
    return 1;
  }

  /** Blocks that were cleared in part are learned when they are read. */
  cleared(_request: FilterRequest, sector: number, sectors: number, status: number): void {
    const first = blockOf(sector);
    this.#change(first, blocksIn(sector, sectors));
    if (status !== Status.OK) return;
    const end = (sector + sectors) * SECTOR_BYTES === this.#sizeBytes ? this.#state.blocks : blockOf(sector + sectors);
    for (let block = Math.ceil(sector / BLOCK_SECTORS); block < end; block++) this.#state.set(block, this.#zeroSum);
  }
}
