/**
 * What a pass-through filter costs each request: chains of several lengths before a null back end, in turn, in one thread that does
 * nothing else. Each filter is a copy of its own of a module's text, as the loader makes it. Prints a table, or JSON with --json.
 */
import { NullBackend } from '../src/block/backends/null/backend.js';
import { RequestType, SECTOR_BYTES, Status } from '../src/block/features.js';
import { BlockRequest, RequestPool } from '../src/block/request.js';
import { FilterChain } from '../src/filter/chain.js';
import { ChainFilter, type ChainFilterParts } from '../src/filter/chain-filter.js';
import type { BlockFilter, BlockFilterContext } from '../src/filter/contract.js';
import { evaluate } from '../src/filter/evaluate.js';
import { FilterDesk } from '../src/filter/filter-desk.js';
import { ChainControl } from '../src/filter/memory.js';

const LENGTHS = [0, 1, 2, 4, 8];
const ROUNDS = 15;
const REQUESTS = 1_000_000;
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
function measure(chain: FilterChain): number {
  let wrong = 0;
  const start = process.hrtime.bigint();
  for (let i = 0; i < REQUESTS; i++) {
    const request = pool[i % POOL]!;
    const status = request.type === RequestType.IN ? chain.read(request) : chain.write(request);
    if (status !== Status.OK) wrong++;
  }
  const ns = Number(process.hrtime.bigint() - start);
  if (wrong > 0) throw new Error(`${wrong} requests failed`);
  return ns / REQUESTS;
}

const sorted = (values: readonly number[]) => [...values].sort((one, other) => one - other);
const median = (values: readonly number[]) => sorted(values)[values.length >> 1]!;

const rows = Object.entries(MODULES).flatMap(([what, text]) => {
  const chains = LENGTHS.map((length) => ({ length, chain: chainOf(text, length), ns: [] as number[] }));
  // In turn, and the first rounds do not count: they have the code compiled.
  for (let round = -3; round < ROUNDS; round++) {
    for (const { chain, ns } of chains) {
      const took = measure(chain);
      if (round >= 0) ns.push(took);
    }
  }
  const base = median(chains[0]!.ns);
  return chains.map(({ length, ns }) => ({
    filter: what,
    length,
    ns: median(ns),
    least: sorted(ns)[0]!,
    most: sorted(ns).at(-1)!,
    ns_per_filter: length === 0 ? 0 : (median(ns) - base) / length,
  }));
});

if (process.argv.includes('--json')) console.log(JSON.stringify({ node: process.version, rows }));
else {
  console.log(`Node ${process.version}`);
  for (const { filter, length, ns, least, most, ns_per_filter } of rows)
    console.log(
      `${filter}, ${length} filters: ${ns.toFixed(2)} ns (${least.toFixed(2)} to ${most.toFixed(2)}), ${ns_per_filter.toFixed(2)} ns each`,
    );
}
