import { writeFileSync } from 'node:fs';
import { type Costs, DEFAULT_COSTS } from '../../src/sim/costs.js';
import { scenario } from '../../src/sim/scenario.js';
import { simulate } from '../../src/sim/simulate.js';
import { machine, median } from '../report.js';
import { fit } from './fit.js';
import { CalibrationGround, type GroundCpus, type Measured, type PointPlan } from './ground.js';
import { measureWake, pooled, type WakeCosts } from './wake.js';

const BYTES = 4096;
const LARGE_BYTES = 65_536;
const MANY = 16;
const ROUNDS = 3;
/** What is aimed at. */
export const ERROR_AIM = 0.15;
const SIMULATED_NS = 30e6;

const plan = (mode: PointPlan['mode'], guests: number, depth: number, more: Partial<PointPlan> = {}): PointPlan => ({
  mode,
  guests,
  depth,
  bytes: BYTES,
  sleeping: false,
  ...more,
});

/** From which costs are found. */
const DEPTHS = [1, 2, 4, 8, 16].map((depth) => plan('sidecore', 1, depth));
const NOTHING = [1, 4, 16].map((depth) => plan('sidecore', 1, depth, { nothing: true }));
const LARGE = plan('sidecore', 1, 4, { bytes: LARGE_BYTES });
const POLLING = plan('sidecore', 8, 1);
const SLEEPING = plan('sidecore', 8, 1, { sleeping: true });
const THREAD_ONE = plan('baseline', 1, 1);
const THREAD_MANY = plan('baseline', 4, 1);
const TURNS_FEW = plan('baseline', 4, 32, { sleeping: true });
const TURNS_MANY = plan('baseline', MANY, 32, { sleeping: true });
/** What is predicted, besides some of these. */
const PREDICTED = (['sidecore', 'baseline'] as const).flatMap((mode) =>
  [false, true].flatMap((sleeping) =>
    [1, 32].flatMap((depth) => [1, 2, 4, 8, 16].map((guests) => plan(mode, guests, depth, { sleeping }))),
  ),
);

/** One point: what was measured, and what the simulator says. */
export interface Compared {
  readonly plan: PointPlan;
  /** Costs were found from it too. */
  readonly fitted: boolean;
  readonly undisturbed: boolean;
  readonly measured: Figures;
  /** Least and most of the rates, the best of each round: what the machine itself varies by. */
  readonly spread: readonly [number, number];
  readonly predicted: Figures;
  /** What the prediction is off by, as a share of what was measured. */
  readonly error: Figures;
}

export interface Figures {
  readonly perSecond: number;
  readonly p50Ns: number;
}

export interface Calibration {
  readonly format: 1;
  readonly date: string;
  readonly machine: ReturnType<typeof machine>;
  readonly node: string;
  readonly seed: number;
  /** Half of a round trip of a cache line, in the order in which it was measured, ns. */
  readonly one_way_ns: readonly number[];
  readonly wake: WakeCosts;
  readonly costs: Costs;
  readonly points: readonly Compared[];
}

export interface CalibrateOptions {
  readonly node: string;
  readonly seed: number;
  readonly progress: (line: string) => void;
}

const keyOf = (one: PointPlan): string => JSON.stringify(one);

/** From all these costs are found. */
const SOURCES = [...DEPTHS, ...NOTHING, LARGE, POLLING, SLEEPING, THREAD_ONE, THREAD_MANY, TURNS_FEW, TURNS_MANY];

/** All that is measured: from which costs are found, and what is predicted besides. */
export const PLANS = distinct([...SOURCES, ...PREDICTED]);

function distinct(plans: readonly PointPlan[]): PointPlan[] {
  return [...new Map(plans.map((one) => [keyOf(one), one])).values()];
}

/** Everything that was measured. */
export interface Gathered {
  readonly clockNs: number;
  /** Round trips of a cache line, ns. */
  readonly probes: readonly number[];
  readonly wakes: readonly WakeCosts[];
  readonly emptyOneNs: number;
  readonly emptyManyNs: number;
  /** By what `keyOf` says of a point: the best window of each round. */
  readonly windows: Readonly<Record<string, readonly Measured[]>>;
}

