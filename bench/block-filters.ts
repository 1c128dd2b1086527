/**
 * What `mirror`, `cache` and `verify` cost each request of 4 KiB: one queue's chain in one thread that does nothing else, 16 requests in
 * flight, random blocks of a disk; in turn with the same disk without a filter. Prints a table, or JSON with --json.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type BackendOptions, createBackend, openDisk } from '../src/block/backends/index.js';
import { RequestType, SECTOR_BYTES, Status } from '../src/block/features.js';
import type { BlockRequest } from '../src/block/request.js';
import type { DiskFilters } from '../src/daemon/disk-filters.js';
import { createChain } from '../src/filter/create.js';
import { BLOCK_FILTERS } from '../src/filters/block/index.js';
import { checksum } from '../src/filters/block/verify/checksum.js';
import { GuestMemory } from '../src/guest-memory/guest-memory.js';
import { mapAnonymous } from '../src/host/memory-map.js';
import { diskFilters, RigHost, readyFilter } from './filter-host.js';

const DISK_BYTES = 64 * 2 ** 20;
const REQUEST_BYTES = 4096;
const DEPTH = 16;

export interface FilterCost {
  readonly backend: 'memory' | 'file';
  readonly filter: string;
  readonly what: 'read' | 'write';
  /** ns a request: median, least and most of all rounds. */
  readonly ns: number;
  readonly least: number;
  readonly most: number;
}

class Side {
  readonly ns: number[] = [];
  readonly #requests: BlockRequest[];
  readonly #chain;
  readonly #host = new RigHost(BLOCK_FILTERS);
  readonly #filters: DiskFilters;
  readonly #disk;
  readonly #free: BlockRequest[] = [];
  #failed = 0;
  #next = 1;

