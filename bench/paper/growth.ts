import { fillDisk } from './block-parts.js';
import {
  BASELINE,
  BASELINE_POLLING,
  type CompareMode,
  compareModes,
  DIRECT,
  plannedSettling,
  rawPoints,
  SIDECORE,
  SIDECORE_SLEEPING,
  settleModes,
} from './modes.js';
import type { Experiment, Figure, RawPoint, Series, Verdict } from './results.js';
import type { PaperDaemon, Stand, Timing } from './stand.js';
import { ratio, spread } from './stats.js';
import { judge, percentText, timesText } from './verdicts.js';
import { type Field, plannedMs, type Windows } from './window.js';
import { diskBytesOf, WORKLOADS, type Workload } from './workloads.js';

const MODES = [BASELINE, BASELINE_POLLING, SIDECORE, SIDECORE_SLEEPING, DIRECT];

/** How many guests there are. */
const COUNTS = { all: [1, 2, 4, 8, 16], few: [1, 4, 16], least: [1, 2] } as const;
/** What starting two daemons takes, ms. */
const START_MS = 2500;

/** All contenders at one number of guests. */
interface Place {
  readonly count: number;
  readonly results: ReadonlyMap<string, Windows>;
}

export function plannedGrowth(timing: Timing): number {
  const each = COUNTS[timing.points].length * plannedMs(timing, MODES.length);
  return 2 * START_MS + WORKLOADS.length * (each + plannedSettling(timing, MODES));
}

/** Experiment 1: throughput and latency as guests grow. */
export async function measureGrowth(stand: Stand): Promise<Experiment> {
  const figures: Figure[] = [];
  const verdicts: Verdict[] = [];
  const raw: RawPoint[] = [];
  const places = new Map<Workload, Place[]>();
  for (const device of ['disk', 'cards'] as const) {
    const most = Math.max(...COUNTS[stand.timing.points]);
    const daemons = await startBoth(stand, device, most);
    for (const workload of WORKLOADS.filter((one) => one.device === device)) {
      await settleModes(stand, workload, most, MODES, daemons);
      const all: Place[] = [];
      for (const count of COUNTS[stand.timing.points]) {
        stand.progress.say(`1: ${workload.title}, ${count} ${count === 1 ? 'guest' : 'guests'}`);
        const results = await compareModes(stand, workload, count, MODES, daemons, stand.timing);
        raw.push(...rawPoints(results, workload.key, { guests: count }));
        all.push({ count, results });
      }
      places.set(workload, all);
      figures.push(...figuresOf(workload, all));
    }
    for (const daemon of daemons.values()) await stand.stop(daemon);
  }
  for (const [workload, all] of places) verdicts.push(...verdictsOf(workload, all));
  return {
    number: 1,
    title: 'Throughput and latency as guests grow',
    question:
      'How much faster is a sidecore than paravirtual I/O as it is today, and does it stay so as guests are added?',
    method: [
      'Each guest has memory of its own and a vhost-user session of its own. One thread on one CPU drives all guests and time-stamps their requests; the daemon’s threads have another CPU. Disks are in memory; the working sets of all guests together are 16 MiB, however many they are.',
      'A network guest sends through the switch to a partner that is a second card in the same thread: the world outside. Streams are counted where they are received.',
    ],
    limits: [
      'There is one CPU for all guests. Where the guests’ thread is the bottleneck (many guests, small requests), a faster back end cannot show.',
      'Guests are no virtual machines: what an exit costs is not in these figures, so baseline looks better here than it is under KVM.',
    ],
    figures,
    tables: [],
    verdicts,
    raw,
  };
}

/** A daemon for each of the two modes, its disks filled. */
export async function startBoth(
  stand: Stand,
  device: Workload['device'],
  count: number,
): Promise<Map<string, PaperDaemon>> {
  stand.progress.say(`starting daemons with ${device === 'disk' ? `${count} disks` : `${2 * count} cards`}`);
  const daemons = new Map<string, PaperDaemon>();
  for (const mode of ['baseline', 'sidecore'] as const) {
    const plan = device === 'disk' ? { disks: count, diskBytes: diskBytesOf } : { pairs: count };
    const daemon = await stand.daemon({ mode, ...plan });
    daemons.set(mode, daemon);
    if (device === 'disk') await fillDisks(daemon, count);
  }
  stand.progress.did(START_MS);
  return daemons;
}

export async function fillDisks(daemon: PaperDaemon, count: number): Promise<void> {
  daemon.process.resume();
  for (let i = 0; i < count; i++) await fillDisk(daemon.disk(i), diskBytesOf(i));
  await daemon.settle();
}

