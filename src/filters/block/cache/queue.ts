import type { BlockFilterContext, BlockFilterHooks, FilterRequest, IoBuffer, Next } from '../../../filter/contract.js';
import { RequestType, SECTOR_BYTES, Status } from '../../../filter/index.js';
import { CACHE_REQUEST_BYTES_MAX, COPY_PIECE_BYTES, COPY_PIECES, FILTER_BLOCK_BYTES } from '../../limits.js';
import { blockOf, blocksIn } from '../parts/guard-user.js';
import { CacheBlocks, type CachePlace } from './blocks.js';

export interface CacheOptions {
  readonly writes: 'through' | 'around';
}

/** Blocks of the longest request that is cached, and of the longest write that is stored too: one more than full ones. */
const BLOCKS_MAX = CACHE_REQUEST_BYTES_MAX / FILTER_BLOCK_BYTES + 1;
const WRITE_BLOCKS_MAX = COPY_PIECE_BYTES / FILTER_BLOCK_BYTES + 1;

/** What is known of a request on its way up. */
const Kind = { NONE: 0, FILL: 1, CHANGE: 2 } as const;

/** A cache for one queue. */
export class CacheQueue implements BlockFilterHooks {
  readonly #context: BlockFilterContext<CacheOptions, CachePlace>;
  readonly #blocks: CacheBlocks;
  readonly #through: boolean;
  readonly #hits;
  readonly #misses;
  readonly #evictions;
  /** By slot: what is to be done when the request comes back, and the sum of its blocks' generations. */
  readonly #kind: Uint8Array;
  readonly #sum: Int32Array;
  readonly #generations = new Int32Array(BLOCKS_MAX);
  readonly #ways = new Int32Array(BLOCKS_MAX);
  // Writes whose data are copied, by buffer.
  readonly #pool;
  readonly #buffers: IoBuffer[] = [];
  readonly #tokens = new Float64Array(COPY_PIECES);
  readonly #sectors = new Float64Array(COPY_PIECES);
  readonly #bytes = new Int32Array(COPY_PIECES);
  readonly #noted = new Int32Array(COPY_PIECES * WRITE_BLOCKS_MAX);

  constructor(context: BlockFilterContext<CacheOptions, CachePlace>) {
    this.#context = context;
    this.#blocks = new CacheBlocks(context.shared, context.prepared, context.queue);
    this.#blocks.recover();
    this.#through = context.options.writes === 'through';
    this.#hits = context.counter('hits');
    this.#misses = context.counter('misses');
    this.#evictions = context.counter('evictions');
    this.#kind = new Uint8Array(context.slots);
    this.#sum = new Int32Array(context.slots);
    this.#pool = context.buffers(COPY_PIECES, COPY_PIECE_BYTES);
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
        this.#kind[request.slot] = Kind.CHANGE;
        return next(request);
    }
  }

  complete(request: FilterRequest, status: number): number {
    const { slot, type } = request;
    const kind = this.#kind[slot];
    if (kind === Kind.NONE) return status;
    this.#kind[slot] = Kind.NONE;
    if (kind === Kind.FILL) {
      if (status === Status.OK) this.#fill(request);
    } else if (type === RequestType.OUT) this.#change(request.sector, request.bytes / SECTOR_BYTES);
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
    const { sector, bytes, slot } = request;
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
    let sum = 0;
    for (let i = 0; i < count; i++) sum = (sum + this.#blocks.generation(first + i)) | 0;
    this.#sum[slot] = sum;
    this.#kind[slot] = Kind.FILL;
    next(request);
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

  /** Stores what was read, if nothing was written meanwhile: generations only grow, so that their sum tells. */
  #fill(request: FilterRequest): void {
    const blocks = this.#blocks;
    const generations = this.#generations;
    const { sector, bytes, slot } = request;
    const first = blockOf(sector);
    const count = blocksIn(sector, bytes / SECTOR_BYTES);
    let sum = 0;
    for (let i = 0; i < count; i++) {
      const generation = blocks.generation(first + i);
      generations[i] = generation;
      sum = (sum + generation) | 0;
    }
    if (sum !== this.#sum[slot]) return;
    for (let i = 0; i < count; i++) {
      const position = (first + i) * FILTER_BLOCK_BYTES - sector * SECTOR_BYTES;
      if (position < 0 || position + FILTER_BLOCK_BYTES > bytes) continue;
      const way = blocks.take(first + i);
      if (way < 0) continue;
      request.copyTo(position, blocks.bytes, blocks.offset, FILTER_BLOCK_BYTES);
      blocks.store(way, first + i, generations[i]!);
    }
    this.#countEvictions();
  }

  #countEvictions(): void {
    if (this.#blocks.evicted === 0) return;
    this.#evictions.add(this.#blocks.evicted);
    this.#blocks.evicted = 0;
  }

  // --- writes --------------------------------------------------------------------------------------------------

  #write(request: FilterRequest, next: Next): void {
    const { sector, bytes } = request;
    const buffer = this.#through && bytes > 0 && bytes <= COPY_PIECE_BYTES ? this.#pool.take() : undefined;
    if (buffer === undefined) {
      this.#change(sector, bytes / SECTOR_BYTES);
      this.#kind[request.slot] = Kind.CHANGE;
      return next(request);
    }
    const tag = buffer.index;
    const first = blockOf(sector);
    const count = blocksIn(sector, bytes / SECTOR_BYTES);
    for (let i = 0; i < count; i++) this.#noted[tag * WRITE_BLOCKS_MAX + i] = this.#blocks.change(first + i);
    this.#buffers[tag] = buffer;
    this.#sectors[tag] = sector;
    this.#bytes[tag] = bytes;
    // What is stored, and what is kept, is the same: the guest may change its memory meanwhile.
    request.copyTo(0, buffer.bytes, 0, bytes);
    this.#tokens[tag] = request.defer();
    this.#context.below.write(buffer, sector, bytes, tag, 0, request.durable);
  }

  done(tag: number, status: number): void {
    const buffer = this.#buffers[tag]!;
    const blocks = this.#blocks;
    const sector = this.#sectors[tag]!;
    const bytes = this.#bytes[tag]!;
    const first = blockOf(sector);
    const count = blocksIn(sector, bytes / SECTOR_BYTES);
    for (let i = 0; i < count; i++) {
      const block = first + i;
      const generation = this.#noted[tag * WRITE_BLOCKS_MAX + i]!;
      const isOurs = blocks.changeFrom(block, generation);
      const from = block * FILTER_BLOCK_BYTES - sector * SECTOR_BYTES;
      if (!isOurs || status !== Status.OK || from < 0 || from + FILTER_BLOCK_BYTES > bytes) continue;
      const way = blocks.take(block);
      if (way < 0) continue;
      buffer.bytes.copy(blocks.bytes, blocks.offset, from, from + FILTER_BLOCK_BYTES);
      blocks.store(way, block, (generation + 1) | 0);
    }
    this.#pool.giveBack(buffer);
    this.#countEvictions();
    this.#context.finish(this.#tokens[tag]!, status);
  }
}
