import { type Costs, DEFAULT_COSTS } from '../../src/sim/costs.js';
import { readCosts } from '../../src/sim/costs-file.js';
import { type GuestClass, scenario } from '../../src/sim/scenario.js';
import { simulate } from '../../src/sim/simulate.js';
import { type Figures, measureCosts } from '../sim/calibrate.js';
import type { Experiment, RawPoint, Table, Verdict } from './results.js';
import type { Stand } from './stand.js';
import { median } from './stats.js';

/** What the simulator is to be within. */
const ERROR_MAX = 0.15;
const SIMULATED_NS = 20e6;
/** Rounds of a calibration, and what they are planned to take, ms. */
const ROUNDS = 2;
const CALIBRATION_MS = 15_000;

/** What things take in the simulator, and whose costs these are. */
export interface SimCosts {
  readonly costs: Costs;
  readonly whose: string;
  /** They were measured in this run: predictions are to hold. */
  readonly here: boolean;
}

/** A whole run measures its own costs, unless it is given some. */
const measuresCosts = (stand: Pick<Stand, 'timing'>, file: string | undefined): boolean =>
  file === undefined && stand.timing.points === 'all';

export const plannedCosts = (timing: Stand['timing'], file: string | undefined): number =>
  measuresCosts({ timing }, file) ? CALIBRATION_MS : 0;

/** The costs of a file, or of a short calibration; those that come with the simulator where there is time for neither. */
export async function simCosts(stand: Stand, file: string | undefined): Promise<SimCosts> {
  if (file !== undefined) return { costs: readCosts(file), whose: `the costs of ${file}`, here: false };
  if (!measuresCosts(stand, file))
    return {
      costs: DEFAULT_COSTS,
      whose: 'default costs, measured on another day and perhaps another machine',
      here: false,
    };
  const { node, loadCpu, coreCpu, signal, progress } = stand;
  const began = performance.now();
  const costs = await measureCosts({
    node,
    cpus: { loadCpu, coreCpu },
    rounds: ROUNDS,
    signal,
    progress: (line) => progress.say(`costs of the simulator, ${line}`),
  });
  progress.did(CALIBRATION_MS);
  const seconds = Math.round((performance.now() - began) / 1000);
  return { costs, whose: `costs that were measured in this run, in ${seconds} s before the experiments`, here: true };
}

/** Workloads that the simulator has, by their keys. */
const GUESTS: Readonly<Record<string, Partial<GuestClass>>> = {
  'block-1': { depth: 1, bytes: 4096 },
  'block-32': { depth: 32, bytes: 4096 },
  'request-response': { work: 'talk', bytes: 200 },
  'stream-1500': { work: 'stream', depth: 64, bytes: 1514 },
};
const CONTENDERS: Readonly<Record<string, { mode: 'sidecore' | 'baseline'; sleeping: boolean }>> = {
  sidecore: { mode: 'sidecore', sleeping: false },
  'sidecore-sleeping': { mode: 'sidecore', sleeping: true },
  baseline: { mode: 'baseline', sleeping: true },
  'baseline-polling': { mode: 'baseline', sleeping: false },
};

/** A point that was measured, and what the simulator says of it. */
export interface Predicted {
  readonly workload: string;
  readonly contender: string;
  readonly guests: number;
  readonly disturbed: boolean;
  readonly measured: Figures;
  readonly simulated: Figures;
}

/** What the simulator says of a measured point; undefined if it has no such guests. One thread drives all of them, as there. */
export function predict(
  { workload, contender, at, disturbed, windows }: RawPoint,
  costs: Costs,
  seed: number,
): Predicted | undefined {
  const [guest, mode, count] = [GUESTS[workload], CONTENDERS[contender], at['guests']];
  if (guest === undefined || mode === undefined || typeof count !== 'number') return undefined;
  const times = { warmUpNs: SIMULATED_NS / 10, durationNs: SIMULATED_NS };
  const result = simulate(
    scenario({ ...mode, ...times, guestCpus: 'one', guests: [{ ...guest, count }] }),
    costs,
    seed,
  );
  const good = windows.filter(({ undisturbed }) => undisturbed);
  const kept = good.length > 0 ? good : windows;
  // A stream has no latency: nobody waits for a frame.
  const isStream = guest.work === 'stream';
  return {
    workload,
    contender,
    guests: count,
    disturbed,
    measured: {
      perSecond: median(kept.map(({ perSecond }) => perSecond)),
      p50Ns: isStream ? Number.NaN : median(kept.map(({ p50Ns }) => p50Ns)),
    },
    simulated: { perSecond: result.perSecond, p50Ns: isStream ? Number.NaN : result.classes[0]!.p50Ns },
  };
}

