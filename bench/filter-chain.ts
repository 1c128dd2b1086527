/**
 * What a pass-through filter costs each request: chains of several lengths before a null back end, in turn, in one thread that does
 * nothing else. Each filter is a copy of its own of a module's text, as the loader makes it. By itself it prints a table, or JSON with
 * --json.
 */
import { realpathSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { NullBackend } from '../src/block/backends/null/backend.js';
import { RequestType, SECTOR_BYTES, Status } from '../src/block/features.js';
import { BlockRequest, RequestPool } from '../src/block/request.js';
import { FilterChain } from '../src/filter/chain.js';
import { ChainFilter, type ChainFilterParts } from '../src/filter/chain-filter.js';
import type { BlockFilter, BlockFilterContext } from '../src/filter/contract.js';
import { evaluate } from '../src/filter/evaluate.js';
import { FilterDesk } from '../src/filter/filter-desk.js';
import { ChainControl } from '../src/filter/memory.js';

/** A chain, as it was measured. */
export interface ChainRow {
  /** What its filters do. */
  readonly filter: string;
  /** What goes through, where that differs. */
  readonly through?: string;
  readonly length: number;
  /** ns for each request or frame, of each round. */
  readonly rounds: readonly number[];
}

export const CHAIN_LENGTHS = [0, 1, 2, 4, 8];
/** Rounds that do not count: they have the code compiled. */
export const CHAIN_WARM_UP = 3;
/** As many as a busy queue has in flight. */
const POOL = 64;

const MODULES = {
  'down and up': `module.exports.default = { name: 'pass', create: () => ({
    submit(request, next) { next(request); },
    complete(request, status) { return status; },
  }) };`,
  'down only': `module.exports.default = { name: 'pass', create: () => ({
    submit(request, next) { next(request); },
  }) };`,
};

const service = {
  out: false,
  condemn(text: string): void {
    throw new Error(text);
  },
  noteFault(text: string): void {
    throw new Error(text);
  },
  noteTime: () => false,
};

const host = { pool: new RequestPool(POOL), filterDesk: new FilterDesk(), filterMark: new Int32Array(1) };

function chainOf(text: string, length: number): FilterChain {
  const chain = new FilterChain(new ChainControl(), new NullBackend(), host);
  chain.filters = Array.from({ length }, (_, at) => {
    const definition = evaluate(text, 'pass.js') as BlockFilter;
    const parts = { id: at + 1, onFault: 'closed', memory: service, file: 'pass.js', defers: false, deferNsMax: 1 };
    const filter = new ChainFilter(parts as ChainFilterParts);
    filter.hooks = definition.create({} as BlockFilterContext);
    return filter;
  });
  return chain;
}

const pool = Array.from({ length: POOL }, (_, slot) => {
  const request = new BlockRequest(slot);
  request.type = slot % 2 === 0 ? RequestType.IN : RequestType.OUT;
  request.sector = slot * 8;
  request.dataBytes = 8 * SECTOR_BYTES;
  return request;
});

/** ns a request. */
function measure(chain: FilterChain, requests: number): number {
  let wrong = 0;
  const start = process.hrtime.bigint();
  for (let i = 0; i < requests; i++) {
    const request = pool[i % POOL]!;
    const status = request.type === RequestType.IN ? chain.read(request) : chain.write(request);
    if (status !== Status.OK) wrong++;
  }
  const ns = Number(process.hrtime.bigint() - start);
  if (wrong > 0) throw new Error(`${wrong} requests failed`);
  return ns / requests;
}

/** Measures all chains in turn, a number of rounds. */
export function measureChains({ rounds = 15, requests = 1_000_000 } = {}): ChainRow[] {
  return Object.entries(MODULES).flatMap(([filter, text]) => {
    const chains = CHAIN_LENGTHS.map((length) => ({ length, chain: chainOf(text, length), taken: [] as number[] }));
    for (let round = -CHAIN_WARM_UP; round < rounds; round++) {
      for (const { chain, taken } of chains) {
        const ns = measure(chain, requests);
        if (round >= 0) taken.push(ns);
      }
    }
    return chains.map(({ length, taken }) => ({ filter, length, rounds: taken }));
  });
}

/** What each of a chain's filters adds, ns, round by round, against the chain of none that was measured in the same round. */
export function nsPerFilter(row: ChainRow, rows: readonly ChainRow[]): number[] {
  const none = rows.find(
    ({ filter, through, length }) => length === 0 && filter === row.filter && through === row.through,
  )!;
  return row.rounds.map((ns, round) => (ns - none.rounds[round]!) / row.length);
}

/** Tells what was measured, for a person or for a program. */
export function printChains(rows: readonly ChainRow[], json: boolean): void {
  if (json) {
    console.log(JSON.stringify({ node: process.version, rows }));
    return;
  }
  console.log(`Node ${process.version}`);
  for (const row of rows) {
    const { filter, through, length } = row;
    const sorted = [...row.rounds].sort((one, other) => one - other);
    const [ns, least, most] = [sorted[sorted.length >> 1]!, sorted[0]!, sorted.at(-1)!].map((one) => one.toFixed(2));
    const each = length === 0 ? [0] : nsPerFilter(row, rows).sort((one, other) => one - other);
    const what = through === undefined ? filter : `${filter}, ${through}`;
    console.log(
      `${what}, ${length} filters: ${ns} ns (${least} to ${most}), ${each[each.length >> 1]!.toFixed(2)} ns each`,
    );
  }
}

if (process.argv[1] !== undefined && realpathSync(process.argv[1]) === fileURLToPath(import.meta.url))
  printChains(measureChains(), process.argv.includes('--json'));
