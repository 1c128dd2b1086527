import { POLICIES, type PolicyName } from '../scheduler/policy.js';
import type { Costs } from './costs.js';
import { jain, worstDeviation } from './fairness.js';
import type { Result } from './result.js';
import { columns } from './result-text.js';
import { type GuestClass, type ScenarioOptions, scenario } from './scenario.js';
import { simulate } from './simulate.js';

/** A value at a place of an axis: median, least and most of the seeds. The shape of the evaluation's own figures. */
export interface SimPoint {
  readonly x: number;
  readonly y: { readonly median: number; readonly min: number; readonly max: number; readonly count: number };
}

export interface SimSeries {
  readonly name: string;
  readonly look: 'sidecore' | 'sidecore-light' | 'baseline' | 'third';
  readonly points: readonly SimPoint[];
}

export interface SimFigure {
  readonly title: string;
  readonly xLabel: string;
  readonly yLabel: string;
  readonly better: 'more is better' | 'less is better';
  readonly log: boolean;
  readonly series: readonly SimSeries[];
}

/** What the simulator adds to one experiment of the evaluation. */
export interface SimExperiment {
  readonly number: number;
  readonly title: string;
  readonly figures: readonly SimFigure[];
}

/** How far it goes, and how long each run is. */
export interface SimExtent {
  readonly guests: readonly number[];
  readonly cores: readonly number[];
  readonly seeds: number;
  /** Requests of a run, about, at least: from them the time that is simulated follows. */
  readonly requests: number;
}

export const FULL_EXTENT: SimExtent = {
  guests: [1, 2, 4, 8, 16, 32, 64, 128, 256],
  cores: [1, 2, 4, 8, 16, 32],
  seeds: 3,
  requests: 5000,
};

/** Rate that is assumed when a run's length is chosen, requests a second and core. */
const RATE = 1.5e6;
const RUN_NS_MIN = 2e6;
/** Requests of a run, for each that is in flight: otherwise the slow ones would not be in it. */
const TIMES_IN_FLIGHT = 4;
/** Time in which guests of large requests have had many turns each, ns for each guest. */
const BULK_NS = 1e6;
const BULK: Partial<GuestClass> = { name: 'bulk', depth: 8, bytes: 2 ** 20 };

interface Contender {
  readonly name: string;
  readonly look: SimSeries['look'];
  readonly options: ScenarioOptions;
}

const SIDECORE: Contender = { name: 'sidecore', look: 'sidecore', options: { mode: 'sidecore' } };
const SIDECORE_SLEEPING: Contender = {
  name: 'sidecore, guests sleep',
  look: 'sidecore-light',
  options: { mode: 'sidecore', sleeping: true },
};
const BASELINE: Contender = { name: 'baseline', look: 'baseline', options: { mode: 'baseline', sleeping: true } };
const CONTENDERS = [SIDECORE, SIDECORE_SLEEPING, BASELINE];

const WORKLOADS: readonly { readonly title: string; readonly guest: Partial<GuestClass>; readonly bits: boolean }[] = [
  { title: 'Block: reads of 4 KiB, depth 1', guest: {}, bits: false },
  { title: 'Block: reads of 4 KiB, depth 32', guest: { depth: 32 }, bits: false },
  { title: 'Network: request and response', guest: { work: 'talk', bytes: 200 }, bits: false },
  { title: 'Network: stream of frames of 1,500 bytes', guest: { work: 'stream', depth: 64, bytes: 1514 }, bits: true },
];

/** Runs scenarios with the same costs, each with several seeds. */
class Bench {
  readonly extent: SimExtent;
  readonly #costs: Costs;
  readonly #seed: number;

  constructor(extent: SimExtent, costs: Costs, seed: number) {
    this.extent = extent;
    this.#costs = costs;
    this.#seed = seed;
  }