  constructor(backend: BackendOptions, use: string | undefined, given: Record<string, unknown>) {
    this.#disk = openDisk(backend);
    const { abilities } = this.#disk;
    const fill = Buffer.alloc(2 ** 20, 'data ');
    for (let at = 0; at < abilities.sizeBytes; at += fill.length) this.#disk.image.write(at, fill);
    const ready = use === undefined ? [] : [readyFilter(BLOCK_FILTERS[use]!, given, { timeNsMax: 1e9 })];
    this.#filters = diskFilters(this.#disk, ready);
    const end = createBackend(this.#disk.spec, this.#host);
    const { spec } = this.#filters;
    this.#chain = spec === undefined ? end : createChain(spec, 0, end, BLOCK_FILTERS, this.#host);
    const map = mapAnonymous(DEPTH * REQUEST_BYTES);
    const memory = new GuestMemory([{ guestAddress: 0, userAddress: 0, size: map.length, hostAddress: map.address }]);
    const owner = {
      backend: this.#chain,
      complete: (request: BlockRequest, status: number) => {
        if (status !== Status.OK) this.#failed++;
        this.#free.push(request);
      },
    };
    this.#requests = Array.from({ length: DEPTH }, (_, i) => {
      const request = this.#host.pool.take(0)!;
      memory.translate(i * REQUEST_BYTES, 0, REQUEST_BYTES, request.chain.segments);
      request.end = request.chain.segments.count;
      Object.assign(request, { memory, dataBytes: REQUEST_BYTES, costBytes: REQUEST_BYTES, queue: owner });
      return request;
    });
    this.#free.push(...this.#requests);
    this.#owner = owner;
  }

  readonly #owner;

  /** ns a request. */
  run(type: number, count: number): number {
    const blocks = DISK_BYTES / REQUEST_BYTES;
    const start = process.hrtime.bigint();
    let begun = 0;
    for (let ended = 0; ended < count; ) {
      while (this.#free.length > 0 && begun < count) {
        const request = this.#free.pop()!;
        this.#next = (Math.imul(this.#next, 1_103_515_245) + 12_345) >>> 0;
        request.type = type;
        request.sector = ((this.#next >>> 8) % blocks) * (REQUEST_BYTES / SECTOR_BYTES);
        request.queue = this.#owner;
        begun++;
        this.#host.take(request, type === RequestType.IN ? this.#chain.read(request) : this.#chain.write(request));
      }
      this.#host.turn();
      ended = begun - (DEPTH - this.#free.length);
    }
    const ns = Number(process.hrtime.bigint() - start);
    if (this.#failed > 0) throw new Error(`${this.#failed} requests failed`);
    return ns / count;
  }

  /** Until a mirror is equal, and nothing of its own is in flight. */
  async settle(): Promise<void> {
    for (;;) {
      const [status] = this.#filters.status();
      if ((status?.state as { phase?: string } | null)?.phase !== 'copying') return;
      this.#host.turn();
    }
  }

  async close(): Promise<void> {
    while (this.#chain.quiesce?.() === false) this.#host.turn();
    this.#chain.close();
    this.#host.close();
    await this.#filters.close();
    this.#disk.close();
  }
}

/** Measures all of them. */
export async function blockFilterCosts(rounds = 9, requests = 20_000): Promise<FilterCost[]> {
  const folder = mkdtempSync(join(tmpdir(), 'sidecore-bench-'));
  const rows: FilterCost[] = [];
  let files = 0;
  const fileAt = (): BackendOptions => ({ type: 'file', path: join(folder, `${files++}.img`), size: DISK_BYTES });
  try {
    for (const backend of ['memory', 'file'] as const) {
      const options = (): BackendOptions => (backend === 'memory' ? { type: 'memory', size: DISK_BYTES } : fileAt());
      const second = () =>
        backend === 'memory' ? { type: 'memory' } : { type: 'file', path: join(folder, `${files++}.img`) };
      const sides: [string, Side][] = [
        ['none', new Side(options(), undefined, {})],
        ['mirror', new Side(options(), 'mirror', { to: second(), resync_rate: '64GiB' })],
        ['cache', new Side(options(), 'cache', { size: '128MiB' })],
        ['cache, writes around', new Side(options(), 'cache', { size: '128MiB', writes: 'around' })],
        ['verify', new Side(options(), 'verify', { sums: join(folder, `${files++}.sums`) })],
      ];
      for (const [, side] of sides) await side.settle();
      for (const what of ['read', 'write'] as const) {
        const type = what === 'read' ? RequestType.IN : RequestType.OUT;
        // In turn; the first rounds have the code compiled, the cache filled, and the checksums learned.
        for (let round = -3; round < rounds; round++)
          for (const [, side] of sides) {
            const ns = side.run(type, round < 0 ? 2 * requests : requests);
            if (round >= 0) side.ns.push(ns);
          }
        for (const [filter, side] of sides) {
          const sorted = side.ns.splice(0).sort((one, other) => one - other);
          rows.push({
            backend,
            filter,
            what,
            ns: sorted[sorted.length >> 1]!,
            least: sorted[0]!,
            most: sorted.at(-1)!,
          });
        }
      }
      for (const [, side] of sides) await side.close();
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
  return rows;
}

/** ns for the checksum of one block of 4 KiB: median, least and most. */
export function checksumCost(rounds = 9, count = 50_000): { ns: number; least: number; most: number } {
  const words = Int32Array.from({ length: 1024 }, (_, i) => Math.imul(i, 0x9e3779b1));
  const times: number[] = [];
  let sum = 0;
  for (let round = -2; round < rounds; round++) {
    const start = process.hrtime.bigint();
    for (let i = 0; i < count; i++) {
      words[i & 1023] = words[i & 1023]! ^ i;
      sum ^= checksum(words, 0);
    }
    if (round >= 0) times.push(Number(process.hrtime.bigint() - start) / count);
  }
  if (sum === 0.5) throw new Error('never');
  times.sort((one, other) => one - other);
  return { ns: times[times.length >> 1]!, least: times[0]!, most: times.at(-1)! };
}

if (import.meta.filename === process.argv[1]) {
  const sum = checksumCost();
  const rows = await blockFilterCosts();
  if (process.argv.includes('--json')) console.log(JSON.stringify({ node: process.version, checksum: sum, rows }));
  else {
    console.log(`Node ${process.version}`);
    const show = ({ ns, least, most }: { ns: number; least: number; most: number }) =>
      `${ns.toFixed(0)} ns (${least.toFixed(0)} to ${most.toFixed(0)})`;
    console.log(`checksum of 4 KiB: ${show(sum)}`);
    for (const row of rows) console.log(`${row.backend}, ${row.filter}, ${row.what}: ${show(row)}`);
  }
}
