import { fillDisk } from './block-parts.js';
import { latencyTable } from './latency-parts.js';
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
import type { Experiment, Figure, RawPoint, Series, Table, Verdict } from './results.js';
import type { PaperDaemon, Stand, Timing } from './stand.js';
import { type Rounded, ratio, spread } from './stats.js';
import { type JudgedFigure, judge, percentText, rangeText, timesText } from './verdicts.js';
import { plannedMs, type Windows } from './window.js';
import { diskBytesOf, STREAM_SMALL, WORKLOADS, type Workload } from './workloads.js';

const MODES = [BASELINE, BASELINE_POLLING, SIDECORE, SIDECORE_SLEEPING, DIRECT];
/** A quick run does without the mode that no claim is about. */
const modesOf = ({ points }: Timing): readonly CompareMode[] =>
  points === 'few' ? MODES.filter(({ key }) => key !== BASELINE_POLLING.key) : MODES;

/** Nor has it the streams of small packets. */
const workloadsOf = ({ points }: Timing): readonly Workload[] =>
  points === 'few' ? WORKLOADS.filter(({ key }) => key !== STREAM_SMALL.key) : WORKLOADS;

/** How many guests there are. */
const COUNTS = { all: [1, 2, 4, 8, 16], few: [1, 4, 8], least: [1, 2] } as const;
/** What starting two daemons takes, ms. */
const START_MS = 2500;

/** All contenders at one number of guests. */
export interface Place {
  readonly count: number;
  readonly results: ReadonlyMap<string, Windows>;
}

export function plannedGrowth(timing: Timing): number {
  const modes = modesOf(timing);
  const each = COUNTS[timing.points].length * plannedMs(timing, modes.length);
  return 2 * START_MS + workloadsOf(timing).length * (each + plannedSettling(timing, modes));
}

/** Experiment 1: throughput and latency as guests grow. */
export async function measureGrowth(stand: Stand): Promise<Experiment> {
  const figures: Figure[] = [];
  const tables: Table[] = [];
  const raw: RawPoint[] = [];
  const modes = modesOf(stand.timing);
  for (const device of ['disk', 'cards'] as const) {
    const most = Math.max(...COUNTS[stand.timing.points]);
    const daemons = await startBoth(stand, device, most);
    for (const workload of workloadsOf(stand.timing).filter((one) => one.device === device)) {
      await settleModes(stand, workload, most, modes, daemons);
      const all: Place[] = [];
      for (const count of COUNTS[stand.timing.points]) {
        stand.progress.say(`1: ${workload.title}, ${count} ${count === 1 ? 'guest' : 'guests'}`);
        const results = await compareModes(stand, workload, count, modes, daemons, stand.timing);
        raw.push(...rawPoints(results, workload.key, { guests: count }));
        all.push({ count, results });
      }
      figures.push(...figuresOf(workload, all));
      tables.push(latencyTable(workload, all));
    }
    for (const daemon of daemons.values()) await stand.stop(daemon);
  }
  return {
    number: 1,
    title: 'Throughput and latency as guests grow',
    question:
      'How much faster is a sidecore than paravirtual I/O as it is today, and does it stay so as guests are added?',
    method: [
      'Each guest has memory of its own and a vhost-user session of its own. One thread on one CPU drives all guests and time-stamps their requests; the daemon’s threads have another CPU. Disks are in memory; the working sets of all guests together are 16 MiB, however many they are.',
      'A network guest sends through the switch to a partner that is a second card in the same thread: the world outside. Streams are counted where they are received.',
      'The back end stamps requests as well: its scheduler’s counters say how long it has served each queue, and the longest that it has seen one wait for its turn. The tables put that beside the latency that guests see.',
    ],
    limits: [
      'There is one CPU for all guests. Where the guests’ thread is the bottleneck (many guests, small requests), a faster back end cannot show.',
      'Guests are no virtual machines: what an exit costs is not in these figures, so baseline looks better here than it is under KVM.',
    ],
    figures,
    tables,
    raw,
  };
}