  /** A point of each of several values of the same runs. */
  points(x: number, options: ScenarioOptions, picks: readonly ((result: Result) => number)[]): SimPoint[] {
    const cores = options.cores ?? 1;
    const inFlight = (options.guests ?? []).reduce((sum, { count = 1, depth = 1 }) => sum + count * depth, 0);
    const requests = Math.max(this.extent.requests, TIMES_IN_FLIGHT * inFlight);
    const durationNs = Math.max(RUN_NS_MIN, (requests / (RATE * cores)) * 1e9);
    const plan = scenario({ durationNs, warmUpNs: (options.durationNs ?? durationNs) / 4, ...options });
    const results = Array.from({ length: this.extent.seeds }, (_, i) => simulate(plan, this.#costs, this.#seed + i));
    return picks.map((pick) => {
      const values = results.map(pick).sort((a, b) => a - b);
      const median = values[values.length >> 1]!;
      return { x, y: { median, min: values[0]!, max: values.at(-1)!, count: values.length } };
    });
  }

  /** Lines of several values, over the same runs. */
  lines(
    xs: readonly number[],
    contenders: readonly Contender[],
    options: (x: number) => ScenarioOptions,
    picks: readonly ((result: Result) => number)[],
  ): SimSeries[][] {
    const all = contenders.map((contender) => ({
      contender,
      points: xs.map((x) => this.points(x, { ...options(x), ...contender.options }, picks)),
    }));
    return picks.map((_, pick) =>
      all.map(({ contender: { name, look }, points }) => ({ name, look, points: points.map((at) => at[pick]!) })),
    );
  }
}

const more = { better: 'more is better', log: true } as const;
const less = { better: 'less is better', log: true } as const;
const first = ({ classes }: Result) => classes[0]!;

/** 1: throughput and latency as guests grow, and with them the sidecores. */
function growth(bench: Bench): SimFigure[] {
  const { guests, cores } = bench.extent;
  const most = Math.max(...guests);
  return WORKLOADS.flatMap(({ title, guest, bits }) => {
    const rate = bits
      ? { yLabel: 'Gbit/s', pick: (result: Result) => (8 * result.bytesPerSecond) / 1e9 }
      : { yLabel: 'thousand requests/s', pick: (result: Result) => result.perSecond / 1e3 };
    const p99 = (result: Result) => first(result).p99Ns / 1e3;
    const byGuests = (count: number) => ({ guests: [{ ...guest, count }] });
    const [rates, tails] = bench.lines(guests, CONTENDERS, byGuests, [rate.pick, p99]);
    const byCores = (count: number) => ({ cores: count, guests: [{ ...guest, count: most }] });
    const [grown] = bench.lines(cores, [SIDECORE], byCores, [rate.pick]);
    return [
      { title: `${title}, one CPU for the back end`, xLabel: 'guests', yLabel: rate.yLabel, ...more, series: rates! },
      { title: `${title}, 99th percentile of latency`, xLabel: 'guests', yLabel: 'µs', ...less, series: tails! },
      { title: `${title}, ${most} guests`, xLabel: 'sidecores', yLabel: rate.yLabel, ...more, series: grown! },
    ];
  });
}

/** 2: what is sent besides data. */
function notifications(bench: Bench): SimFigure[] {
  const { guests } = bench.extent;
  return [1, 32].flatMap((depth) => {
    const kicks = (result: Result) => first(result).kicksPerRequest;
    const calls = (result: Result) => first(result).callsPerRequest;
    const [kicked, called] = bench.lines(guests, CONTENDERS, (count) => ({ guests: [{ count, depth }] }), [
      kicks,
      calls,
    ]);
    const common = { xLabel: 'guests', better: 'less is better', log: false } as const;
    return [
      { title: `Kicks, depth ${depth}`, yLabel: 'kicks per request', ...common, series: kicked! },
      { title: `Calls, depth ${depth}`, yLabel: 'calls per request', ...common, series: called! },
    ];
  });
}

const POLICY_LOOKS: Record<PolicyName, SimSeries['look']> = {
  fair: 'sidecore',
  elvis: 'third',
  'round-robin': 'baseline',
};
const BY_POLICY: readonly Contender[] = POLICIES.map((policy) => ({
  name: policy,
  look: POLICY_LOOKS[policy],
  options: { scheduler: { policy } },
}));

/** 3: a latency guest beside bulk guests, under each policy. */
function latencyBesideBulk(bench: Bench): SimFigure[] {
  const counts = [0, ...bench.extent.guests.map((count) => Math.max(1, count - 1))];
  const xs = [...new Set(counts)];
  const options = (count: number) => ({
    guests: [{ name: 'latency' }, { ...BULK, count }],
    durationNs: BULK_NS * (count + 4),
  });
  const picks = [0.5, 0.99, 0.999] as const;
  const values = [
    (result: Result) => first(result).p50Ns / 1e3,
    (result: Result) => first(result).p99Ns / 1e3,
    (result: Result) => first(result).p999Ns / 1e3,
  ];
  return bench.lines(xs, BY_POLICY, options, values).map((series, i) => ({
    title: `A guest of single 4 KiB reads beside guests of 1 MiB reads: ${100 * picks[i]!} % of its latencies are below`,
    xLabel: 'bulk guests',
    yLabel: 'µs',
    ...less,
    series,
  }));
}

/** 4: fairness among equal and among unequal guests. */
function fairness(bench: Bench): SimFigure[] {
  const xs = bench.extent.guests.filter((count) => count > 1);
  const bytes = (result: Result) => result.guests.map(({ bytesPerSecond }) => bytesPerSecond);
  // Pieces of work are as long as a quantum is short: what counts is seen after many rounds.
  const time = (count: number) => ({ durationNs: 2 * BULK_NS * (count + 4) });
  const equal = (count: number) => ({ guests: [{ ...BULK, count, bytes: 65_536 }], ...time(count) });
  const [index] = bench.lines(xs, BY_POLICY, equal, [(result) => jain(bytes(result))]);
  const unequal = (count: number) => ({
    guests: [1, 2].map((weight) => ({ ...BULK, name: `weight ${weight}`, weight, count: count / 2, bytes: 65_536 })),
    ...time(count),
  });
  const deviation = (result: Result) =>
    100 *
    worstDeviation(
      bytes(result),
      result.guests.map(({ weight }) => weight),
    );
  const [off] = bench.lines(xs, BY_POLICY.slice(0, 1), unequal, [deviation]);
  const xLabel = 'guests';
  return [
    {
      title: 'Equal guests: Jain’s index of bytes',
      xLabel,
      yLabel: 'index',
      better: 'more is better',
      log: false,
      series: index!,
    },
    {
      title: 'Half of the guests with weight 2: worst deviation of bytes from the weights',
      xLabel,
      yLabel: '%',
      better: 'less is better',
      log: false,
      series: off!,
    },
  ];
}

/** 5: what idle guests cost the active ones. */
function idleGuests(bench: Bench): SimFigure[] {
  const xs = [0, ...bench.extent.guests];
  const options = (count: number) => ({
    guests: [
      { name: 'active', count: 4 },
      { name: 'idle', work: 'idle' as const, count },
    ],
  });
  const values = [(result: Result) => first(result).perSecond / 1e3, (result: Result) => first(result).p99Ns / 1e3];
  const [rates, tails] = bench.lines(xs, [SIDECORE], options, values);
  const xLabel = 'idle guests';
  return [
    {
      title: 'Four guests with one read in flight beside idle guests',
      xLabel,
      yLabel: 'thousand requests/s',
      better: 'more is better',
      log: false,
      series: rates!,
    },
    {
      title: 'The same: 99th percentile of latency',
      xLabel,
      yLabel: 'µs',
      better: 'less is better',
      log: false,
      series: tails!,
    },
  ];
}

const EXPERIMENTS: readonly { number: number; title: string; figures: (bench: Bench) => SimFigure[] }[] = [
  { number: 1, title: 'Throughput and latency as guests and sidecores grow', figures: growth },
  { number: 2, title: 'Kicks and calls', figures: notifications },
  { number: 3, title: 'A latency guest beside bulk guests', figures: latencyBesideBulk },
  { number: 4, title: 'Fairness', figures: fairness },
  { number: 5, title: 'What idle guests cost', figures: idleGuests },
];

/** What one experiment of the evaluation gives beyond the machine. Each guest has a CPU of its own. */
export function simulateExperiment(
  number: number,
  costs: Costs,
  seed = 1,
  extent = FULL_EXTENT,
): SimExperiment | undefined {
  const experiment = EXPERIMENTS.find((one) => one.number === number);
  if (experiment === undefined) return undefined;
  return { number, title: experiment.title, figures: experiment.figures(new Bench(extent, costs, seed)) };
}

export function simulateExperiments(costs: Costs, seed = 1, extent = FULL_EXTENT): SimExperiment[] {
  return EXPERIMENTS.map(({ number }) => simulateExperiment(number, costs, seed, extent)!);
}

/** All figures as tables. */
export function experimentText(experiments: readonly SimExperiment[]): string {
  return experiments
    .map(({ number, title, figures }) => `${number}: ${title}\n\n${figures.map(figureText).join('\n')}`)
    .join('\n');
}

function figureText({ title, xLabel, yLabel, better, series }: SimFigure): string {
  const xs = series[0]!.points.map(({ x }) => x);
  const rows = xs.map((x, i) => [
    String(x),
    ...series.map(({ points }) => Number(points[i]!.y.median.toPrecision(4)).toLocaleString('en')),
  ]);
  const head = [xLabel, ...series.map(({ name }) => name)];
  return `${title}: ${yLabel}, ${better}\n${columns([head, ...rows]).join('\n')}\n`;
}
