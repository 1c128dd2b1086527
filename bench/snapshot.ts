import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { createBackend, openDisk } from '../src/block/backends/index.js';
import { RequestType } from '../src/block/features.js';
import type { BlockRequest } from '../src/block/request.js';
import type { FilterChain } from '../src/filter/chain.js';
import { createChain } from '../src/filter/create.js';
import { BLOCK_FILTERS } from '../src/filters/block/index.js';
import { GuestMemory } from '../src/guest-memory/guest-memory.js';
import { mapAnonymous, unmap } from '../src/host/memory-map.js';
import { diskFilters, RigHost, readyFilter } from './filter-host.js';
import { median } from './report.js';

const DISK_BYTES = 64 * 2 ** 20;
const REQUEST_BYTES = 4096;
const REQUESTS = 2048;

export interface StoreCost {
  readonly name: string;
  /** Of one 4 KiB request at a time, random, each place once: ns, median of the rounds; and what was copied for it, bytes. */
  readonly firstWriteNs: number;
  readonly laterWriteNs: number;
  readonly readNs: number;
  readonly copiedBytes: number;
}

interface Case {
  readonly name: string;
  readonly filter?: { readonly use: string; readonly options: Record<string, unknown> };
  readonly readOnly?: boolean;
}

const clusters = [4096, 16384, 65536];
const CASES: readonly Case[] = [
  { name: 'none' },
  { name: 'snapshot, none made', filter: { use: 'snapshot', options: { path: 'none' } } },
  ...clusters.map((cluster) => ({
    name: `snapshot, one, clusters of ${cluster / 1024} KiB`,
    filter: { use: 'snapshot', options: { path: 'one', cluster } },
  })),
  ...clusters.map((cluster) => ({
    name: `overlay, clusters of ${cluster / 1024} KiB`,
    filter: { use: 'overlay', options: { path: 'top', cluster } },
    readOnly: true,
  })),
];

/** What writes and reads cost with stores, without ring and guest, on tmpfs, where nothing waits for a disk. */
export async function storeCosts(rounds: number): Promise<StoreCost[]> {
  const costs = CASES.map((one) => ({ one, results: [] as Omit<StoreCost, 'name'>[] }));
  // In turn, so that what else the machine does is everybody's.
  for (let round = 0; round < rounds; round++) for (const { one, results } of costs) results.push(await measure(one));
  return costs.map(({ one, results }) => {
    const of = (key: keyof Omit<StoreCost, 'name'>) => median(results.map((result) => result[key]));
    const firstWriteNs = of('firstWriteNs');
    return {
      name: one.name,
      firstWriteNs,
      laterWriteNs: of('laterWriteNs'),
      readNs: of('readNs'),
      copiedBytes: of('copiedBytes'),
    };
  });
}

/** Nothing waits for a disk. */
class WithoutRing extends RigHost {
  override uring(): undefined {}
}

async function measure({ filter, readOnly = false }: Case): Promise<Omit<StoreCost, 'name'>> {
  const base = mkdtempSync('/dev/shm/sidecore-bench-');
  const path = join(base, 'disk.img');
  writeFileSync(path, Buffer.alloc(DISK_BYTES, 0xa5));
  const disk = openDisk({ type: 'file', path, readOnly });
  const ready = filter === undefined ? [] : [readyFilter(BLOCK_FILTERS[filter.use]!, filter.options, { base })];
  const filters = diskFilters(disk, ready);
  const host = new WithoutRing(BLOCK_FILTERS);
  const { pool } = host;
  const backend = createBackend(disk.spec, host);
  const chain = filters.spec === undefined ? undefined : createChain(filters.spec, 0, backend, BLOCK_FILTERS, host);
  const map = mapAnonymous(REQUEST_BYTES);
  const memory = new GuestMemory([{ guestAddress: 0, userAddress: 0, size: REQUEST_BYTES, hostAddress: map.address }]);
  let done = false;
  const owner = {
    backend: chain ?? backend,
    complete: () => {
      done = true;
    },
  };
  const request = pool.take(0)!;
  const each = (type: number): number => {
    const start = process.hrtime.bigint();
    for (let i = 0; i < REQUESTS; i++) {
      // Each place of a random order once: the multiplier has no factor in common with the number of places.
      const sector = ((i * 4099) % (DISK_BYTES / REQUEST_BYTES)) * (REQUEST_BYTES / 512);
      fill(request, memory, type, sector);
      request.queue = owner;
      done = false;
      const target: Pick<FilterChain, 'read' | 'write'> = chain ?? backend;
      const answer = type === RequestType.IN ? target.read(request) : target.write(request);
      if (answer < 0) while (!done) host.filterDesk.turn();
    }
    return Number(process.hrtime.bigint() - start) / REQUESTS;
  };
  if (filter?.options['path'] === 'one') await filters.opened[0]!.commands['create']!({ name: 'one' });
  const firstWriteNs = each(RequestType.OUT);
  const laterWriteNs = each(RequestType.OUT);
  const readNs = each(RequestType.IN);
  const counters = filters.opened[0]?.memory.readCounters() ?? {};
  const copiedBytes = (counters['bytes_copied'] ?? counters['bytes_filled'] ?? 0) / REQUESTS;
  (chain ?? backend).close();
  host.turn();
  await filters.close();
  disk.close();
  unmap(map);
  rmSync(base, { recursive: true });
  return { firstWriteNs, laterWriteNs, readNs, copiedBytes };
}

function fill(request: BlockRequest, memory: GuestMemory, type: number, sector: number): void {
  const { segments } = request.chain;
  segments.count = 0;
  memory.translate(0, 0, REQUEST_BYTES, segments);
  Object.assign(request, {
    type,
    sector,
    memory,
    dataBytes: REQUEST_BYTES,
    costBytes: REQUEST_BYTES,
    first: 0,
    end: 1,
  });
}

// By itself: node dist/bench/snapshot.js [ROUNDS]
if (process.argv[1] === fileURLToPath(import.meta.url)) {
  for (const { name, ...cost } of await storeCosts(Number(process.argv[2] ?? 5))) {
    const numbers = Object.entries(cost).map(([key, value]) => `${key} ${Math.round(value)}`);
    process.stdout.write(`${name.padEnd(40)} ${numbers.join('  ')}\n`);
  }
}
