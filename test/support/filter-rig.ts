/**
 * A disk with filters as a daemon and its sidecores have it, in one thread that the test drives: chains for one or more queues before a
 * real back end, the filters' sides on the main thread, and their helpers.
 */
import type { TestContext } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { diskFilters, RigHost, readyFilter } from '../../bench/filter-host.js';
import type { OpenDisk } from '../../src/block/backends/backend.js';
import { type BackendOptions, type BackendSpec, createBackend, openDisk } from '../../src/block/backends/index.js';
import { RequestType, SECTOR_BYTES, Status } from '../../src/block/features.js';
import type { BlockRequest, RequestOwner } from '../../src/block/request.js';
import type { DiskFilters } from '../../src/daemon/disk-filters.js';
import type { FilterChain } from '../../src/filter/chain.js';
import type { BlockFilter } from '../../src/filter/contract.js';
import { changeChain, createChain } from '../../src/filter/create.js';
import { FilterGroups } from '../../src/filter/filter-groups.js';
import type { BuiltIns } from '../../src/filter/load.js';
import type { OpenedFilter, ReadyFilter } from '../../src/filter/opened-filter.js';
import { submitTo } from '../../src/filter/operations.js';
import type { FaultPolicy } from '../../src/filter/spec.js';
import { GuestMemory } from '../../src/guest-memory/guest-memory.js';
import { mapAnonymous } from '../../src/host/memory-map.js';
import { viewBytes } from '../../src/host/memory-view.js';
import { FILTER_DEFER_S } from '../../src/limits.js';

const MEMORY_BYTES = 32 * 2 ** 20;
/** Of a request's data at most. */
export const DATA_BYTES_MAX = 4 * 2 ** 20;

// biome-ignore lint/suspicious/noExplicitAny: definitions have options and prepared data of their own
type AnyBlockFilter = BlockFilter<any, any>;

export interface RigFilter {
  readonly definition: AnyBlockFilter;
  readonly options?: Readonly<Record<string, unknown>>;
  readonly onFault?: FaultPolicy;
  readonly deferNsMax?: number;
  readonly timeNsMax?: number;
}

export interface RigOptions {
  /** Nearest to the guest first. */
  readonly filters: readonly RigFilter[];
  /** Memory, of 16 MiB, if it is not said. */
  readonly backend?: BackendOptions;
  readonly queues?: number;
  /** Folder from which paths in options start. */
  readonly base?: string;
  /** Of a request at most: the less, the more of them there can be at once. */
  readonly dataBytesMax?: number;
  /** Of the daemon that the disk is in, if there are others. */
  readonly groups?: FilterGroups;
}

/** How a request's data lie in guest memory. */
export interface RequestOptions {
  readonly queue?: number;
  /** Lengths of its first segments; the rest is one more. */
  readonly cuts?: readonly number[];
  readonly durable?: boolean;
}

/** A request on its way. */
export class RigRequest {
  readonly request: BlockRequest;
  /** The guest's, of an IN or OUT; a copy once it is complete. */
  data: Buffer;
  /** Undefined until it is complete. */
  status: number | undefined = undefined;

  constructor(request: BlockRequest, data: Buffer) {
    this.request = request;
    this.data = data;
  }
}

