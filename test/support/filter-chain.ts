/** Chains of filters before a back end, without a daemon. */
import type { BlockBackend } from '../../src/block/backends/backend.js';
import { type ChainFilter, FilterChain } from '../../src/filter/chain.js';
import type { BlockFilterHooks } from '../../src/filter/contract.js';
import { ChainControl } from '../../src/filter/memory.js';
import type { FaultPolicy } from '../../src/filter/spec.js';

/** What a filter's memory says of it, in plain sight. */
export class Service {
  out = false;
  readonly faults: string[] = [];

  condemn(text: string): void {
    this.out = true;
    this.faults.push(text);
  }
}

export interface TestFilter extends ChainFilter {
  readonly memory: Service;
}

export function testFilter(
  hooks: BlockFilterHooks,
  onFault: FaultPolicy = 'closed',
  memory = new Service(),
): TestFilter {
  return { hooks, onFault, memory, file: undefined };
}

export function chainOf(
  filters: readonly TestFilter[],
  backend: BlockBackend,
  control = new ChainControl(),
): FilterChain {
  return new FilterChain(filters, control, backend);
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
