import type { DaemonStatus } from '../daemon/daemon.js';
import { Histogram } from '../filter/histogram.js';
import type { LoadCounters } from '../guest/load-counters.js';

/** What a guest has counted in some time. */
export interface Counts {
  readonly requests: number;
  readonly errors: number;
  readonly checked: number;
  readonly mismatches: number;
  readonly kicks: number;
  readonly latency: Histogram;
}

/** A copy of counters that go on. */
export function countsOf({ requests, errors, checked, mismatches, kicks, latency }: LoadCounters): Counts {
  return { requests, errors, checked, mismatches, kicks, latency: latency.copy() };
}

/** What was counted between two moments; since the counters were cleared, if they were in between. */
export function countsBetween(earlier: Counts, later: Counts): Counts {
  if (later.requests < earlier.requests || later.kicks < earlier.kicks) return later;
  return {
    requests: later.requests - earlier.requests,
    errors: later.errors - earlier.errors,
    checked: later.checked - earlier.checked,
    mismatches: later.mismatches - earlier.mismatches,
    kicks: later.kicks - earlier.kicks,
    latency: later.latency.since(earlier.latency),
  };
}

/** What all guests together have counted. */
export function countsOfAll(guests: readonly Counts[]): Counts {
  const sum = (pick: (counts: Counts) => number) => guests.reduce((total, counts) => total + pick(counts), 0);
  const latency = new Histogram();
  for (const guest of guests) latency.merge(guest.latency);
  return {
    requests: sum((counts) => counts.requests),
    errors: sum((counts) => counts.errors),
    checked: sum((counts) => counts.checked),
    mismatches: sum((counts) => counts.mismatches),
    kicks: sum((counts) => counts.kicks),
    latency,
  };
}

/** One line of the table. */
export interface Figures {
  readonly name: string;
  readonly iops: number;
  /** Millions of bytes a second. */
  readonly mb_per_s: number;
  readonly p50_us: number;
  readonly p99_us: number;
  readonly p999_us: number;
  readonly kicks_per_request: number;
  /** Null while the daemon has not been asked twice. */
  readonly calls_per_request: number | null;
  readonly requests: number;
  readonly checked: number;
  readonly mismatches: number;
  readonly errors: number;
}

export function figuresOf(
  name: string,
  counts: Counts,
  seconds: number,
  requestBytes: number,
  callsPerRequest: number | null,
): Figures {
  const { requests, checked, mismatches, errors, kicks, latency } = counts;
  const us = (share: number) => latency.quantile(share) / 1000;
  return {
    name,
    iops: requests / seconds,
    mb_per_s: (requests * requestBytes) / seconds / 1e6,
    p50_us: us(0.5),
    p99_us: us(0.99),
    p999_us: us(0.999),
    kicks_per_request: requests === 0 ? 0 : kicks / requests,
    calls_per_request: callsPerRequest,
    requests,
    checked,
    mismatches,
    errors,
  };
}

type Queue = DaemonStatus['vms'][string][string]['queues'][number];

/** Calls for each request between two looks at the daemon: of one VM, or of all. */
export function callsPerRequest(earlier: DaemonStatus, later: DaemonStatus, vm?: string): number | null {
  const grown = (pick: (queue: Queue) => number) => total(later, pick, vm) - total(earlier, pick, vm);
  const requests = grown((queue) => queue.requests);
  return requests > 0 ? grown((queue) => queue.calls) / requests : null;
}

/** Adds something up over the queues of one VM, or of all. */
export function total(status: DaemonStatus, pick: (queue: Queue) => number, vm?: string): number {
  return Object.entries(status.vms)
    .filter(([name]) => vm === undefined || name === vm)
    .flatMap(([, disks]) => Object.values(disks).flatMap(({ queues }) => queues))
    .reduce((sum, queue) => sum + pick(queue), 0);
}

/**
 * The share of the sidecores' CPUs that was spent in turns with work, between two looks. The rest was looking at empty
 * rings, or sleeping and waking. Threads that share a CPU count together.
 */
export function workShare(earlier: DaemonStatus, later: DaemonStatus): number | null {
  let busyNs = 0;
  let allNs = 0;
  for (const [index, core] of later.cores.entries()) {
    const before = earlier.cores[index]!;
    busyNs += core.busy_ns - before.busy_ns;
    allNs += core.busy_ns + core.empty_ns + core.asleep_ns - before.busy_ns - before.empty_ns - before.asleep_ns;
  }
  const cpus = new Set(later.cores.flatMap((core) => core.cpus)).size;
  return allNs > 0 ? Math.min(1, ((busyNs / allNs) * later.cores.length) / cpus) : null;
}

/** Everything that went wrong, one line each; nothing if all is well. */
export function problemsOf(guests: readonly Figures[], status: DaemonStatus): string[] {
  const problems: string[] = [];
  for (const { name, mismatches, errors } of guests) {
    if (mismatches > 0) problems.push(`${name}: ${mismatches} reads gave other data than were written last`);
    if (errors > 0) problems.push(`${name}: ${errors} requests failed`);
  }
  for (const [vm, disks] of Object.entries(status.vms)) {
    for (const { last_fault } of Object.values(disks)) {
      if (last_fault !== null) problems.push(`${vm}: ${last_fault.text} [${last_fault.code}]`);
    }
  }
  const deaths = status.cores.reduce((sum, core) => sum + core.deaths, 0);
  if (deaths > 0) problems.push(`a sidecore died ${deaths} times`);
  return problems;
}
