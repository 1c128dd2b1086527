import { measureFairness, plannedFairness } from './fairness.js';
import { measureGrowth, plannedGrowth } from './growth.js';
import { measureIdle, plannedIdle } from './idle.js';
import { measureNeighbours, plannedNeighbours } from './neighbours.js';
import { measureNotices, plannedNotices } from './notices.js';
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
];

export const plannedFor = (experiments: readonly PlannedExperiment[], timing: Timing): number =>
  experiments.reduce((sum, { plannedMs }) => sum + plannedMs(timing), 0);
