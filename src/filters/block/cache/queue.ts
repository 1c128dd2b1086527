import type { BlockFilterContext, BlockFilterHooks, FilterRequest, IoBuffer, Next } from '../../../filter/contract.js';
import { RequestType, SECTOR_BYTES, Status } from '../../../filter/index.js';
import {
  CACHE_READS,
  CACHE_REQUEST_BYTES_MAX,
  COPY_PIECE_BYTES,
  COPY_PIECES,
  FILTER_BLOCK_BYTES,
} from '../../limits.js';
import { blockOf, blocksIn } from '../parts/guard-user.js';
import { CacheBlocks, type CachePlace } from './blocks.js';

export interface CacheOptions {
  readonly writes: 'through' | 'around';
}

/** Blocks of the longest request that is cached, and of the longest write that is stored too: one more than full ones. */
const BLOCKS_MAX = CACHE_REQUEST_BYTES_MAX / FILTER_BLOCK_BYTES + 1;
const WRITE_BLOCKS_MAX = COPY_PIECE_BYTES / FILTER_BLOCK_BYTES + 1;

/** Tags of reads; those of writes are their buffers' numbers. */
const TAG_READS = COPY_PIECES;

/**
 * A cache for one queue. What is kept goes through buffers of our own, both ways: the guest may change its memory meanwhile, or have
 * named the same twice.
 */
export class CacheQueue implements BlockFilterHooks {
  readonly #context: BlockFilterContext<CacheOptions, CachePlace>;
  readonly #blocks: CacheBlocks;
  readonly #through: boolean;
  readonly #hits;
  readonly #misses;
  readonly #evictions;
  /** By slot: its blocks have other data when the request comes back. */
  readonly #isChange: Uint8Array;
  readonly #generations = new Int32Array(BLOCKS_MAX);
  readonly #ways = new Int32Array(BLOCKS_MAX);
  readonly #writes;
  readonly #reads;
  // By tag; of a write the generations of its blocks, of a read the sum of those.
  readonly #buffers: IoBuffer[] = new Array(TAG_READS + CACHE_READS);
  readonly #tokens = new Float64Array(TAG_READS + CACHE_READS);
  readonly #sectors = new Float64Array(TAG_READS + CACHE_READS);
  readonly #bytes = new Int32Array(TAG_READS + CACHE_READS);
  readonly #noted = new Int32Array(COPY_PIECES * WRITE_BLOCKS_MAX);
  readonly #sums = new Int32Array(CACHE_READS);

  constructor(context: BlockFilterContext<CacheOptions, CachePlace>) {
    this.#context = context;
    this.#blocks = new CacheBlocks(context.shared, context.prepared, context.queue);
    this.#blocks.recover();
    this.#through = context.options.writes === 'through';
    this.#hits = context.counter('hits');
    this.#misses = context.counter('misses');
    this.#evictions = context.counter('evictions');
    this.#isChange = new Uint8Array(context.slots);
    this.#writes = context.buffers(COPY_PIECES, COPY_PIECE_BYTES);
    this.#reads = context.buffers(CACHE_READS, CACHE_REQUEST_BYTES_MAX);
  }

  submit(request: FilterRequest, next: Next): void {
    switch (request.type) {
      case RequestType.IN:
        return this.#read(request, next);
      case RequestType.OUT:
        return this.#write(request, next);
      case RequestType.FLUSH:
        return next(request);
      default:
        for (let i = 0; i < request.rangeCount; i++) this.#change(request.rangeSector(i), request.rangeSectors(i));
        this.#isChange[request.slot] = 1;
        return next(request);
    }
  }

  complete(request: FilterRequest, status: number): number {
    const { slot, type } = request;
    if (this.#isChange[slot] === 0) return status;
    this.#isChange[slot] = 0;
    if (type === RequestType.OUT) this.#change(request.sector, request.bytes / SECTOR_BYTES);
    else for (let i = 0; i < request.rangeCount; i++) this.#change(request.rangeSector(i), request.rangeSectors(i));
    return status;
  }

  /** Blocks have other data from now on, or may have. */
  #change(sector: number, sectors: number): void {
    const first = blockOf(sector);
    const end = first + blocksIn(sector, sectors);
    for (let block = first; block < end; block++) this.#blocks.change(block);
  }

  // --- reads ---------------------------------------------------------------------------------------------------

