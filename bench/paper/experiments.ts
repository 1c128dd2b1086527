import { measureFairness, plannedFairness } from './fairness.js';
import { measureGrowth, plannedGrowth } from './growth.js';
import { measureIdle, plannedIdle } from './idle.js';
import { measureInterposition, plannedInterposition } from './interposition.js';
import { measureNeighbours, plannedNeighbours } from './neighbours.js';
import { measureNotices, plannedNotices } from './notices.js';
import { measureReal, plannedReal } from './real-guests.js';
import { realGround } from './real-stand.js';
import type { Experiment } from './results.js';
import type { Stand, Timing } from './stand.js';

/** An experiment: what it takes, and how it is done. */
export interface PlannedExperiment {
  readonly number: number;
  /** What it is planned to take, ms. */
  readonly plannedMs: (timing: Timing) => number;
  readonly measure: (stand: Stand) => Promise<Experiment>;
}

export const EXPERIMENTS: readonly PlannedExperiment[] = [
  { number: 1, plannedMs: plannedGrowth, measure: measureGrowth },
  { number: 2, plannedMs: plannedNotices, measure: measureNotices },
  { number: 3, plannedMs: plannedNeighbours, measure: measureNeighbours },
  { number: 4, plannedMs: plannedFairness, measure: measureFairness },
  { number: 5, plannedMs: plannedIdle, measure: measureIdle },
  { number: 6, plannedMs: plannedInterposition, measure: measureInterposition },
];

export const REAL_GUESTS = 7;

/** The experiment with real guests, where they can run. @param emulated - without KVM, too */
export async function realGuests(emulated: boolean, say: (line: string) => void): Promise<PlannedExperiment> {
  const ground = await realGround(emulated, say);
  return {
    number: REAL_GUESTS,
    plannedMs: (timing) => plannedReal(timing, ground),
    measure: (stand) => measureReal(stand, ground),
  };
}

export const plannedFor = (experiments: readonly PlannedExperiment[], timing: Timing): number =>
  experiments.reduce((sum, { plannedMs }) => sum + plannedMs(timing), 0);
