/**
 * What throttle, trace and fault cost each request, when they do nothing and when they act: one chain each before a null back end, in
 * turn, in one thread that does nothing else. By itself it prints a table, or JSON with --json.
 */
import { realpathSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { PENDING } from '../src/block/backends/backend.js';
import { createBackend, openDisk } from '../src/block/backends/index.js';
import { RequestType, SECTOR_BYTES } from '../src/block/features.js';
import type { BlockRequest, RequestOwner } from '../src/block/request.js';
import type { FilterChain } from '../src/filter/chain.js';
import { createChain } from '../src/filter/create.js';
import type { FilterDesk } from '../src/filter/filter-desk.js';
import { BLOCK_FILTERS } from '../src/filters/block/index.js';
import { readNowNs } from '../src/host/clock.js';
import { diskFilters, RigHost, readyFilter } from './filter-host.js';

/** One way to use one of them. */
export interface ToolCase {
  readonly name: string;
  readonly use: string;
  readonly options: Readonly<Record<string, unknown>>;
}

const TOOL_CASES: readonly ToolCase[] = [
  { name: 'throttle, no limit', use: 'throttle', options: { group: 'free' } },
  { name: 'throttle, limit not reached', use: 'throttle', options: { iops: 1e9, bps: '1000GB', burst: 10 } },
  { name: 'throttle, every request waits', use: 'throttle', options: { iops: 1e6, burst_requests: 1 } },
  { name: 'trace, stopped', use: 'trace', options: { recording: false } },
  { name: 'trace, recording', use: 'trace', options: {} },
  { name: 'fault, no rules', use: 'fault', options: {} },
  { name: 'fault, a rule for other sectors', use: 'fault', options: { rules: [{ sectors: [1e6, 2e6], do: 'error' }] } },
  { name: 'fault, a rule that never meets', use: 'fault', options: { rules: [{ probability: 0, do: 'error' }] } },
  { name: 'fault, every request fails', use: 'fault', options: { rules: [{ do: 'error' }] } },
  { name: 'fault, every request is late', use: 'fault', options: { rules: [{ do: { delay: '1us' } }] } },
];

/** ns a request, of each round. */
export interface ToolRow {
  readonly name: string;
  readonly rounds: readonly number[];
}

const DEPTH = 32;
/** Rounds that do not count: they have the code compiled. */
const WARM_UP = 3;
/** Between two turns time goes on by so much besides: what waits is due in the next turn. */
const TURN_NS = DEPTH * 1000;

/** A queue with at most one filter, without guest or ring. */
class ToolRig implements RequestOwner {
  readonly #chain: FilterChain;
  readonly #requests: readonly BlockRequest[];
  readonly #desk: FilterDesk;
  readonly #ahead = new Float64Array(1);
  #inFlight = 0;

  constructor(one?: ToolCase) {
    const disk = openDisk({ type: 'null', size: 2 ** 30 });
    const filters = diskFilters(disk, one === undefined ? [] : [ready(one)]);
    const host = new RigHost(BLOCK_FILTERS, (into, slot) => {
      readNowNs(into, slot);
      into[slot] = into[slot]! + this.#ahead[0]!;
    });
    this.#desk = host.filterDesk;
    const none = { vm: 'bench', device: 'disk', queues: 1, control: new SharedArrayBuffer(4), filters: [] };
    this.#chain = createChain(filters.spec ?? none, 0, createBackend(disk.spec, host), BLOCK_FILTERS, host);
    this.#requests = Array.from({ length: DEPTH }, (_, slot) => {
      const request = host.pool.take(0)!;
      request.type = slot % 2 === 0 ? RequestType.IN : RequestType.OUT;
      request.sector = slot * 8;
      request.dataBytes = 8 * SECTOR_BYTES;
      return request;
    });
  }

  get backend(): FilterChain {
    return this.#chain;
  }

  complete(): void {
    this.#inFlight--;
  }

  /** ns a request. */
  measure(count: number): number {
    const start = process.hrtime.bigint();
    for (let done = 0; done < count; done += DEPTH) {
      for (let i = 0; i < DEPTH; i++) {
        const request = this.#requests[i]!;
        request.queue = this;
        const { type } = request;
        const answer = type === RequestType.IN ? this.#chain.read(request) : this.#chain.write(request);
        if (answer === PENDING) this.#inFlight++;
      }
      while (this.#inFlight > 0) {
        this.#ahead[0]! += TURN_NS;
        this.#desk.turn();
      }
    }
    return Number(process.hrtime.bigint() - start) / count;
  }
}

const ready = ({ use, options }: ToolCase) =>
  readyFilter(BLOCK_FILTERS[use]!, options, { deferNsMax: Number.POSITIVE_INFINITY });

/** The chain without a filter first. */
export function measureTools(rounds: number, count: number): ToolRow[] {
  const rigs = [
    { name: 'no filter', rig: new ToolRig() },
    ...TOOL_CASES.map((one) => ({ name: one.name, rig: new ToolRig(one) })),
  ].map((one) => ({ ...one, rounds: [] as number[] }));
  for (let round = -WARM_UP; round < rounds; round++)
    for (const one of rigs) {
      const took = one.rig.measure(count);
      if (round >= 0) one.rounds.push(took);
    }
  return rigs.map(({ name, rounds }) => ({ name, rounds }));
}

if (process.argv[1] !== undefined && realpathSync(process.argv[1]) === fileURLToPath(import.meta.url)) {
  const rows = measureTools(9, 200_000);
  if (process.argv.includes('--json')) console.log(JSON.stringify({ node: process.version, rows }));
  else {
    console.log(`Node ${process.version}`);
    for (const { name, rounds } of rows) {
      const sorted = rounds.toSorted((one, other) => one - other);
      const [least, middle, most] = [sorted[0]!, sorted[sorted.length >> 1]!, sorted.at(-1)!];
      console.log(`${name}: ${middle.toFixed(1)} ns (${least.toFixed(1)} to ${most.toFixed(1)})`);
    }
  }
}