/** A daemon for each of the two modes, its disks filled. */
async function startBoth(stand: Stand, device: Workload['device'], count: number): Promise<Map<string, PaperDaemon>> {
  stand.progress.say(`starting daemons with ${device === 'disk' ? `${count} disks` : `${2 * count} cards`}`);
  const daemons = new Map<string, PaperDaemon>();
  const plan = device === 'disk' ? { disks: count, diskBytes: diskBytesOf } : { pairs: count };
  const started = await stand.daemons((['baseline', 'sidecore'] as const).map((mode) => ({ mode, ...plan })));
  for (const daemon of started) {
    daemons.set(daemon.mode, daemon);
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

/** Values of all contenders over the numbers of guests. */
function seriesOf(
  all: readonly Place[],
  values: (windows: Windows) => readonly Rounded[],
  scale: number,
  modes: readonly CompareMode[] = MODES,
): Series[] {
  return modes
    .filter(({ key }) => all.every(({ results }) => results.has(key)))
    .map((mode) => ({
      name: mode.name,
      look: mode.look,
      points: all.map(({ count, results }) => {
        const windows = results.get(mode.key)!;
        const y = spread(values(windows).map(({ value }) => value * scale));
        return { x: count, y, disturbed: windows.disturbed };
      }),
    }));
}

function figuresOf(workload: Workload, all: readonly Place[]): Figure[] {
  const { title, stream } = workload;
  const more = { xLabel: 'guests', better: 'more is better', log: false } as const;
  const bits = (8 * workload.requestBytes) / 1e9;
  const [scale, unit] = stream ? [bits, 'Gbit/s'] : [1e-3, 'thousand requests/s'];
  const throughput: Figure = {
    title,
    ...more,
    yLabel: stream ? `received, ${unit}` : unit,
    series: seriesOf(all, (windows) => windows.of('perSecond'), scale),
    verdicts: [...fasterThanBaseline(workload, all), doesNotDegrade(workload, all)],
  };
  const byCore: Figure = {
    title: `${title}, by busy core`,
    ...more,
    yLabel: `${unit} per busy core`,
    series: seriesOf(all, (windows) => windows.perBusyCore(), scale),
    ...nearDirect(workload, all),
  };
  return stream ? [throughput, byCore] : [throughput, byCore, ...latencyFigures(workload, all)];
}

function latencyFigures(workload: Workload, all: readonly Place[]): Figure[] {
  const served = MODES.filter(({ mode }) => mode !== 'direct');
  const less = { xLabel: 'guests', yLabel: 'µs', better: 'less is better', log: true } as const;
  const lower = all.map(({ results }) =>
    ratio(results.get(BASELINE.key)!.of('p50Ns'), results.get(SIDECORE.key)!.of('p50Ns')),
  );
  return [
    {
      title: `${workload.title}, median latency`,
      ...less,
      series: seriesOf(all, (windows) => windows.of('p50Ns'), 1e-3, served),
      note: `The paper: lower latency. Baseline’s median is ${rangeText(
        lower.map(({ median }) => median),
        timesText,
      )} the sidecore’s. It is over requests: in baseline most are of the guest whose thread has the CPU; the others’ waiting is in the 99th percentile.`,
    },
    {
      title: `${workload.title}, 99th percentile of latency`,
      ...less,
      series: seriesOf(all, (windows) => windows.of('p99Ns'), 1e-3, served),
      verdicts: [tailGrowsSlowly(workload, all)],
    },
  ];
}

const guestsText = (count: number): string => `${count} ${count === 1 ? 'guest' : 'guests'}`;

/** How many times one contender's figures are another's, at each number of guests. */
function against(
  all: readonly Place[],
  a: CompareMode,
  b: CompareMode,
  values: (windows: Windows) => readonly Rounded[],
): JudgedFigure[] {
  return all.map(({ count, results }) => {
    const [left, right] = [results.get(a.key)!, results.get(b.key)!];
    const spread = ratio(values(left), values(right));
    return { of: guestsText(count), value: spread.median, spread, disturbed: left.disturbed || right.disturbed };
  });
}

function fasterThanBaseline({ title, single, stream }: Workload, all: readonly Place[]): Verdict[] {
  const faster = (a: CompareMode, places: readonly Place[]) =>
    against(places, a, BASELINE, (one) => one.of('perSecond'));
  const paper = { by: 'paper', bound: { sense: 'at least', value: 1.2 }, text: timesText } as const;
  const verdicts = [
    judge({
      subject: title,
      claim: 'a sidecore is faster than baseline, at every number of guests',
      ...paper,
      figures: faster(SIDECORE, all),
    }),
    judge({
      subject: title,
      claim: 'it is faster where guests sleep in both',
      ...paper,
      figures: faster(SIDECORE_SLEEPING, all),
    }),
  ];
  if (!single && !stream) return verdicts;
  const goal = judge({
    subject: title,
    claim: `it is ${stream ? 'much faster' : 'much faster from 4 guests on'}`,
    by: 'goal',
    bound: { sense: 'at least', value: stream ? 1.5 : 3 },
    text: timesText,
    figures: faster(SIDECORE, stream ? all : all.filter(({ count }) => count >= 4)),
  });
  return [...verdicts, goal];
}

function doesNotDegrade({ title }: Workload, all: readonly Place[]): Verdict {
  const rates = all.map(({ results }) => results.get(SIDECORE.key)!.spread('perSecond').median);
  const last = all.at(-1)!;
  return judge({
    subject: title,
    claim: 'throughput does not degrade as guests are added',
    by: 'paper',
    bound: { sense: 'at least', value: 0.95 },
    text: (value) => `${percentText(value)} of the best`,
    figures: [
      {
        of: guestsText(last.count),
        value: rates.at(-1)! / Math.max(...rates),
        disturbed: last.results.get(SIDECORE.key)!.disturbed,
      },
    ],
  });
}

function tailGrowsSlowly({ title }: Workload, all: readonly Place[]): Verdict {
  const p99 = ({ results }: Place) => results.get(SIDECORE.key)!.spread('p99Ns').median;
  const first = all[0]!;
  return judge({
    subject: title,
    claim: 'the 99th percentile grows no faster than the guests',
    by: 'goal',
    bound: { sense: 'at most', value: 1 },
    text: (value) => `${value.toFixed(2)} times their growth`,
    figures: all.slice(1).map((place) => ({
      of: guestsText(place.count),
      value: p99(place) / p99(first) / (place.count / first.count),
      disturbed: [place, first].some(({ results }) => results.get(SIDECORE.key)!.disturbed),
    })),
  });
}

/** Approaching device assignment: a bound is set for large packets only. */
function nearDirect({ key, title }: Workload, all: readonly Place[]): Pick<Figure, 'verdicts' | 'note'> {
  const figures = against(all, SIDECORE, DIRECT, (windows) => windows.perBusyCore());
  const text = (value: number) => `${value.toFixed(2)} times direct`;
  if (key !== 'stream-64k')
    return {
      note: `The paper: approaches what is possible without a host in between. A sidecore has ${rangeText(
        figures.map(({ value }) => value),
        text,
      )}, by busy core; no bound is set where the ring and the guest’s driver are most of the work, which direct does without.`,
    };
  const verdict = judge({
    subject: title,
    claim: 'approaches what is possible without a host in between, by busy core',
    by: 'paper',
    bound: { sense: 'at least', value: 0.9 },
    text,
    figures,
  });
  return { verdicts: [verdict] };
}
