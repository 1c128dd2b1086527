import { type BlockBackend, MORE, type OpenDisk } from '../src/block/backends/backend.js';
import { type BackendOptions, type BackendSpec, createBackend, openDisk } from '../src/block/backends/index.js';
import { RequestType, SECTOR_BYTES, Status } from '../src/block/features.js';
import { type BlockRequest, type RequestOwner, RequestPool } from '../src/block/request.js';
import { DiskFilters } from '../src/daemon/disk-filters.js';
import type { BlockFilter } from '../src/filter/contract.js';
import { createChain, type FilterHost } from '../src/filter/create.js';
import { FilterDesk } from '../src/filter/filter-desk.js';
import { FilterGroups } from '../src/filter/filter-groups.js';
import { HelperBell } from '../src/filter/helper-channel.js';
import { FilterHelpers, type HelperSetup } from '../src/filter/helpers.js';
import { readOptions } from '../src/filter/load.js';
import type { ReadyFilter } from '../src/filter/opened-filter.js';
import { SourceLines } from '../src/filter/source-lines.js';
import { GuestMemory } from '../src/guest-memory/guest-memory.js';
import { threadCpuNs } from '../src/host/clock.js';
import { IoUring } from '../src/host/io-uring.js';
import { mapAnonymous, unmap } from '../src/host/memory-map.js';
import { REQUESTS_IN_FLIGHT_MAX } from '../src/limits.js';

/** Requests in flight: as many as a busy guest has. */
const DEPTH = 32;
const REQUEST_BYTES = 4096;
/** Turns in which nothing is completed, before it is given up. */
const TURNS_MAX = 10_000_000;

/** A filter as a configuration has it. */
export interface RigFilter {
  readonly definition: BlockFilter;
  readonly options: Readonly<Record<string, unknown>>;
}

/** One queue of a disk with at most one filter, its filter's side on the main thread and its helper, all in this thread: no guest and no ring. */
export class FilterRig implements FilterHost, RequestOwner {
  readonly pool = new RequestPool(REQUESTS_IN_FLIGHT_MAX);
  readonly filterDesk = new FilterDesk();
  readonly filterMark = new Int32Array(1);
  readonly helperBell = new HelperBell().buffer;
  readonly backend: BlockBackend;
  readonly #disk: OpenDisk<BackendSpec>;
  readonly #filters: DiskFilters;
  readonly #helpers: FilterHelpers;
  readonly #map = mapAnonymous(DEPTH * REQUEST_BYTES);
  readonly #requests: BlockRequest[];
  /** Of the disk, in requests. */
  readonly #blocks: number;
  #ring: IoUring | undefined;
  #inFlight = 0;
  #failed = 0;
  #begun: BlockRequest[] = [];
  #random = 1;

  /** @param base - folder from which paths in options start */
  constructor(backend: BackendOptions, filter: RigFilter | undefined, base: string) {
    const builtIns = filter === undefined ? {} : { [filter.definition.name]: filter.definition };
    this.#helpers = new FilterHelpers(this.helperBell, builtIns);
    this.#disk = openDisk(backend);
    const place = {
      vm: 'bench',
      device: 'disk',
      queues: 1,
      groups: new FilterGroups(),
      hold: async <T>(during: () => T | Promise<T>) => during(),
      connected: () => false,
      // What goes wrong is thrown.
      log() {},
    };
    this.#filters = new DiskFilters(place, this.#disk, filter === undefined ? [] : [ready(filter, base)]);
    const { spec, abilities } = this.#filters;
    const below = createBackend(this.#disk.spec, this);
    // As on a sidecore: a disk without filters has no chain.
    this.backend = spec === undefined ? below : createChain(spec, 0, below, builtIns, this);
    this.#blocks = Math.floor(abilities.sizeBytes / REQUEST_BYTES);
    const region = { guestAddress: 0, userAddress: 0, size: this.#map.length, hostAddress: this.#map.address };
    const memory = new GuestMemory([region]);
    this.#requests = Array.from({ length: DEPTH }, (_, i) => {
      const request = this.pool.take(0)!;
      const { segments } = request.chain;
      memory.translate(i * REQUEST_BYTES, 0, REQUEST_BYTES, segments);
      Object.assign(request, { memory, first: 0, end: segments.count });
      return request;
    });
  }

