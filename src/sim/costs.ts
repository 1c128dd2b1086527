import { SidecoreError } from '../errors.js';
import type { WakePoint } from './wake-curve.js';

const TIMES = {
  /** From a store of one CPU until another that looks sees it. */
  visibleNs: 57.5,
  /** A reading of the clock. */
  clockNs: 70,

  /** A sidecore: a look at a queue without work; a round over all queues besides; a piece of work; showing what is complete. */
  pollNs: 5,
  roundNs: 39.9,
  pieceNs: 157,
  showNs: 30,
  /** A request of a disk, without its data; that there are data to be copied, wherever they are; each byte of them. */
  requestNs: 130,
  copyNs: 173,
  byteNs: 0.0379,
  /** A frame that is switched, without its bytes. */
  frameNs: 60,
  frameByteNs: 0.02,
  /** A request handed to storage; an answer of it taken. */
  submitNs: 250,
  reapNs: 100,

  /** A guest: a look at one ring without completions; a batch of completions, published anew; each of them, with the request after it. */
  lookNs: 6.19,
  batchNs: 139,
  completionNs: 217,
  /** A guest asks for calls at one ring before it sleeps. */
  armNs: 37.9,

  /** A kick, and a call, that wake nobody; how much longer it takes to wake a thread on a CPU that is busy. On one that is idle: `wakes`. */
  kickNs: 531,
  callNs: 917,
  wakeNs: 311,
  /** The switch to another thread on the same CPU. */
  switchNs: 156,
  /** What such a switch takes besides, because caches have been others': where 3 other threads had the CPU since, and where 15 had it. */
  refillFewNs: 0,
  refillManyNs: 0,
  /** A sidecore goes to sleep, and takes what has woken it. The part of going to sleep that is a system call; a guest's is no more. */
  sleepNs: 1460,
  resumeNs: 625,
  guestSleepNs: 731,
  /** A look of a sidecore at the kicks of all queues that are not polled. */
  kickLookNs: 400,
  /** Time after which a thread gives way to others that want its CPU. */
  sliceNs: 3_000_000,

  /** Times vary by this share, evenly: what keeps a simulation from falling into a step that no machine keeps. */
  jitter: 0.1,
} as const satisfies Record<string, number>;

export type Costs = { readonly [name in keyof typeof TIMES]: number } & {
  /** What waking a thread takes on an idle CPU, by how long that has rested. */
  readonly wakes: readonly WakePoint[];
};

const WAKES: readonly WakePoint[] = [
  { restNs: 2000, wakingNs: [311], latencyNs: [12_500] },
  { restNs: 4000, wakingNs: [311], latencyNs: [12_500] },
  { restNs: 8000, wakingNs: [6110], latencyNs: [20_800] },
];

/**
 * What everything takes on a machine, ns of CPU time if nothing else is said. `sidecore sim --calibrate` measures them; these were
 * measured on two CPUs of an AMD EPYC in a virtual machine.
 */
export const DEFAULT_COSTS: Costs = { ...TIMES, wakes: WAKES };

/** Checks what was read from a file: every cost a number that is not negative. What is missing is taken from the defaults. */
export function parseCosts(value: unknown): Costs {
  if (typeof value !== 'object' || value === null) throw bad('it is no object');
  const { wakes = WAKES, ...times } = value as Record<string, unknown>;
  if (!isCurve(wakes)) throw bad('wakes are no curve');
  const costs: Record<string, number> = { ...TIMES };
  for (const [name, cost] of Object.entries(times)) {
    if (!(name in TIMES)) throw bad(`there is no cost ${name}`);
    if (typeof cost !== 'number' || !Number.isFinite(cost) || cost < 0) throw bad(`${name} is no time`);
    costs[name] = cost;
  }
  if (costs['jitter']! >= 1) throw bad('jitter is a share below 1');
  return { ...(costs as typeof TIMES), wakes };
}

/** Ascending rests, each with as many values of both kinds. */
function isCurve(value: unknown): value is WakePoint[] {
  if (!Array.isArray(value) || value.length === 0) return false;
  const isTime = (ns: unknown): ns is number => typeof ns === 'number' && Number.isFinite(ns) && ns >= 0;
  const areTimes = (list: unknown): list is number[] => Array.isArray(list) && list.length > 0 && list.every(isTime);
  return value.every((point: Partial<WakePoint>, i) => {
    const { restNs, wakingNs, latencyNs } = point ?? {};
    if (!isTime(restNs) || !areTimes(wakingNs) || !areTimes(latencyNs)) return false;
    return wakingNs.length === latencyNs.length && (i === 0 || restNs > (value[i - 1] as WakePoint).restNs);
  });
}

const bad = (what: string): SidecoreError =>
  new SidecoreError('CONFIG_INVALID', `costs of the simulator: ${what}`, 'Write them anew with --calibrate.');

/** Other threads for which there are measured refills. */
const [FEW_OTHERS, MANY_OTHERS] = [3, 15];

/** What it takes besides the switch that a thread's data have left the caches, by how many others had its CPU since, ns. */
export function refillNs({ refillFewNs, refillManyNs }: Costs, others: number): number {
  if (others <= FEW_OTHERS) return (refillFewNs * others) / FEW_OTHERS;
  const part = Math.min(1, (others - FEW_OTHERS) / (MANY_OTHERS - FEW_OTHERS));
  return refillFewNs + part * (refillManyNs - refillFewNs);
}

/** What a request takes, with the data that it moves now, ns. */
export function dataNs({ copyNs, byteNs }: Costs, bytes: number): number {
  return copyNs + bytes * byteNs;
}
