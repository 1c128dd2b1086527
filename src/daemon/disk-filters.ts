import type { BackendAbilities } from '../block/backends/backend.js';
import { assert, messageOf, SidecoreError } from '../errors.js';
import type { FilterAbilities } from '../filter/contract.js';
import type { Histogram } from '../filter/histogram.js';
import { ChainControl, FilterMemory } from '../filter/memory.js';
import type { ChainSpec, FilterSpec } from '../filter/spec.js';
import type { FilterConfig, ReadyFilter } from './config-filters.js';
import type { FaultLog } from './fault-log.js';

interface DiskFilter {
  readonly config: FilterConfig;
  readonly ready: ReadyFilter;
  readonly memory: FilterMemory;
  readonly spec: FilterSpec;
  /** As a person reads it in `status`; of the last fault. */
  lastFault: string | null;
}

/** The filters of one disk, as the daemon sees them. */
export class DiskFilters {
  /** For the sidecores; undefined if there are none. */
  readonly spec: ChainSpec | undefined;
  readonly #label: string;
  readonly #filters: readonly DiskFilter[];

  constructor(vm: string, device: string, queues: number, configs: readonly FilterConfig[]) {
    this.#label = `${vm}/${device}`;
    this.#filters = configs.map((config) => diskFilter(config, queues));
    if (configs.length === 0) return;
    const filters = this.#filters.map(({ spec }) => spec);
    this.spec = { vm, device, queues, control: new ChainControl().buffer, filters };
  }

  /** What the disk offers its guest, with all filters. Throws `FILTER_INVALID` if one cannot say it. */
  offer(below: BackendAbilities): BackendAbilities {
    let abilities = below;
    for (const { config, ready } of [...this.#filters].reverse()) {
      try {
        const change = ready.definition.offers?.(abilities, ready.options) ?? {};
        abilities = { ...abilities, ...onlyAbilities(change) };
      } catch (error) {
        const text = `offers() of the filter ${config.use} has thrown: ${messageOf(error)}`;
        throw new SidecoreError('FILTER_INVALID', text);
      }
    }
    return abilities;
  }

  /** To be called now and then: reports what filters have failed and said since the last time. */
  report(faults: FaultLog): void {
    for (const [index, filter] of this.#filters.entries()) {
      const { config, memory, ready } = filter;
      const fault = memory.faultNote.look();
      if (fault !== undefined) {
        filter.lastFault = ready.lines.translate(fault);
        const so = config.on_fault === 'open' ? 'requests pass it by' : 'its disk answers with errors';
        const text = `${this.#label}: filter ${config.use} failed and is out of service, ${so}: ${filter.lastFault}`;
        faults.add('FILTER_FAILED', text);
      }
      const said = memory.logNote.look();
      if (said !== undefined) faults.note(`filter ${index}`, `${this.#label}: filter ${config.use}: ${said}`);
    }
  }

  /** For `status`, in their order. */
  status() {
    return this.#filters.map(({ config, ready, memory, lastFault }) => ({
      use: config.use,
      name: ready.definition.name,
      on_fault: config.on_fault,
      in_service: !memory.out,
      faults: memory.faults,
      last_fault: lastFault,
      counters: memory.readCounters(),
      histograms: Object.fromEntries(
        Object.entries(memory.readHistograms()).map(([name, histogram]) => [name, histogramStatus(histogram)]),
      ),
    }));
  }
}

/** Numbers of filters are given once in the life of the process. */
let lastId = 0;

function diskFilter(config: FilterConfig, queues: number): DiskFilter {
  const { ready } = config;
  assert(ready !== undefined, 'the configuration has its filters loaded');
  const { name, counters = [], histograms = [], sharedBytes = 0 } = ready.definition;
  const memory = new FilterMemory({ counters, histograms, queues });
  const spec: FilterSpec = {
    id: ++lastId,
    name,
    counters,
    histograms,
    module: ready.module,
    options: ready.options,
    onFault: config.on_fault,
    memory: memory.buffer,
    shared: new SharedArrayBuffer(sharedBytes),
  };
  return { config, ready, memory, spec, lastFault: null };
}

/** Of what a filter says, which may be anything. */
function onlyAbilities(said: Partial<FilterAbilities>): Partial<FilterAbilities> {
  const known = ['readOnly', 'discard', 'writeZeroes', 'secureErase', 'inOrder'] as const;
  return Object.fromEntries(known.filter((key) => said[key] !== undefined).map((key) => [key, said[key] === true]));
}

/** Quantiles, by their names. */
const QUANTILES = { p50: 0.5, p90: 0.9, p99: 0.99, p999: 0.999, max: 1 } as const;

function histogramStatus(histogram: Histogram) {
  const quantiles = Object.entries(QUANTILES).map(([name, share]) => [name, Math.round(histogram.quantile(share))]);
  return { count: histogram.total, ...(Object.fromEntries(quantiles) as Record<keyof typeof QUANTILES, number>) };
}
