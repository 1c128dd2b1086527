import assert from 'node:assert/strict';
import { setTimeout } from 'node:timers/promises';
import { type BackendHost, type BlockBackend, MORE, PENDING } from '../../src/block/backends/backend.js';
import { RequestType, SECTOR_BYTES, Status } from '../../src/block/features.js';
import type { BlockQueue } from '../../src/block/queue.js';
import { type BlockRequest, RequestPool } from '../../src/block/request.js';
import { GuestMemory, Translation } from '../../src/guest-memory/guest-memory.js';
import { IoUring } from '../../src/host/io-uring.js';
import { type MemoryMap, mapAnonymous, unmap } from '../../src/host/memory-map.js';
import { viewBytes } from '../../src/host/memory-view.js';

/** A stretch of guest memory: byte offset in it, and length. */
export interface Piece {
  readonly at: number;
  readonly length: number;
}

export interface Range {
  readonly sector: number;
  readonly sectors: number;
  readonly unmap?: boolean;
}

/** What is asked of a back end. */
export type Operation =
  | {
      readonly kind: 'read' | 'write';
      readonly sector: number;
      readonly pieces: readonly Piece[];
      readonly durable?: boolean;
    }
  | { readonly kind: 'flush' }
  | {
      readonly kind: 'discard' | 'writeZeroes' | 'secureErase';
      readonly ranges: readonly Range[];
      readonly durable?: boolean;
    };

const TYPES = {
  read: RequestType.IN,
  write: RequestType.OUT,
  flush: RequestType.FLUSH,
  discard: RequestType.DISCARD,
  writeZeroes: RequestType.WRITE_ZEROES,
  secureErase: RequestType.SECURE_ERASE,
} as const;

/** Guest memory of a rig, bytes: two regions that touch, in windows so small that most requests cross one. */
export const GUEST_BYTES = 8 * 2 ** 20;
const GUEST_ADDRESS = 2 ** 33;
const WINDOW_BYTES = 96 * 1024;
/** Requests at once: more than the small ring holds. */
export const REQUESTS = 600;
const RING_ENTRIES = 16;
/** Less than most requests have, and no multiple of anything. */
const PIECE_BYTES = 3 * 1013;
const PATIENCE_MS = 20_000;

const STATUSES: readonly number[] = Object.values(Status);

/** What a back end may have done in each turn: filters do. */
export interface RigHost extends BackendHost {
  readonly turns: (() => void)[];
}

/**
 * A back end with everything around it that it needs, and nothing else: a pool, guest memory, an io_uring, and a queue that
 * only takes completions.
 */
export class BackendRig {
  readonly backend: BlockBackend;
  /** All of the guest's memory. */
  readonly guest: Buffer;
  readonly #map: MemoryMap;
  readonly #memory: GuestMemory;
  /** Twice as many: filters have operations of their own. */
  readonly #pool = new RequestPool(2 * REQUESTS);
  readonly #ring: IoUring | undefined;
  readonly #turns: (() => void)[] = [];
  readonly #inFlight = new Set<BlockRequest>();
  /** Statuses in the order in which the operations were started. */
  #statuses: number[] = [];
  readonly #place = new Map<BlockRequest, number>();
  /** Segments as they were, by slot: a back end leaves them so. */
  readonly #segments = new Map<BlockRequest, readonly number[]>();
  readonly #queue: BlockQueue;
  #starting: BlockRequest | undefined;

  readonly #turn: (() => void) | undefined;

