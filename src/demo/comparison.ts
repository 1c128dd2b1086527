import { micros, percent, perRequest, times, whole } from './numbers.js';
import { LOAD } from './plan.js';
import type { RunResult } from './run.js';

/** What is compared: a figure of every run, in the same words everywhere. */
export interface Measure {
  readonly key: string;
  readonly label: string;
  readonly of: (run: RunResult) => number | null;
  readonly text: (value: number) => string;
}

export const MEASURES: readonly Measure[] = [
  { key: 'iops', label: 'IOPS', of: ({ all }) => all.iops, text: whole },
  { key: 'mb_per_s', label: 'MB/s', of: ({ all }) => all.mb_per_s, text: whole },
  { key: 'p50_us', label: 'latency p50, us', of: ({ all }) => all.p50_us, text: micros },
  { key: 'p99_us', label: 'latency p99, us', of: ({ all }) => all.p99_us, text: micros },
  { key: 'p999_us', label: 'latency p99.9, us', of: ({ all }) => all.p999_us, text: micros },
  { key: 'kicks', label: 'kicks per request', of: ({ all }) => all.kicks_per_request, text: perRequest },
  { key: 'calls', label: 'calls per request', of: ({ all }) => all.calls_per_request, text: perRequest },
  { key: 'work', label: 'its CPU at work', of: ({ work_share }) => work_share, text: percent },
];

/** One figure of one run, as text. */
export function measureText({ of, text }: Measure, run: RunResult): string {
  const value = of(run);
  return value === null ? '-' : text(value);
}

/** What two runs have to do with each other. Ratios above 1: `run` is better. */
export interface Ratios {
  readonly iops: number;
  readonly p50: number;
  readonly p99: number;
}

export function ratios(run: RunResult, baseline: RunResult): Ratios {
  return {
    iops: run.all.iops / baseline.all.iops,
    p50: baseline.all.p50_us / run.all.p50_us,
    p99: baseline.all.p99_us / run.all.p99_us,
  };
}

/** The comparison in sentences: one for each run but the last, which the others are held against. */
export function verdicts(runs: readonly RunResult[]): string[] {
  const baseline = runs.at(-1)!;
  return runs.slice(0, -1).map((run) => {
    const { iops, p50 } = ratios(run, baseline);
    const notices = `kicks for each request ${change(run, baseline, 'kicks')}, calls ${change(run, baseline, 'calls')}`;
    const guests = run.plan.sleeping ? 'With guests that sleep in both cases' : 'With guests that poll as well';
    const latency = p50 >= 1 ? `${times(p50)} times lower` : `${times(1 / p50)} times higher`;
    return `${guests}, the sidecore gave ${times(iops)} times the IOPS of a thread per disk; median latency is ${latency} (${micros(baseline.all.p50_us)} us, now ${micros(run.all.p50_us)}); ${notices}.`;
  });
}

function change(run: RunResult, baseline: RunResult, key: 'kicks' | 'calls'): string {
  const measure = MEASURES.find((one) => one.key === key)!;
  return `${measureText(measure, baseline)}, now ${measureText(measure, run)}`;
}

/** What was run, for somebody who sees this for the first time. */
export interface Setting {
  readonly guests: number;
  readonly depth: number;
  readonly seconds: number;
  readonly coreCpu: number;
  readonly loadCpu: number;
}

/** What was compared, and how, in sentences. */
export function whatWasCompared({ guests, depth, seconds, coreCpu, loadCpu }: Setting, runs: readonly RunResult[]): string[] {
  const checked = runs.reduce((sum, run) => sum + run.all.checked, 0);
  const reads = percent(LOAD.readShare);
  return [
    `${guests} built-in guests, each with memory of its own, a vhost-user socket and a disk image of ${LOAD.diskBytes / 2 ** 20} MiB, driven by one thread on CPU ${loadCpu}: ${LOAD.requestBytes / 1024} KiB requests at random places, ${reads} reads, ${depth} in flight for each guest, ${seconds} s a run after ${LOAD.warmUpMs / 1000} s of warming up. The back end had CPU ${coreCpu} in every run.`,
    'First a sidecore: one thread that polls all the rings and sends calls only to guests that sleep. Last what is usual: a thread for each disk, which sleeps until its guest kicks it.',
    `Images were in the page cache: this compares the way to the disk, not the disk. There is no VM around these guests: in one, each kick would cost an exit on top.`,
    `${whole(checked)} reads were compared with what was written last.`,
  ];
}

/** Share of the time for which a polling thread may wait for its CPU before the figures are called disturbed. */
const WAIT_SHARE_MAX = 0.03;

/** What a reader has to know before believing the figures; nothing if all is well. */
export function caveats({ coreCpu, loadCpu }: Setting, runs: readonly RunResult[]): string[] {
  if (coreCpu === loadCpu) {
    return ['Only one CPU may be used here: guests and sidecore take turns on it, so the figures mean little.'];
  }
  const waits = runs.find((run) => run.cpu_waits !== undefined)?.cpu_waits;
  if (waits === undefined || Math.max(waits.load, waits.core) <= WAIT_SHARE_MAX) return [];
  return [
    `Other programs had CPU ${loadCpu} for ${percent(waits.load)} and CPU ${coreCpu} for ${percent(waits.core)} of the first run: on a quiet machine figures are better and steadier.`,
  ];
}