export interface GatherOptions extends Pick<CalibrateOptions, 'node' | 'progress'> {
  readonly plans: readonly PointPlan[];
  readonly rounds: number;
  readonly cpus?: GroundCpus;
  /** Says that all of it is to end. */
  readonly signal?: AbortSignal;
}

/** Measures points in turn, in several rounds. */
export async function gather({ node, progress, plans, rounds, cpus, signal }: GatherOptions): Promise<Gathered> {
  const ground = new CalibrationGround(cpus);
  const windows: Record<string, Measured[]> = {};
  try {
    ground.oneWayNs();
    const wakes = [await measureWake(ground.coreCpu, ground.clockNs)];
    await ground.start(node);
    const empty = { emptyOneNs: await ground.emptyRoundNs(1), emptyManyNs: await ground.emptyRoundNs(MANY) };
    for (let round = 0; round < rounds; round++) {
      wakes.push(await measureWake(ground.coreCpu, ground.clockNs));
      for (const [i, one] of plans.entries()) {
        signal?.throwIfAborted();
        if (i % 8 === 0) progress(`round ${round + 1} of ${rounds}: ${i} of ${plans.length} points`);
        if (i % 4 === 0) ground.oneWayNs();
        const list = (windows[keyOf(one)] ??= []);
        list.push(await ground.measure(one));
      }
    }
    return { clockNs: ground.clockNs, probes: ground.probes, wakes, ...empty, windows };
  } finally {
    await ground.close();
  }
}

/** The costs that follow from what was measured. */
function costsOf({ clockNs, probes, wakes, emptyOneNs, emptyManyNs, windows }: Gathered): Costs {
  const at = (one: PointPlan): Measured => best(windows[keyOf(one)]!);
  return fit({
    clockNs,
    oneWayNs: median([...probes]) / 2,
    wake: pooled(wakes),
    emptyOneNs,
    emptyManyNs,
    manyQueues: MANY,
    depths: DEPTHS.map(at),
    nothing: NOTHING.map(at),
    large: at(LARGE),
    largeBytes: LARGE_BYTES,
    polling: at(POLLING),
    sleeping: at(SLEEPING),
    threadOne: at(THREAD_ONE),
    threadMany: at(THREAD_MANY),
    turnsFew: at(TURNS_FEW),
    turnsMany: at(TURNS_MANY),
  });
}

/** The costs alone, in some seconds: no prediction is compared. */
export async function measureCosts(options: Omit<GatherOptions, 'plans'>): Promise<Costs> {
  return costsOf(await gather({ ...options, plans: SOURCES }));
}

/** Measures what everything costs on this machine, and how well the simulator then predicts what the machine does. */
export async function calibrate({ node, seed, progress }: CalibrateOptions): Promise<Calibration> {
  return judge(await gather({ node, progress, plans: PLANS, rounds: ROUNDS }), seed);
}

/** What was measured beside what the simulator says with the costs that follow from it. */
export function judge(gathered: Gathered, seed: number): Calibration {
  const costs = costsOf(gathered);
  const sourceKeys = new Set(SOURCES.map(keyOf));
  return {
    format: 1,
    date: new Date().toISOString(),
    machine: machine(),
    node: process.version,
    seed,
    one_way_ns: gathered.probes.map((ns) => ns / 2),
    wake: pooled(gathered.wakes),
    costs,
    points: PREDICTED.map((one) =>
      compare(one, gathered.windows[keyOf(one)]!, sourceKeys.has(keyOf(one)), costs, seed),
    ),
  };
}

/**
 * The best of all windows: whatever else the machine and its host do makes it slower, and not faster, so this is what it does when it is
 * left alone.
 */
function best(all: readonly Measured[]): Measured {
  const good = all.filter(({ undisturbed }) => undisturbed);
  return (good.length > 0 ? good : all).reduce((a, b) => (a.perSecond > b.perSecond ? a : b));
}

function compare(one: PointPlan, all: readonly Measured[], fitted: boolean, costs: Costs, seed: number): Compared {
  const measured = best(all);
  const predicted = predict(one, costs, seed);
  const rates = all.map(({ perSecond }) => perSecond);
  return {
    plan: one,
    fitted,
    undisturbed: measured.undisturbed,
    measured: { perSecond: measured.perSecond, p50Ns: measured.p50Ns },
    spread: [Math.min(...rates), Math.max(...rates)],
    predicted,
    error: {
      perSecond: predicted.perSecond / measured.perSecond - 1,
      p50Ns: predicted.p50Ns / measured.p50Ns - 1,
    },
  };
}

