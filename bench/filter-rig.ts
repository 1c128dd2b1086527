import type { BlockBackend, OpenDisk } from '../src/block/backends/backend.js';
import { type BackendOptions, type BackendSpec, createBackend, openDisk } from '../src/block/backends/index.js';
import { RequestType, SECTOR_BYTES, Status } from '../src/block/features.js';
import type { BlockRequest, RequestOwner } from '../src/block/request.js';
import type { DiskFilters } from '../src/daemon/disk-filters.js';
import type { BlockFilter } from '../src/filter/contract.js';
import { createChain } from '../src/filter/create.js';
import { GuestMemory } from '../src/guest-memory/guest-memory.js';
import { threadCpuNs } from '../src/host/clock.js';
import { mapAnonymous, unmap } from '../src/host/memory-map.js';
import { diskFilters, RigHost, readyFilter } from './filter-host.js';

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
export class FilterRig implements RequestOwner {
  readonly #host: RigHost;
  readonly backend: BlockBackend;
  readonly #disk: OpenDisk<BackendSpec>;
  readonly #filters: DiskFilters;
  readonly #map = mapAnonymous(DEPTH * REQUEST_BYTES);
  readonly #requests: BlockRequest[];
  /** Of the disk, in requests. */
  readonly #blocks: number;
  #inFlight = 0;
  #failed = 0;
  #random = 1;

  /** @param base - folder from which paths in options start */
  constructor(backend: BackendOptions, filter: RigFilter | undefined, base: string) {
    const builtIns = filter === undefined ? {} : { [filter.definition.name]: filter.definition };
    this.#host = new RigHost(builtIns);
    this.#disk = openDisk(backend);
    const ready = filter === undefined ? [] : [readyFilter(filter.definition, filter.options, { base })];
    this.#filters = diskFilters(this.#disk, ready);
    const { spec, abilities } = this.#filters;
    const below = createBackend(this.#disk.spec, this.#host);
    // As on a sidecore: a disk without filters has no chain.
    this.backend = spec === undefined ? below : createChain(spec, 0, below, builtIns, this.#host);
    this.#blocks = Math.floor(abilities.sizeBytes / REQUEST_BYTES);
    const region = { guestAddress: 0, userAddress: 0, size: this.#map.length, hostAddress: this.#map.address };
    const memory = new GuestMemory([region]);
    this.#requests = Array.from({ length: DEPTH }, (_, i) => {
      const request = this.#host.pool.take(0)!;
      const { segments } = request.chain;
      memory.translate(i * REQUEST_BYTES, 0, REQUEST_BYTES, segments);
      Object.assign(request, { memory, first: 0, end: segments.count });
      return request;
    });
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
      this.#host.take(request, type === RequestType.IN ? this.backend.read(request) : this.backend.write(request));
    }
    for (let turns = 0; this.#inFlight > 0; turns++) {
      if (turns === TURNS_MAX) throw new Error(`${this.#inFlight} requests do not complete`);
      this.#host.turn();
    }
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
    this.#host.close();
    this.#disk.close();
    unmap(this.#map);
  }
}