  #read(request: FilterRequest, next: Next): void {
    const { sector, bytes } = request;
    if (bytes > CACHE_REQUEST_BYTES_MAX) {
      this.#misses.add(1);
      return next(request);
    }
    const first = blockOf(sector);
    const count = blocksIn(sector, bytes / SECTOR_BYTES);
    if (this.#areThere(first, count) && this.#take(request, first, count)) {
      this.#hits.add(1);
      return request.complete(Status.OK);
    }
    this.#misses.add(1);
    const buffer = bytes === 0 ? undefined : this.#reads.take();
    if (buffer === undefined) return next(request);
    const tag = TAG_READS + buffer.index;
    this.#sums[buffer.index] = this.#sumOf(first, count);
    this.#keep(tag, buffer, request);
    this.#context.below.read(buffer, sector, bytes, tag);
  }

  #keep(tag: number, buffer: IoBuffer, request: FilterRequest): void {
    this.#buffers[tag] = buffer;
    this.#sectors[tag] = request.sector;
    this.#bytes[tag] = request.bytes;
    this.#tokens[tag] = request.defer();
  }

  /** Of generations, which are noted. They only grow, so that their sum tells whether any has changed. */
  #sumOf(first: number, count: number): number {
    let sum = 0;
    for (let i = 0; i < count; i++) {
      const generation = this.#blocks.generation(first + i);
      this.#generations[i] = generation;
      sum = (sum + generation) | 0;
    }
    return sum;
  }

  #areThere(first: number, count: number): boolean {
    for (let i = 0; i < count; i++) {
      const way = this.#blocks.find(first + i);
      if (way < 0) return false;
      this.#ways[i] = way;
    }
    return true;
  }

  /** Gives the guest its data. False if some are there no more: what it has got so far it gets anew. */
  #take(request: FilterRequest, first: number, count: number): boolean {
    const blocks = this.#blocks;
    const { sector, bytes } = request;
    // Where the request begins in its first block.
    let skip = (sector * SECTOR_BYTES) % FILTER_BLOCK_BYTES;
    let position = 0;
    for (let i = 0; i < count; i++) {
      const way = this.#ways[i]!;
      const opened = blocks.open(way, first + i);
      if (opened < 0) return false;
      const length = Math.min(FILTER_BLOCK_BYTES - skip, bytes - position);
      request.copyFrom(position, blocks.bytes, blocks.offset + skip, length);
      if (!blocks.isStill(way, opened)) return false;
      position += length;
      skip = 0;
    }
    return true;
  }

  /** The guest gets what was read; it is stored if nothing was written meanwhile. */
  #wasRead(tag: number, buffer: IoBuffer): void {
    const sector = this.#sectors[tag]!;
    const bytes = this.#bytes[tag]!;
    const first = blockOf(sector);
    const count = blocksIn(sector, bytes / SECTOR_BYTES);
    this.#context.requestOf(this.#tokens[tag]!).copyFrom(0, buffer.bytes, 0, bytes);
    if (this.#sumOf(first, count) !== this.#sums[buffer.index]) return;
    for (let i = 0; i < count; i++) {
      const from = (first + i) * FILTER_BLOCK_BYTES - sector * SECTOR_BYTES;
      if (from < 0 || from + FILTER_BLOCK_BYTES > bytes) continue;
      this.#store(first + i, buffer, from, this.#generations[i]!);
    }
  }

  /** Stores a block as it was at a generation. */
  #store(block: number, buffer: IoBuffer, from: number, generation: number): void {
    const blocks = this.#blocks;
    const way = blocks.take(block);
    if (way < 0) return;
    buffer.bytes.copy(blocks.bytes, blocks.offset, from, from + FILTER_BLOCK_BYTES);
    blocks.store(way, block, generation);
  }

  #countEvictions(): void {
    if (this.#blocks.evicted === 0) return;
    this.#evictions.add(this.#blocks.evicted);
    this.#blocks.evicted = 0;
  }

  // --- writes --------------------------------------------------------------------------------------------------

  #write(request: FilterRequest, next: Next): void {
    const { sector, bytes } = request;
    const buffer = this.#through && bytes > 0 && bytes <= COPY_PIECE_BYTES ? this.#writes.take() : undefined;
    if (buffer === undefined) {
      this.#change(sector, bytes / SECTOR_BYTES);
      this.#isChange[request.slot] = 1;
      return next(request);
    }
    const tag = buffer.index;
    const first = blockOf(sector);
    const count = blocksIn(sector, bytes / SECTOR_BYTES);
    for (let i = 0; i < count; i++) this.#noted[tag * WRITE_BLOCKS_MAX + i] = this.#blocks.change(first + i);
    this.#keep(tag, buffer, request);
    request.copyTo(0, buffer.bytes, 0, bytes);
    this.#context.below.write(buffer, sector, bytes, tag, 0, request.durable);
  }

  #wasWritten(tag: number, buffer: IoBuffer, status: number): void {
    const sector = this.#sectors[tag]!;
    const bytes = this.#bytes[tag]!;
    const first = blockOf(sector);
    const count = blocksIn(sector, bytes / SECTOR_BYTES);
    for (let i = 0; i < count; i++) {
      const generation = this.#noted[tag * WRITE_BLOCKS_MAX + i]!;
      const isOurs = this.#blocks.changeFrom(first + i, generation);
      const from = (first + i) * FILTER_BLOCK_BYTES - sector * SECTOR_BYTES;
      if (!isOurs || status !== Status.OK || from < 0 || from + FILTER_BLOCK_BYTES > bytes) continue;
      this.#store(first + i, buffer, from, (generation + 1) | 0);
    }
  }

  done(tag: number, status: number): void {
    const buffer = this.#buffers[tag]!;
    const isRead = tag >= TAG_READS;
    if (!isRead) this.#wasWritten(tag, buffer, status);
    else if (status === Status.OK) this.#wasRead(tag, buffer);
    (isRead ? this.#reads : this.#writes).giveBack(buffer);
    this.#countEvictions();
    this.#context.finish(this.#tokens[tag]!, status);
  }
}
