import { ScheduleCounter } from '../scheduler/counters.js';
import type { SimCore } from './core.js';
import type { GuestThread } from './guest-thread.js';
import type { SimQueue } from './queue.js';
import type { Tally } from './tally.js';

/** What guests of one class had together. */
export interface ClassResult {
  readonly name: string;
  readonly guests: number;
  readonly requests: number;
  readonly perSecond: number;
  readonly bytesPerSecond: number;
  readonly p50Ns: number;
  readonly p99Ns: number;
  readonly p999Ns: number;
  readonly maxNs: number;
  readonly kicksPerSecond: number;
  readonly callsPerSecond: number;
  readonly kicksPerRequest: number;
  readonly callsPerRequest: number;
}

/** What one guest had. */
export interface GuestResult {
  readonly class: string;
  readonly weight: number;
  readonly perSecond: number;
  readonly bytesPerSecond: number;
  /** Time that the scheduler charged it, as a share of the time counted. */
  readonly timeShare: number;
  /** The longest that the scheduler saw its queue wait, ns, and how often it was found stuck and cut short by its budget. */
  readonly waitMaxNs: number;
  readonly stuck: number;
  readonly limited: number;
  /** Requests of each of its devices, with those that are not counted. */
  readonly devices: readonly number[];
}

/** What a core did with its time, shares. */
export interface CoreResult {
  readonly busy: number;
  readonly empty: number;
  readonly asleep: number;
  readonly queues: number;
}

export interface Result {
  readonly seed: number;
  readonly seconds: number;
  readonly perSecond: number;
  readonly bytesPerSecond: number;
  readonly classes: readonly ClassResult[];
  readonly guests: readonly GuestResult[];
  readonly cores: readonly CoreResult[];
  /** Sidecores in use, on the average, with the time that is not counted; and devices that were moved between them. */
  readonly coresUsed: number;
  readonly moves: number;
  /** Share of time in which the guests' threads did something. */
  readonly loadBusy: readonly number[];
  readonly events: number;
  /** Of all events: the same whenever this run is repeated. */
  readonly trace: string;
}

/** A guest, with what it had and where its requests go. */
export interface GuestRecord {
  readonly name: string;
  readonly weight: number;
  readonly tally: Tally;
  readonly queues: readonly SimQueue[];
}

export function classResults(guests: readonly GuestRecord[], seconds: number): ClassResult[] {
  const names = [...new Set(guests.map(({ name }) => name))];
  return names.map((name) => {
    const tallies = guests.filter((one) => one.name === name).map(({ tally }) => tally);
    const sum = (pick: (tally: Tally) => number) => tallies.reduce((total, tally) => total + pick(tally), 0);
    const latencies = Float64Array.from(tallies.flatMap(({ latencies }) => latencies)).sort();
    const [requests, kicks, calls] = [sum((one) => one.requests), sum((one) => one.kicks), sum((one) => one.calls)];
    return {
      name,
      guests: tallies.length,
      requests,
      perSecond: requests / seconds,
      bytesPerSecond: sum((one) => one.bytes) / seconds,
      p50Ns: quantile(latencies, 0.5),
      p99Ns: quantile(latencies, 0.99),
      p999Ns: quantile(latencies, 0.999),
      maxNs: latencies.at(-1) ?? 0,
      kicksPerSecond: kicks / seconds,
      callsPerSecond: calls / seconds,
      kicksPerRequest: kicks / Math.max(1, requests),
      callsPerRequest: calls / Math.max(1, requests),
    };
  });
}

/** The value that a share of all, sorted, stays at or below; zero without any. */
function quantile(sorted: Float64Array, share: number): number {
  return sorted[Math.max(0, Math.ceil(sorted.length * share) - 1)] ?? 0;
}

/** What the scheduler has counted of all queues of a guest. */
export const counted = (queues: readonly SimQueue[], slot: number): number =>
  queues.reduce((sum, { counters }) => sum + counters[slot]!, 0);

/** @param before - time charged before it is counted, ns */
export function guestResult(record: GuestRecord, before: number, seconds: number): GuestResult {
  const { name, weight, tally, queues } = record;
  return {
    class: name,
    weight,
    perSecond: tally.requests / seconds,
    bytesPerSecond: tally.bytes / seconds,
    timeShare: (counted(queues, ScheduleCounter.TIME_NS) - before) / (seconds * 1e9),
    waitMaxNs: Math.max(...queues.map(({ counters }) => counters[ScheduleCounter.WAIT_MAX_NS]!)),
    stuck: counted(queues, ScheduleCounter.STUCK),
    limited: counted(queues, ScheduleCounter.LIMITED),
    devices: queues.map(({ submitted }) => submitted),
  };
}

/** Busy and asleep times of threads, ns, at one moment. */
export const timesOf = (threads: readonly (SimCore | GuestThread)[]) =>
  threads.map(({ busyNs, asleepNs }) => ({ busyNs, asleepNs }));
