import type { Chart } from '../../src/demo/chart.js';
import type { GuestResult } from './real-loads.js';
import type { Spread } from './stats.js';
import type { Window } from './window.js';

/** A value of a figure, at some place of its axis. */
export interface Point {
  readonly x: number;
  readonly y: Spread;
  /** Every window of it was disturbed by something else on the machine. */
  readonly disturbed?: boolean;
}

/** One line of a figure. */
export interface Series {
  readonly name: string;
  /** Which of the page's looks: one for each mode, the same in all figures. */
  readonly look: Look;
  readonly points: readonly Point[];
}

export type Look =
  | 'sidecore'
  | 'sidecore-light'
  | 'baseline'
  | 'baseline-light'
  | 'direct'
  | 'third'
  | 'fourth'
  | 'fifth';

/** A plot over an axis of numbers. */
export interface Figure {
  readonly title: string;
  readonly xLabel: string;
  /** What is on the other axis, and its unit. */
  readonly yLabel: string;
  readonly better: 'more is better' | 'less is better';
  /** Over several powers of ten. */
  readonly log: boolean;
  readonly series: readonly Series[];
  readonly verdicts?: readonly Verdict[];
  /** What else there is to see in it. */
  readonly note?: string;
}

/** A figure of bars. */
export interface Bars {
  readonly chart: Chart;
  readonly verdicts?: readonly Verdict[];
  readonly note?: string;
}

/** Rows of text. The first column is to the left, others to the right. */
export interface Table {
  readonly title: string;
  readonly columns: readonly string[];
  readonly rows: readonly (readonly string[])[];
  readonly verdicts?: readonly Verdict[];
}

/** What is claimed, and whether it holds here. */
export interface Verdict {
  /** What the claim is about, where its figure says that too. */
  readonly subject?: string;
  /** The sentence that the figures stand for. */
  readonly claim: string;
  /** Who claims it: the paper, or this project as its goal. */
  readonly by: 'paper' | 'goal';
  /** What decides, in words: "at least 1.2 times". */
  readonly threshold: string;
  /** What was measured, in words. */
  readonly measured: string;
  /** null: not decided by this run. */
  readonly holds: boolean | null;
  /** Why it is not decided. */
  readonly why?: string;
}

/** What an experiment gave. */
export interface Experiment {
  readonly number: number;
  readonly title: string;
  /** The question. */
  readonly question: string;
  /** What was done. */
  readonly method: readonly string[];
  /** What this machine cannot show. */
  readonly limits: readonly string[];
  readonly figures: readonly Figure[];
  readonly bars?: readonly Bars[];
  readonly tables: readonly Table[];
  /** The same beyond the machine; not measured. */
  readonly simulated?: readonly Figure[];
  /** All windows, as they were measured. */
  readonly raw: readonly RawPoint[];
  /** And those of real guests. */
  readonly real?: readonly RealPoint[];
}

/** The claims that an experiment's figures stand for, in their order. */
export function verdictsOf({ figures, bars = [], tables }: Pick<Experiment, 'figures' | 'bars' | 'tables'>): Verdict[] {
  return [...figures, ...bars, ...tables].flatMap(({ verdicts = [] }) => verdicts);
}

/** A claim where nothing else says what it is about. */
export const claimText = ({ subject, claim }: Verdict): string =>
  subject === undefined ? claim : `${subject}: ${claim}`;

/** All windows of one contender at one point. */
export interface RawPoint {
  readonly workload: string;
  /** "sidecore", "baseline", "direct", and how its guests wait. */
  readonly contender: string;
  /** What the point is: guests, neighbours, and the like. */
  readonly at: Readonly<Record<string, number | string>>;
  readonly disturbed: boolean;
  readonly windows: readonly Window[];
}

/** One window of one load on real guests. */
export interface RealPoint {
  readonly workload: string;
  readonly mode: string;
  readonly guests: number;
  readonly round: number;
  /** What each guest has measured itself. */
  readonly perGuest: readonly GuestResult[];
  /** As the daemon counts them, while the load began and ended too. */
  readonly requests: number;
  readonly kicksPerRequest: number;
  readonly callsPerRequest: number;
  /** Of all guests in the window and of their partner, whatever for; where the kernel tells them. */
  readonly exitsPerRequest?: number;
  readonly exitsPerSecond?: number;
}

/** All of a run: what the JSON file has. */
export interface Evaluation {
  readonly format: 1;
  readonly date: string;
  readonly command: string;
  readonly seed: number;
  readonly quick: boolean;
  readonly took_s: number;
  readonly machine: Readonly<Record<string, string | number>>;
  readonly versions: Readonly<Record<string, string>>;
  readonly commit: string;
  readonly timing: Readonly<Record<string, number>>;
  /** Round trip of a cache line between the CPUs, ns. */
  readonly placement_ns: Spread;
  readonly experiments: readonly Experiment[];
  /** Whose costs the simulator had. */
  readonly simulated_with: string;
}
