import type { Costs } from '../../src/sim/costs.js';
import { DEFAULT_COSTS } from '../../src/sim/costs.js';
import type { Measured } from './ground.js';
import type { WakeCosts } from './wake.js';

/** What costs are made of. Those of a machine are found in this order; each needs what was found before it. */
export interface Findings {
  readonly clockNs: number;
  readonly oneWayNs: number;
  readonly wake: WakeCosts;
  /** Rounds without work over one queue, and over `manyQueues`, ns. */
  readonly emptyOneNs: number;
  readonly emptyManyNs: number;
  readonly manyQueues: number;
  /** One polling guest with memory behind it, at several depths up to one batch. */
  readonly depths: readonly Measured[];
  /** The same with nothing behind it. */
  readonly nothing: readonly Measured[];
  /** One guest whose requests have so many bytes. */
  readonly large: Measured;
  readonly largeBytes: number;
  /** Several guests with one request each, that poll, and that sleep. */
  readonly polling: Measured;
  readonly sleeping: Measured;
  /** A thread for each of one, and of several polling guests. */
  readonly threadOne: Measured;
  readonly threadMany: Measured;
  /** A thread for each of four, and of sixteen sleeping guests with many requests in flight: threads that take turns. */
  readonly turnsFew: Measured;
  readonly turnsMany: Measured;
}

const BYTES = 4096;
/** A cost that was found to be less is as much as this, ns: figures vary by more. */
const LEAST_NS = 5;

/** Share of the time in which a thread goes to sleep and comes back that passes before it sleeps. */
const BEFORE_SLEEP = 0.7;

/** A straight line through points of different weight. */
export function line(points: readonly { x: number; y: number; weight: number }[]): { start: number; slope: number } {
  const sum = (pick: (point: { x: number; y: number; weight: number }) => number) =>
    points.reduce((total, point) => total + pick(point), 0);
  const weight = sum((point) => point.weight);
  const x = sum((point) => point.weight * point.x) / weight;
  const y = sum((point) => point.weight * point.y) / weight;
  const spread = sum((point) => point.weight * (point.x - x) ** 2);
  if (spread === 0) return { start: 0, slope: y / x };
  const slope = sum((point) => point.weight * (point.x - x) * (point.y - y)) / spread;
  return { start: y - slope * x, slope };
}

/** Time of a turn at which the scheduler measured it, by its requests. Shares count, so that long turns do not outweigh short ones. */
const servingLine = (all: readonly Measured[]) =>
  line(
    all.map(({ counted: { requests, turns, serveNs } }) => {
      const y = serveNs / turns;
      return { x: requests / turns, y, weight: 1 / y ** 2 };
    }),
  );

/** Time of a guest's batch by its completions. */
const batchLine = (all: readonly Measured[]) => {
  const points = all.flatMap(({ turns }) =>
    turns.flatMap(({ count, ns }, completions) =>
      completions > 0 && count > 50 ? [{ x: completions, y: ns / count, weight: 1 / (ns / count) ** 2 }] : [],
    ),
  );
  return line(points);
};

const serveNs = ({ counted }: Measured): number => counted.serveNs / counted.turns;
/** CPU time of the back end for a turn besides serving, ns. */
const besides = ({ counted }: Measured): number => (counted.cpuNs - counted.serveNs) / counted.turns;
const atLeast = (ns: number): number => Math.max(LEAST_NS, ns);

/** The costs of a machine. Every one is said how it was found; those that cannot be measured here are the defaults. */
export function fit(found: Findings): Costs {
  const { clockNs, wake, oneWayNs } = found;
  const serving = servingLine(found.depths);
  const nothing = servingLine(found.nothing);
  const batch = batchLine(found.depths);
  const pollNs = atLeast((found.emptyManyNs - found.emptyOneNs) / (found.manyQueues - 1));
  // The scheduler's measurement has one reading of the clock in it.
  const piece = serving.start - clockNs;
  const showNs = Math.min(DEFAULT_COSTS.showNs, piece / 2);
  const requestNs = atLeast(Math.min(nothing.slope, serving.slope));
  const largeNs = found.large.counted.serveNs / found.large.counted.requests - requestNs;
  const smallNs = serving.slope - requestNs;
  const byteNs = Math.max(0, (largeNs - smallNs) / (found.largeBytes - BYTES));
  const callNs = atLeast(
    (serveNs(found.sleeping) - serveNs(found.polling)) / Math.max(0.5, callsPerTurn(found.sleeping)),
  );
  const asleepNs = atLeast(besides(found.threadOne));
  const switchNs = Math.max(0, besides(found.threadMany) - asleepNs);
  const wakes = fitWake(wake);
  const wakingNs = middle(wakes.wakes.at(-1)!.wakingNs);
  // What a turn takes more than one without a change of threads, with its calls: there is about one for each.
  const refill = (one: Measured) => {
    const servingNs = serving.start + (serving.slope * one.counted.requests) / one.counted.turns;
    const more = serveNs(one) - servingNs - callsPerTurn(one) * (callNs + wakingNs);
    return Math.max(0, more + besides(one) - asleepNs - switchNs);
  };
  return {
    ...DEFAULT_COSTS,
    visibleNs: oneWayNs,
    clockNs,
    pollNs,
    roundNs: atLeast(found.emptyOneNs - pollNs),
    pieceNs: atLeast(piece - showNs),
    showNs: atLeast(showNs),
    requestNs,
    byteNs,
    copyNs: Math.max(0, smallNs - byteNs * BYTES),
    lookNs: Math.min(...found.depths.map(({ lookNs }) => lookNs)),
    batchNs: atLeast(batch.start),
    completionNs: atLeast(batch.slope),
    armNs: Math.min(...found.depths.map(({ armNs }) => armNs)),
    kickNs: wake.signalNs,
    callNs,
    ...wakes,
    // The greater part passes before the kernel has looked for the last time whether there is something.
    sleepNs: BEFORE_SLEEP * asleepNs,
    resumeNs: (1 - BEFORE_SLEEP) * asleepNs,
    switchNs,
    refillFewNs: refill(found.turnsFew),
    refillManyNs: refill(found.turnsMany),
    guestSleepNs: wake.waitNs,
  };
}

/** What waking takes besides the signal, by the time of rest; where it takes least, the CPU need not be woken, as one that is busy. */
export function fitWake({ signalNs, waitNs, waking }: WakeCosts): Pick<Costs, 'wakeNs' | 'wakes'> {
  const measured = waking.map(({ restNs, wakingNs, latencyNs }) => ({
    restNs,
    wakingNs: wakingNs.map((ns) => Math.max(0, ns - signalNs)),
    latencyNs: latencyNs.map(atLeast),
  }));
  // Before it has begun to go to sleep a thread need not be woken: it waits for what is there.
  const likely = measured[0]!.wakingNs.length;
  const atOnce = { restNs: 0, wakingNs: same(0, likely), latencyNs: same(signalNs + waitNs, likely) };
  const wakes = [atOnce, ...measured];
  return { wakeNs: Math.min(...measured.map(({ wakingNs }) => middle(wakingNs))), wakes };
}

const middle = (values: readonly number[]): number => values[values.length >> 1]!;
const same = (value: number, times: number): number[] => Array.from({ length: times }, () => value);

const callsPerTurn = ({ calls, counted, requests }: Measured): number =>
  (calls / requests) * (counted.requests / counted.turns);
