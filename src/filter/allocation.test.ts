/** Nothing is allocated per request, whatever way it takes: a sidecore must not collect garbage. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { chainFilter, passThrough, TestHost, testFilter } from '../../test/support/filter-chain.js';
import { NullBackend } from '../block/backends/null/backend.js';
import { RequestType, SECTOR_BYTES, Status } from '../block/features.js';
import type { BlockRequest, RequestOwner } from '../block/request.js';
import { meter } from '../filters/block/meter/filter.js';
import { FilterChain } from './chain.js';
import type { ChainFilter } from './chain-filter.js';
import { filterContext } from './context.js';
import { type BlockFilter, type BlockFilterContext, DEFERRED, defineBlockFilter } from './contract.js';
import { ChainControl, FilterMemory } from './memory.js';

const REQUESTS = 320_000;
/** Bytes of the heap that a request may cost: any object has more, and compiling code takes some now and then. */
const BYTES_MAX = 4;
const DEPTH = 16;
const SLICES = 10;

class Owner implements RequestOwner {
  readonly backend: FilterChain;
  readonly host: TestHost;
  done = 0;

  constructor(chain: FilterChain, host: TestHost) {
    this.backend = chain;
    this.host = host;
  }

  complete(request: BlockRequest): void {
    this.done++;
    this.host.pool.giveBack(request);
  }
}

type AnyBlockFilter = BlockFilter<never, never>;

/** A filter in a chain, with a context as on a sidecore. */
function filterOf(definition: AnyBlockFilter, options: object, chain: FilterChain, host: TestHost): ChainFilter {
  const { defers = false, counters = [], histograms = [] } = definition;
  const filter = chainFilter(testFilter({}, 'closed', undefined, { defers }));
  const memory = new FilterMemory({ counters, histograms, queues: 1 });
  const spec = {
    options,
    shared: new SharedArrayBuffer(0),
    group: new SharedArrayBuffer(0),
    belowBytes: 2 ** 30,
    disks: {},
  };
  const place = { vm: 'vm', device: 'disk', queues: 1 };
  const context = filterContext(spec as never, place as never, {
    chain,
    filter,
    memory,
    queue: 0,
    previous: undefined,
    openDisk: () => new NullBackend(),
    helper: undefined,
    now: host.filterDesk.now,
    readNowNs: host.filterDesk.readNowNs,
  });
  filter.hooks = definition.create(context as BlockFilterContext<never, never>);
  return filter;
}

/** Keeps every request until the next turn, on both ways. */
const keeper = defineBlockFilter({
  name: 'keeper',
  defers: true,
  create(context) {
    const tokens = new Float64Array(2 * DEPTH);
    const up = new Uint8Array(2 * DEPTH);
    let count = 0;
    const keep = (token: number, isUp: number) => {
      tokens[count] = token;
      up[count++] = isUp;
    };
    return {
      submit: (request) => keep(request.defer(), 0),
      complete(request) {
        keep(request.defer(), 1);
        return DEFERRED;
      },
      tick() {
        for (let left = count; left > 0; left--) {
          const token = tokens[0]!;
          const isUp = up[0]!;
          tokens.copyWithin(0, 1, count);
          up.copyWithin(0, 1, count);
          count--;
          if (isUp === 1) context.finish(token, Status.OK);
          else context.goOn(token);
        }
      },
    };
  },
});

/** Has an operation of its own for each request. */
const redirector = defineBlockFilter({
  name: 'redirector',
  defers: true,
  create(context) {
    const buffers = context.buffers(DEPTH, 4096);
    const tokens = new Float64Array(DEPTH);
    const taken = new Array<ReturnType<typeof buffers.take>>(DEPTH);
    return {
      submit(request) {
        const buffer = buffers.take()!;
        tokens[buffer.index] = request.defer();
        taken[buffer.index] = buffer;
        context.below.write(buffer, request.sector, SECTOR_BYTES, buffer.index);
      },
      done(tag, status) {
        buffers.giveBack(taken[tag]!);
        context.finish(tokens[tag]!, status);
      },
    };
  },
});

const chains: Record<string, (chain: FilterChain, host: TestHost) => ChainFilter[]> = {
  'filters that pass everything on': () =>
    [passThrough(), passThrough()].map((hooks) => chainFilter(testFilter(hooks))),
  'the meter': (chain, host) => [filterOf(meter as AnyBlockFilter, { latency: true }, chain, host)],
  'a filter that keeps requests': (chain, host) => [filterOf(keeper as AnyBlockFilter, {}, chain, host)],
  'a filter with operations of its own, before one that passes on': (chain, host) => [
    filterOf(redirector as AnyBlockFilter, {}, chain, host),
    chainFilter(testFilter(passThrough())),
  ],
};

describe('a request costs no memory behind', () => {
  for (const [what, make] of Object.entries(chains))
    it(what, () => {
      const host = new TestHost();
      const chain = new FilterChain(new ChainControl(), new NullBackend(), host);
      chain.filters = make(chain, host);
      const owner = new Owner(chain, host);
      const run = (requests: number) => {
        for (let begun = 0; begun < requests; begun += DEPTH) {
          for (let i = 0; i < DEPTH; i++) {
            const request = host.pool.take(0)!;
            request.type = RequestType.OUT;
            request.sector = i;
            request.queue = owner;
            const answer = chain.write(request);
            if (answer >= 0) owner.complete(request);
          }
          while (host.filterDesk.busy) host.filterDesk.turn();
        }
      };
      run(REQUESTS);
      let bytes = 0;
      for (let slice = 0; slice < SLICES; slice++) {
        const before = process.memoryUsage().heapUsed;
        run(REQUESTS / SLICES);
        // What a collection has taken away meanwhile does not count.
        bytes += Math.max(0, process.memoryUsage().heapUsed - before) / REQUESTS;
      }
      assert.equal(owner.done, 2 * REQUESTS);
      for (const { memory } of chain.filters) assert.equal(memory.out, false);
      assert.ok(bytes < BYTES_MAX, `${bytes.toFixed(1)} bytes a request`);
    });
});