function figuresOf(workload: Workload, all: readonly Place[]): Figure[] {
  const { title, stream } = workload;
  const xLabel = 'guests';
  const field = (name: Field, scale: number, modes: readonly CompareMode[] = MODES): Series[] =>
    modes.map((mode) => ({
      name: mode.name,
      look: mode.look,
      points: all.map(({ count, results }) => {
        const windows = results.get(mode.key)!;
        const values = windows.of(name).map(({ value }) => value * scale);
        return { x: count, y: spread(values), disturbed: windows.disturbed };
      }),
    }));
  const perCore = (scale: number): Series[] =>
    MODES.map((mode) => ({
      name: mode.name,
      look: mode.look,
      points: all.map(({ count, results }) => {
        const windows = results.get(mode.key)!;
        return {
          x: count,
          y: spread(windows.perBusyCore().map(({ value }) => value * scale)),
          disturbed: windows.disturbed,
        };
      }),
    }));
  const more = { xLabel, better: 'more is better', log: false } as const;
  const bits = (8 * requestBytesOf(workload)) / 1e9;
  if (stream)
    return [
      { title, ...more, yLabel: 'received, Gbit/s', series: field('bytesPerSecond', 8 / 1e9) },
      { title: `${title}, by busy core`, ...more, yLabel: 'Gbit/s per busy core', series: perCore(bits) },
    ];
  const served = MODES.filter(({ mode }) => mode !== 'direct');
  const less = { xLabel, better: 'less is better', log: true } as const;
  return [
    { title, ...more, yLabel: 'thousand requests/s', series: field('perSecond', 1e-3) },
    { title: `${title}, by busy core`, ...more, yLabel: 'thousand requests/s per busy core', series: perCore(1e-3) },
    { title: `${title}, median latency`, ...less, yLabel: 'µs', series: field('p50Ns', 1e-3, served) },
    { title: `${title}, 99th percentile of latency`, ...less, yLabel: 'µs', series: field('p99Ns', 1e-3, served) },
  ];
}

const requestBytesOf = (workload: Workload): number => workload.direct(0, 1, 1).requestBytes;

const guestsText = (count: number): string => `${count} ${count === 1 ? 'guest' : 'guests'}`;

function verdictsOf(workload: Workload, all: readonly Place[]): Verdict[] {
  const { title, single, stream } = workload;
  const against = (a: CompareMode, b: CompareMode, from: number) =>
    all
      .filter(({ count }) => count >= from)
      .map(({ count, results }) => {
        const [left, right] = [results.get(a.key)!, results.get(b.key)!];
        const value = ratio(left.of('perSecond'), right.of('perSecond')).median;
        return { of: guestsText(count), value, disturbed: left.disturbed || right.disturbed };
      });
  const verdicts = [
    judge({
      claim: `${title}: faster than baseline, at every number of guests`,
      by: 'paper',
      bound: { sense: 'at least', value: 1.2 },
      text: timesText,
      figures: against(SIDECORE, BASELINE, 1),
    }),
    judge({
      claim: `${title}: faster than baseline, with guests that sleep in both`,
      by: 'paper',
      bound: { sense: 'at least', value: 1.2 },
      text: timesText,
      figures: against(SIDECORE_SLEEPING, BASELINE, 1),
    }),
  ];
  if (single || stream)
    verdicts.push(
      judge({
        claim: `${title}: ${stream ? 'much faster than baseline' : 'much faster than baseline from 4 guests on'}`,
        by: 'goal',
        bound: { sense: 'at least', value: stream ? 1.5 : 3 },
        text: timesText,
        figures: against(SIDECORE, BASELINE, stream ? 1 : 4),
      }),
    );
  verdicts.push(...scaling(workload, all));
  if (workload.key === 'stream-64k') verdicts.push(nearDirect(workload, all));
  return verdicts;
}

/** Throughput and latency do not degrade as guests are added. */
function scaling({ title, stream }: Workload, all: readonly Place[]): Verdict[] {
  const rates = all.map(({ count, results }) => {
    const windows = results.get(SIDECORE.key)!;
    return {
      count,
      rate: windows.spread('perSecond').median,
      p99: windows.spread('p99Ns').median,
      disturbed: windows.disturbed,
    };
  });
  const best = Math.max(...rates.map(({ rate }) => rate));
  const [first, last] = [rates[0]!, rates.at(-1)!];
  const verdicts = [
    judge({
      claim: `${title}: throughput does not degrade as guests are added`,
      by: 'paper',
      bound: { sense: 'at least', value: 0.95 },
      text: (value) => `${percentText(value)} of the best`,
      figures: [{ of: guestsText(last.count), value: last.rate / best, disturbed: last.disturbed }],
    }),
  ];
  if (stream) return verdicts;
  return [
    ...verdicts,
    judge({
      claim: `${title}: the 99th percentile grows no faster than the guests`,
      by: 'goal',
      bound: { sense: 'at most', value: 1 },
      text: (value) => `${value.toFixed(2)} times the growth of the guests`,
      figures: rates.slice(1).map(({ count, p99, disturbed }) => ({
        of: guestsText(count),
        value: p99 / first.p99 / count,
        disturbed: disturbed || first.disturbed,
      })),
    }),
  ];
}

/** Approaching device assignment. */
function nearDirect({ title }: Workload, all: readonly Place[]): Verdict {
  return judge({
    claim: `${title}: approaches what is possible without any back end, by busy core`,
    by: 'goal',
    bound: { sense: 'at least', value: 0.9 },
    text: (value) => `${value.toFixed(2)} times direct`,
    figures: all.map(({ count, results }) => {
      const [ours, direct] = [results.get(SIDECORE.key)!, results.get(DIRECT.key)!];
      const value = ratio(ours.perBusyCore(), direct.perBusyCore()).median;
      return { of: guestsText(count), value, disturbed: ours.disturbed || direct.disturbed };
    }),
  });
}