  uring(): IoUring | undefined {
    this.#ring ??= IoUring.create(256);
    return this.#ring;
  }

  makeHelper(setup: HelperSetup): void {
    this.#helpers.add(setup);
  }

  complete(_request: BlockRequest, status: number): void {
    this.#inFlight--;
    if (status !== Status.OK) this.#failed++;
  }

  /** Has so many requests of 4 KiB done, or a few more, at random places. Returns the CPU time of each, ns. Throws if one fails. */
  measure(does: 'read' | 'write', requests: number): number {
    const type = does === 'read' ? RequestType.IN : RequestType.OUT;
    const batches = Math.ceil(requests / DEPTH);
    const before = threadCpuNs();
    for (let i = 0; i < batches; i++) this.#batch(type);
    const ns = threadCpuNs() - before;
    if (this.#failed > 0) throw new Error(`${this.#failed} requests failed`);
    return ns / (batches * DEPTH);
  }

  /** Asks the filter's side on the main thread. */
  async ask(command: string, given: Readonly<Record<string, string>>): Promise<void> {
    await this.#filters.opened[0]!.commands[command]!(given);
  }

  #batch(type: number): void {
    for (let i = 0; i < DEPTH; i++) {
      const request = this.#requests[i]!;
      request.type = type;
      request.sector = (this.#next() % this.#blocks) * (REQUEST_BYTES / SECTOR_BYTES);
      request.dataBytes = REQUEST_BYTES;
      request.costBytes = REQUEST_BYTES;
      request.queue = this;
      this.#inFlight++;
      this.#take(request, type === RequestType.IN ? this.backend.read(request) : this.backend.write(request));
    }
    for (let turns = 0; this.#inFlight > 0; turns++) {
      if (turns === TURNS_MAX) throw new Error(`${this.#inFlight} requests do not complete`);
      this.#turn();
    }
  }

  #take(request: BlockRequest, status: number): void {
    if (status >= 0) this.complete(request, status);
    else if (status === MORE) this.#begun.push(request);
  }

  /** A turn of a sidecore. */
  #turn(): void {
    if (this.#begun.length > 0) {
      const begun = this.#begun;
      this.#begun = [];
      for (const request of begun) this.#take(request, this.backend.proceed!(request));
    }
    const ring = this.#ring;
    if (ring !== undefined) {
      ring.submit();
      const count = ring.inFlight === 0 ? 0 : ring.reap();
      for (let i = 0; i < count; i++) {
        const request = this.pool.requests[ring.completedData[i]!]!;
        request.queue!.backend.completed(request, ring.completedResult[i]!);
      }
    }
    if (this.filterDesk.busy) this.filterDesk.turn();
    this.#helpers.look();
  }

  #next(): number {
    // xorshift32
    let x = this.#random;
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    this.#random = x >>> 0;
    return this.#random;
  }

  async close(): Promise<void> {
    this.backend.close();
    await this.#filters.close();
    this.#ring?.close();
    this.#disk.close();
    unmap(this.#map);
  }
}

function ready({ definition, options }: RigFilter, base: string): ReadyFilter {
  const read = readOptions(definition, options);
  if ('faults' in read) throw new Error(read.faults.map(({ keys, text }) => `${keys.join('.')}: ${text}`).join('; '));
  return {
    definition,
    module: { kind: 'built-in', name: definition.name },
    lines: new SourceLines(),
    use: definition.name,
    options: read.options,
    onFault: 'closed',
    deferNsMax: 30e9,
    timeNsMax: Number.POSITIVE_INFINITY,
    base,
  };
}
