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
  { key: 'p50_us', label: 'latency p50, µs', of: ({ all }) => all.p50_us, text: micros },
  { key: 'p99_us', label: 'latency p99, µs', of: ({ all }) => all.p99_us, text: micros },
  { key: 'p999_us', label: 'latency p99.9, µs', of: ({ all }) => all.p999_us, text: micros },
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
    const guests = run.plan.sleeping ? 'With guests that sleep in both cases' : 'With guests that poll as well';
    const latency = `${micros(run.all.p50_us)} µs instead of ${micros(baseline.all.p50_us)} (${comparative(p50)})`;
    const notices = `kicks for each request ${change(run, baseline, 'kicks')}, calls ${change(run, baseline, 'calls')}`;
    return `${guests}, the sidecore gave ${times(iops)} times the IOPS of a thread per disk, at a median latency of ${latency}; ${notices}.`;
  });
}

/** How a latency that is `ratio` times better is called. */
export function comparative(ratio: number): string {
  if (ratio < 1.05 && ratio > 0.95) return 'the same';
  return ratio > 1 ? `${times(ratio)} times lower` : `${times(1 / ratio)} times higher`;
}

function change(run: RunResult, baseline: RunResult, key: 'kicks' | 'calls'): string {
  const measure = MEASURES.find((one) => one.key === key)!;
  return `${measureText(measure, run)} instead of ${measureText(measure, baseline)}`;
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
export function whatWasCompared(
  { guests, depth, seconds, coreCpu, loadCpu }: Setting,
  runs: readonly RunResult[],
): string[] {
  const sum = (pick: (figures: RunResult['all']) => number) => runs.reduce((all, run) => all + pick(run.all), 0);
  const reads = percent(LOAD.readShare);
  return [
    `${guests} built-in guests, each with memory of its own, a vhost-user socket and a disk image of ${LOAD.diskBytes / 2 ** 20} MiB, driven by one thread on CPU ${loadCpu}: ${LOAD.requestBytes / 1024} KiB requests at random places, ${reads} reads, ${depth} in flight for each guest, ${seconds} s a run after ${LOAD.warmUpMs / 1000} s of warming up. The back end had CPU ${coreCpu} in every run.`,
    'First a sidecore: one thread that polls all the rings and sends calls only to guests that sleep. Last what is usual: a thread for each disk, which sleeps until its guest kicks it.',
    `Images were in the page cache: this compares the way to the disk, not the disk. There is no VM around these guests: in one, each kick would cost an exit on top.`,
    `${whole(sum((all) => all.checked))} reads were compared with what was written last: ${whole(sum((all) => all.mismatches))} were wrong.`,
  ];
}

/** Share of a CPU that others may have before the figures are called disturbed. */
const OTHERS_SHARE_MAX = 0.05;

/** What a reader has to know before believing the figures; nothing if all is well. */
export function caveats({ coreCpu, loadCpu }: Setting, runs: readonly RunResult[]): string[] {
  if (coreCpu === loadCpu) {
    return ['Only one CPU may be used here: guests and sidecore take turns on it, so the figures mean little.'];
  }
  const others = runs.flatMap((run) => run.others ?? []);
  if (others.every(({ load, core }) => Math.max(load, core) <= OTHERS_SHARE_MAX)) return [];
  const shares = (pick: (share: { load: number; core: number }) => number) =>
    others.map((share) => percent(pick(share))).join(', ');
  return [
    `This machine was busy. Other programs had of CPU ${loadCpu}, run by run: ${shares(({ load }) => load)}; of CPU ${coreCpu}: ${shares(({ core }) => core)}. The figures are lower for it, and the comparison is not fair where the shares differ.`,
  ];
}
