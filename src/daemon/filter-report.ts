import type { Histogram } from '../filter/histogram.js';
import type { FilterMemory } from '../filter/memory.js';
import type { SourceLines } from '../filter/source-lines.js';
import type { FaultPolicy } from '../filter/spec.js';
import type { FaultLog } from './fault-log.js';

/** A filter of a device of any kind, as far as the daemon tells of it. */
export interface ReportedFilter {
  readonly ready: {
    readonly use: string;
    readonly onFault: FaultPolicy;
    readonly lines: SourceLines;
    readonly written?: { readonly watch: boolean } | undefined;
  };
  readonly memory: FilterMemory;
  readonly spec: { readonly name: string };
  /** As a person reads it; of the last fault. */
  lastFault: string | null;
  status(): unknown;
}

/**
 * Reports what filters of a device have failed and said since the last time.
 *
 * @param outcome - what becomes of what they would have got, by their policy
 */
export function reportFilters(
  label: string,
  filters: readonly ReportedFilter[],
  outcome: Readonly<Record<FaultPolicy, string>>,
  faults: FaultLog,
): void {
  for (const [index, filter] of filters.entries()) {
    const { ready, memory } = filter;
    const fault = memory.faultNote.look();
    if (fault !== undefined) {
      const text = ready.lines.translate(fault);
      filter.lastFault = text;
      const so = outcome[ready.onFault];
      faults.add('FILTER_FAILED', `${label}: filter ${ready.use} failed and is out of service, ${so}: ${text}`);
    }
    const said = memory.logNote.look();
    if (said !== undefined) faults.note(`filter ${index}`, `${label}: filter ${ready.use}: ${said}`);
  }
}

/** What `status` shows of a filter. */
export function filterStatus(filter: ReportedFilter) {
  const { ready, memory, spec } = filter;
  return {
    use: ready.use,
    name: spec.name,
    on_fault: ready.onFault,
    in_service: !memory.out,
    faults: memory.faults,
    last_fault: filter.lastFault,
    time_ns: Math.round(memory.timeNs),
    counters: memory.readCounters(),
    histograms: Object.fromEntries(
      Object.entries(memory.readHistograms()).map(([name, histogram]) => [name, histogramStatus(histogram)]),
    ),
    watch: ready.written?.watch ?? false,
    state: filter.status(),
  };
}

/** Quantiles, by their names. */
const QUANTILES = { p50: 0.5, p90: 0.9, p99: 0.99, p999: 0.999, max: 1 } as const;

function histogramStatus(histogram: Histogram) {
  const quantiles = Object.entries(QUANTILES).map(([name, share]) => [name, Math.round(histogram.quantile(share))]);
  return { count: histogram.total, ...(Object.fromEntries(quantiles) as Record<keyof typeof QUANTILES, number>) };
}