/** What the simulator says of a point: one thread drives all guests, as it does where that is measured. */
export function predict(one: PointPlan, costs: Costs = DEFAULT_COSTS, seed = 1): Figures {
  const { mode, sleeping, guests, depth, bytes, nothing } = one;
  const storage = nothing === true ? 'null' : 'memory';
  const result = simulate(
    scenario({
      mode,
      sleeping,
      guestCpus: 'one',
      guests: [{ count: guests, depth, bytes, storage }],
      warmUpNs: SIMULATED_NS / 10,
      durationNs: SIMULATED_NS,
    }),
    costs,
    seed,
  );
  return { perSecond: result.perSecond, p50Ns: result.classes[0]!.p50Ns };
}

export function writeCalibration(calibration: Calibration, file: string): void {
  writeFileSync(file, `${JSON.stringify(calibration, null, 1)}\n`);
}

const percent = (share: number): string => `${share > 0 ? '+' : ''}${(100 * share).toFixed(0)} %`;

/** What was compared, as a table, and how much of it is within the aim. */
export function calibrationText({ points, costs, wake, one_way_ns, date, node }: Calibration): string {
  const rows = points.map(
    ({ plan: { mode, guests, depth, sleeping }, fitted, undisturbed, measured, spread, predicted, error }) => {
      const marks = `${fitted ? ' costs from it' : ''}${undisturbed ? '' : ' disturbed'}`.trim();
      return [
        mode,
        sleeping ? 'sleep' : 'poll',
        String(guests),
        String(depth),
        Math.round(measured.perSecond).toLocaleString('en'),
        `${percent(spread[0] / measured.perSecond - 1)} to ${percent(spread[1] / measured.perSecond - 1)}`,
        Math.round(predicted.perSecond).toLocaleString('en'),
        percent(error.perSecond),
        (measured.p50Ns / 1000).toFixed(2),
        (predicted.p50Ns / 1000).toFixed(2),
        percent(error.p50Ns),
        marks,
      ];
    },
  );
  const head = [
    'mode',
    'guests',
    'how many',
    'depth',
    'measured/s',
    'spread',
    'simulated/s',
    'error',
    'p50 µs',
    'simulated',
    'error',
    '',
  ];
  const lines = [head, head.map(() => '---'), ...rows].map((row) => `| ${row.join(' | ')} |`);
  const within = (pick: (error: Figures) => number) =>
    points.filter(({ error }) => Math.abs(pick(error)) <= ERROR_AIM).length;
  return [
    `${date}, Node ${node}, ${median(one_way_ns).toFixed(0)} ns from CPU to CPU (${Math.min(...one_way_ns).toFixed(0)} to ${Math.max(...one_way_ns).toFixed(0)})`,
    '',
    ...lines,
    '',
    `Within ${100 * ERROR_AIM} %: throughput of ${within((error) => error.perSecond)} of ${points.length} points, median latency of ${within((error) => error.p50Ns)}.`,
    '',
    'Waking a thread after a rest, µs: what it takes him who wakes it, and until it goes on; the middle half of what was measured',
    '',
    ...wakeRows(wake),
    '',
    `Costs: ${Object.entries(costs)
      .filter((cost): cost is [string, number] => typeof cost[1] === 'number')
      .map(([name, ns]) => `${name} ${Number(ns.toPrecision(3))}`)
      .join(', ')}`,
    '',
  ].join('\n');
}

function wakeRows({ waking }: WakeCosts): string[] {
  const micros = (ns: number): string => (ns / 1000).toFixed(1);
  // Of five values that stand for all, the second, the third and the fourth.
  const range = (values: readonly number[]) => `${micros(values[2]!)} (${micros(values[1]!)} to ${micros(values[3]!)})`;
  const rows = waking.map(({ restNs, wakingNs, latencyNs }) => [
    String(restNs / 1000),
    range(wakingNs),
    range(latencyNs),
  ]);
  return [['rest', 'who wakes', 'goes on after'], ['---', '---', '---'], ...rows].map(
    (row) => `| ${row.join(' | ')} |`,
  );
}
