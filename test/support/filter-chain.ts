/** Chains of filters before a back end, without a daemon. */
import type { BlockBackend } from '../../src/block/backends/backend.js';
import { RequestPool } from '../../src/block/request.js';
import { FilterChain } from '../../src/filter/chain.js';
import { ChainFilter, type ChainFilterParts } from '../../src/filter/chain-filter.js';
import type { BlockFilterHooks } from '../../src/filter/contract.js';
import { FilterDesk } from '../../src/filter/filter-desk.js';
import { ChainControl } from '../../src/filter/memory.js';
import type { FaultPolicy } from '../../src/filter/spec.js';
import type { ChainHost } from '../../src/filter/walk-owner.js';
import { REQUESTS_IN_FLIGHT_MAX } from '../../src/limits.js';

/** What a filter's memory says of it, in plain sight. */
export class Service {
  out = false;
  readonly faults: string[] = [];
  readonly times: number[] = [];

  condemn(text: string): void {
    this.out = true;
    this.faults.push(text);
  }

  noteFault(text: string): void {
    this.faults.push(text);
  }

  noteTime(ns: number): boolean {
    this.times.push(ns);
    return false;
  }
}

export interface TestFilter extends ChainFilterParts {
  readonly hooks: BlockFilterHooks;
  readonly memory: Service;
}

let lastId = 0;

export function testFilter(
  hooks: BlockFilterHooks,
  onFault: FaultPolicy = 'closed',
  memory = new Service(),
  more: { defers?: boolean; deferNsMax?: number } = {},
): TestFilter {
  return { id: ++lastId, hooks, onFault, memory, file: undefined, defers: false, deferNsMax: 1e9, ...more };
}

/** A sidecore, as far as chains know it. */
export class TestHost implements ChainHost {
  readonly pool = new RequestPool(REQUESTS_IN_FLIGHT_MAX);
  readonly filterMark = new Int32Array(1);
  /** Its time, ns. */
  readonly clock = new Float64Array([1e12]);
  readonly filterDesk = new FilterDesk((into, slot) => {
    into[slot] = this.clock[0]!;
  });
}

export function chainFilter(filter: TestFilter): ChainFilter {
  const made = new ChainFilter(filter);
  made.hooks = filter.hooks;
  return made;
}

export function chainOf(
  filters: readonly TestFilter[],
  backend: BlockBackend,
  control = new ChainControl(),
  host: ChainHost = new TestHost(),
): FilterChain {
  const chain = new FilterChain(control, backend, host);
  chain.filters = filters.map(chainFilter);
  return chain;
}

/** Passes everything on, both ways. Each is a function of its own. */
export function passThrough(): BlockFilterHooks {
  return {
    submit(request, next) {
      next(request);
    },
    complete(_request, status) {
      return status;
    },
  };
}