  /** @param turn - what is done besides in each turn */
  constructor(make: (host: BackendHost) => BlockBackend, turn?: () => void) {
    this.#turn = turn;
    this.#map = mapAnonymous(GUEST_BYTES);
    this.guest = viewBytes(this.#map.address, GUEST_BYTES);
    const half = GUEST_BYTES / 2;
    const region = (at: number) => ({
      guestAddress: GUEST_ADDRESS + at,
      size: half,
      userAddress: at,
      hostAddress: this.#map.address + at,
    });
    this.#memory = new GuestMemory([region(0), region(half)], WINDOW_BYTES);
    this.#ring = IoUring.create(RING_ENTRIES);
    const host: RigHost = { pool: this.#pool, uring: () => this.#ring, turns: this.#turns };
    this.backend = make(host);
    const queue: Pick<BlockQueue, 'complete' | 'backend'> = {
      backend: this.backend,
      complete: (request, status) => this.#complete(request, status),
    };
    this.#queue = queue as BlockQueue;
  }

  /** Starts an operation; `finish` gives its status. */
  start(operation: Operation): void {
    const request = this.#pool.take(0);
    assert.ok(request, 'the pool is empty');
    this.#fill(request, operation);
    this.#place.set(request, this.#statuses.length);
    this.#statuses.push(PENDING);
    this.#inFlight.add(request);
    this.#segments.set(request, segmentsOf(request));
    this.#starting = request;
    let status = this.backend[operation.kind](request);
    while (status === MORE) status = this.backend.proceed!(request);
    this.#starting = undefined;
    if (status === PENDING) assert.ok(this.#inFlight.has(request));
    else this.#complete(request, status);
  }

  /** Turns as a sidecore does until nothing is in flight. Returns the statuses of all that was started since the last call. */
  async finish(): Promise<number[]> {
    const ring = this.#ring;
    for (let deadline = Date.now() + PATIENCE_MS; this.#inFlight.size > 0; ) {
      assert.ok(ring && Date.now() < deadline, `${this.#inFlight.size} requests do not complete`);
      const count = this.#step(ring);
      if (count === 0 && !ring.hasCompletions) await setTimeout(0);
    }
    const statuses = this.#statuses;
    this.#statuses = [];
    this.#place.clear();
    return statuses;
  }

  /** Returns how many operations the kernel has ended. */
  #step(ring: IoUring): number {
    this.#turn?.();
    ring.submit();
    const count = ring.reap();
    for (let i = 0; i < count; i++) {
      const request = this.#pool.requests[ring.completedData[i]!]!;
      request.queue!.backend.completed(request, ring.completedResult[i]!);
    }
    for (const turn of this.#turns) turn();
    return count;
  }

  /** Starts one operation and waits for its status. */
  async run(operation: Operation): Promise<number> {
    this.start(operation);
    return (await this.finish()).at(-1)!;
  }

  close(): void {
    assert.equal(this.#inFlight.size, 0);
    while (this.backend.quiesce?.() === false) this.#step(this.#ring!);
    this.backend.close();
    this.#ring?.close();
    unmap(this.#map);
  }

  #complete(request: BlockRequest, status: number): void {
    assert.notEqual(request, this.#starting, 'completed while it was started');
    assert.ok(this.#inFlight.delete(request), 'completed twice');
    assert.ok(STATUSES.includes(status), `no status: ${status}`);
    assert.deepEqual(segmentsOf(request), this.#segments.get(request), 'segments were changed');
    this.#statuses[this.#place.get(request)!] = status;
    this.#pool.giveBack(request);
  }

  /** Makes the request that a queue would make of such a chain: header, data, status byte. */
  #fill(request: BlockRequest, operation: Operation): void {
    const { chain } = request;
    chain.clear();
    request.queue = this.#queue;
    request.memory = this.#memory;
    request.type = TYPES[operation.kind];
    request.durable = 'durable' in operation && operation.durable === true;
    request.sector = 0;
    request.rangeCount = 0;
    request.dataBytes = 0;
    // What an earlier request may have left behind means nothing.
    request.progress = 12_345;
    request.step = 777;
    request.pieceBytes = PIECE_BYTES;
    chain.segments.push(0, 0, 16);
    request.first = 1;
    if ('pieces' in operation) {
      request.sector = operation.sector;
      for (const { at, length } of operation.pieces) this.#addPiece(request, at, length);
    } else if ('ranges' in operation) {
      operation.ranges.forEach(({ sector, sectors, unmap = false }, i) => {
        request.rangeSector[i] = sector;
        request.rangeSectors[i] = sectors;
        request.rangeUnmap[i] = unmap ? 1 : 0;
      });
      request.rangeCount = operation.ranges.length;
    }
    request.end = chain.segments.count;
    chain.segments.push(0, 16, 1);
  }

  #addPiece(request: BlockRequest, at: number, length: number): void {
    const address = GUEST_ADDRESS + at;
    const { segments } = request.chain;
    const result = this.#memory.translate(address % 2 ** 32, Math.floor(address / 2 ** 32), length, segments);
    assert.equal(result, Translation.OK);
    request.dataBytes += length;
  }
}

/** Window, offset and length of each. */
function segmentsOf({ chain: { segments } }: BlockRequest): number[] {
  return Array.from({ length: segments.count }, (_, i) => [
    segments.window[i]!,
    segments.offset[i]!,
    segments.length[i]!,
  ]).flat();
}

/** Bytes of an operation's data. */
export function bytesOf(pieces: readonly Piece[]): number {
  return pieces.reduce((sum, piece) => sum + piece.length, 0);
}

/** One piece of guest memory for whole sectors. */
export function sectorsAt(at: number, sectors: number): Piece[] {
  return [{ at, length: sectors * SECTOR_BYTES }];
}