/** What was measured of experiment 1 beside what the simulator says of it, as one table; none of the others. */
export function predictions({ number, raw }: Experiment, from: SimCosts, seed: number): Table[] {
  if (number !== 1) return [];
  const points = raw.flatMap((point) => predict(point, from.costs, seed) ?? []);
  return points.length === 0 ? [] : [predictionTable(points, from)];
}

export function predictionTable(points: readonly Predicted[], from: SimCosts): Table {
  return {
    title: `What the simulator says of the same points, with ${from.whose}`,
    columns: ['workload, mode, guests', 'measured/s', 'simulated/s', 'error', 'median µs', 'simulated', 'error'],
    rows: points.map(({ workload, contender, guests, disturbed, measured, simulated }) => [
      `${workload}, ${contender}, ${guests}${disturbed ? ' (disturbed)' : ''}`,
      rateText(measured.perSecond),
      rateText(simulated.perSecond),
      errorText(measured.perSecond, simulated.perSecond),
      latencyText(measured.p50Ns),
      latencyText(simulated.p50Ns),
      errorText(measured.p50Ns, simulated.p50Ns),
    ]),
    verdicts: SUBJECTS.flatMap(({ subject, has }) => {
      const some = points.filter(({ workload }) => has(workload));
      return some.length === 0 ? [] : [within(subject, some, from)];
    }),
  };
}

const isDisk = (workload: string): boolean => workload.startsWith('block');
const SUBJECTS = [
  { subject: 'The simulator, disks', has: isDisk },
  {
    subject: 'The simulator, cards (what a frame takes is not calibrated)',
    has: (workload: string) => !isDisk(workload),
  },
];

/** How many of the points that nothing disturbed were predicted as well as is wanted. */
function within(subject: string, points: readonly Predicted[], { here, whose }: SimCosts): Verdict {
  const counted = (pick: (figures: Figures) => number) => {
    const errors = points
      .filter(({ disturbed }) => !disturbed)
      .map(({ measured, simulated }) => pick(simulated) / pick(measured) - 1)
      .filter(Number.isFinite);
    return { good: errors.filter((error) => Math.abs(error) <= ERROR_MAX).length, of: errors.length };
  };
  const [rates, medians] = [counted(({ perSecond }) => perSecond), counted(({ p50Ns }) => p50Ns)];
  const verdict = {
    subject,
    claim: 'it predicts throughput and median latency of what the machine can run',
    by: 'goal',
    threshold: 'every point within 15 %',
    measured: `throughput of ${rates.good} of ${rates.of} points within 15 %, the median of ${medians.good} of ${medians.of}`,
  } as const;
  if (rates.of === 0) return { ...verdict, holds: null, why: 'no point was undisturbed' };
  if (!here) return { ...verdict, holds: null, why: `the simulator had ${whose}` };
  return { ...verdict, holds: rates.good === rates.of && medians.good === medians.of };
}

const known = (value: number, text: (value: number) => string): string => (Number.isFinite(value) ? text(value) : '-');
const rateText = (value: number): string => known(value, (rate) => Math.round(rate).toLocaleString('en'));
const latencyText = (ns: number): string => known(ns, (value) => (value / 1000).toFixed(2));
const errorText = (measured: number, simulated: number): string =>
  known(simulated / measured - 1, (error) => `${error > 0 ? '+' : ''}${(100 * error).toFixed(0)} %`);