/** A sidecore with one queue of the disk. */
class RigQueue extends RigHost implements RequestOwner {
  /** Its time, ns. */
  readonly clock: Float64Array;
  readonly inFlight = new Map<BlockRequest, RigRequest>();
  /** Stays: what tests were given of it is looked at when they fail. */
  readonly #map = mapAnonymous(MEMORY_BYTES);
  readonly #memory = new GuestMemory([
    { guestAddress: 0, userAddress: 0, size: MEMORY_BYTES, hostAddress: this.#map.address },
  ]);
  chain!: FilterChain;
  readonly #dataBytesMax: number;
  readonly #places: Set<number>;

  constructor(builtIns: BuiltIns, dataBytesMax: number) {
    const clock = new Float64Array([1e12]);
    super(builtIns, (into, slot) => {
      into[slot] = clock[0]!;
    });
    this.clock = clock;
    this.#dataBytesMax = dataBytesMax;
    this.#places = new Set(Array.from({ length: MEMORY_BYTES / dataBytesMax }, (_, i) => i));
  }

  get backend(): FilterChain {
    return this.chain;
  }

  complete(request: BlockRequest, status: number): void {
    const rigRequest = this.inFlight.get(request)!;
    if (rigRequest === undefined || rigRequest.status !== undefined) throw new Error('a request completes once');
    rigRequest.status = status;
    rigRequest.data = Buffer.from(rigRequest.data);
    this.inFlight.delete(request);
    this.#places.add(this.#placeOf.get(request)!);
    this.pool.giveBack(request);
  }

  readonly #placeOf = new Map<BlockRequest, number>();

  /** Gives the chain a request of the guest's. */
  submit(type: number, sector: number, bytes: number, fill: Buffer | undefined, options: RequestOptions): RigRequest {
    const [place] = this.#places;
    if (place === undefined || bytes > this.#dataBytesMax) throw new Error('too much at once');
    this.#places.delete(place);
    const request = this.pool.take(0)!;
    this.#placeOf.set(request, place);
    const start = place * this.#dataBytesMax;
    const data = viewBytes(this.#map.address + start, Math.max(1, bytes)).subarray(0, bytes);
    if (fill === undefined) data.fill(0x5a);
    else fill.copy(data);
    const { segments } = request.chain;
    segments.count = 0;
    let at = 0;
    for (const cut of [...(options.cuts ?? []), bytes]) {
      const length = Math.min(cut, bytes - at);
      if (length > 0) this.#memory.translate(start + at, 0, length, segments);
      at += length;
    }
    Object.assign(request, {
      type,
      sector,
      dataBytes: bytes,
      costBytes: bytes,
      first: 0,
      end: segments.count,
      memory: this.#memory,
      queue: this,
      durable: options.durable ?? false,
      rangeCount: 0,
      pieceBytes: 65536,
    });
    const rigRequest = new RigRequest(request, data);
    this.inFlight.set(request, rigRequest);
    return rigRequest;
  }

  start({ request }: RigRequest): void {
    this.take(request, submitTo(this.chain, request));
  }

  /** Another takes over, with what was in flight. */
  replace(make: () => FilterChain): void {
    this.die();
    this.filterDesk.remove(this.chain);
    this.chain = make();
    for (const [request, rigRequest] of [...this.inFlight]) {
      Object.assign(request, { view: undefined, queue: this, progress: 0, step: 0 });
      this.start(rigRequest);
    }
  }

  override close(): void {
    this.chain.close();
    super.close();
  }
}

export class FilterRig {
  readonly disk: OpenDisk<BackendSpec>;
  readonly filters: DiskFilters;
  readonly queues: readonly RigQueue[];
  /** What filters have logged. */
  readonly log: string[] = [];
  /** As if a front end were. */
  connected = false;
  readonly #builtIns: Record<string, BlockFilter> = {};
  readonly #base: string;

  constructor(test: TestContext, options: RigOptions) {
    const { filters, backend = { type: 'memory', size: 16 * 2 ** 20 }, queues = 1, base = '/' } = options;
    const { dataBytesMax = DATA_BYTES_MAX, groups = new FilterGroups() } = options;
    this.#base = base;
    this.disk = openDisk(backend);
    try {
      const ready = filters.map((filter) => this.ready(filter));
      this.filters = diskFilters(this.disk, ready, {
        queues,
        groups,
        hold: async (during) => this.hold(during),
        connected: () => this.connected,
        log: (text) => void this.log.push(text),
      });
    } catch (error) {
      this.disk.close();
      throw error;
    }
    this.queues = Array.from({ length: queues }, (_, index) => {
      const queue = new RigQueue(this.#builtIns, dataBytesMax);
      const spec = this.filters.spec!;
      queue.chain = createChain(spec, index, createBackend(this.disk.spec, queue), this.#builtIns as BuiltIns, queue);
      return queue;
    });
    test.after(async () => {
      // What filters have begun themselves comes to its end.
      await this.until(() => this.queues.every(({ chain }) => chain.quiesce()));
      for (const queue of this.queues) queue.close();
      await this.filters.close();
      this.disk.close();
    });
  }

  /** A filter as a configuration would have it. */
  ready({ definition, options, ...more }: RigFilter): ReadyFilter {
    this.#builtIns[definition.name] = definition;
    const ready = readyFilter<BlockFilter>(definition, options, { base: this.#base, ...more });
    return {
      ...ready,
      deferNsMax: more.deferNsMax ?? 1e9 * (definition.deferSeconds?.(ready.options) ?? FILTER_DEFER_S),
    };
  }

  /** Has the disk have other filters, as a hot swap does: those that stay, and new ones. */
  async change(filters: readonly (OpenedFilter | { ready: ReadyFilter; old?: OpenedFilter })[]): Promise<void> {
    await this.filters.change(
      () => filters,
      () =>
        this.hold(() => {
          const { spec } = this.filters;
          for (const [index, queue] of this.queues.entries()) {
            if (spec === undefined) queue.chain.filters = [];
            else changeChain(queue.chain, spec, index, this.#builtIns as BuiltIns, queue);
          }
        }),
    );
  }

  /** A sidecore is ended at once, and replaced. */
  die(index: number): void {
    const queue = this.queues[index]!;
    queue.replace(() => {
      const backend = createBackend(this.disk.spec, queue);
      return createChain(this.filters.spec!, index, backend, this.#builtIns as BuiltIns, queue);
    });
  }

  /** Waits until nothing is in flight, and keeps it so meanwhile. */
  async hold<T>(during: () => T | Promise<T>): Promise<T> {
    for (const { chain } of this.queues) chain.hurry();
    await this.until(() => this.queues.every(({ inFlight }) => inFlight.size === 0));
    await this.until(() => this.queues.every(({ chain }) => chain.quiesce()));
    try {
      return await during();
    } finally {
      for (const { chain } of this.queues) chain.resume();
    }
  }

  // --- requests; each resolves when it is complete -------------------------------------------------------------

  begin(type: number, sector: number, data: Buffer | number, options: RequestOptions = {}): RigRequest {
    const queue = this.queues[options.queue ?? 0]!;
    const fill = typeof data === 'number' ? undefined : data;
    const bytes = typeof data === 'number' ? data : data.length;
    const request = queue.submit(type, sector, bytes, fill, options);
    queue.start(request);
    return request;
  }

  async read(sector: number, bytes: number, options: RequestOptions = {}): Promise<Buffer> {
    const request = await this.end(this.begin(RequestType.IN, sector, bytes, options));
    if (request.status !== Status.OK) throw new Error(`a read ended with ${request.status}`);
    return Buffer.from(request.data);
  }

  /** Returns the status. */
  async write(sector: number, data: Buffer, options: RequestOptions = {}): Promise<number> {
    return (await this.end(this.begin(RequestType.OUT, sector, data, options))).status!;
  }

  async flush(options: RequestOptions = {}): Promise<number> {
    return (await this.end(this.begin(RequestType.FLUSH, 0, 0, options))).status!;
  }

  /** DISCARD, WRITE_ZEROES or SECURE_ERASE of one range. */
  async clear(type: number, sector: number, sectors: number, unmap = false, queue = 0): Promise<number> {
    return (await this.end(this.beginClear(type, sector, sectors, unmap, queue))).status!;
  }

  beginClear(type: number, sector: number, sectors: number, unmap = false, queue = 0): RigRequest {
    const rigQueue = this.queues[queue]!;
    const request = rigQueue.submit(type, 0, 0, undefined, {});
    Object.assign(request.request, { rangeCount: 1, costBytes: sectors * SECTOR_BYTES });
    request.request.rangeSector[0] = sector;
    request.request.rangeSectors[0] = sectors;
    request.request.rangeUnmap[0] = unmap ? 1 : 0;
    rigQueue.start(request);
    return request;
  }

  async end(request: RigRequest): Promise<RigRequest> {
    await this.until(() => request.status !== undefined);
    return request;
  }

  /** Has the sidecores have turns until something is so. */
  async until(isSo: () => boolean): Promise<void> {
    const deadline = Date.now() + 20_000;
    for (let i = 0; !isSo(); i++) {
      if (Date.now() > deadline) throw new Error('it does not come to be so');
      for (const queue of this.queues) queue.turn();
      if (i % 16 === 15) await turn();
    }
  }

  /** Moves the sidecores' time along. */
  pass(ns: number): void {
    for (const { clock } of this.queues) clock[0]! += ns;
  }

  /** What the filters have counted, by their order. */
  counters(index = 0): Record<string, number> {
    return this.filters.opened[index]!.memory.readCounters();
  }
}
