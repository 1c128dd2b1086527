import { times } from '../../src/demo/numbers.js';
import type { Verdict } from './results.js';
import { CONFIDENCE, type Estimate, type Spread } from './stats.js';

/** What decides: a figure at least or at most as large as a bound. */
export interface Bound {
  readonly sense: 'at least' | 'at most';
  readonly value: number;
}

/** One of the figures that are judged. */
export interface JudgedFigure {
  /** What it is of: "4 guests". */
  readonly of: string;
  readonly value: number;
  /** What it varied by, where it is a median of rounds. */
  readonly spread?: Spread;
  /** Where it lies, and how surely: nothing is decided of a figure that may lie on either side of the bound. */
  readonly estimate?: Estimate;
  readonly disturbed?: boolean;
}

/** Several figures that all have to be within a bound; the worst of them decides. */
export interface Judged {
  readonly subject?: string;
  readonly claim: string;
  readonly by: Verdict['by'];
  readonly bound: Bound;
  /** Of the bound and of the figures: "times", "%". */
  readonly text: (value: number) => string;
  /** What was measured. */
  readonly figures: readonly JudgedFigure[];
}

/** Holds figures against a bound. Nothing is decided of nothing, or if the figure that decides was disturbed. */
export function judge({ subject, claim, by, bound, text, figures }: Judged): Verdict {
  const said = { ...(subject === undefined ? {} : { subject }), claim, by };
  const threshold = `${bound.sense} ${text(bound.value)}`;
  const known = figures.filter(({ value }) => Number.isFinite(value));
  if (known.length === 0)
    return { ...said, threshold, measured: 'nothing', holds: null, why: 'it was not measured in this run' };
  const atLeast = bound.sense === 'at least';
  const worst = known.reduce((one, other) => (atLeast === other.value < one.value ? other : one));
  const holds = atLeast ? worst.value >= bound.value : worst.value <= bound.value;
  const others = known.length === 1 ? '' : `, the ${atLeast ? 'least' : 'most'} of ${known.length}`;
  const measured = `${text(worst.value)} (${worst.of}${others}${variedText(worst, text)})`;
  if (worst.disturbed === true)
    return {
      ...said,
      threshold,
      measured,
      holds: null,
      why: 'something else on the machine took part in every window',
    };
  const { estimate } = worst;
  if (estimate !== undefined && estimate.confidence < CONFIDENCE)
    return { ...said, threshold, measured, holds: null, why: 'too few pairs of windows were undisturbed' };
  const isWithin = (value: number) => (atLeast ? value >= bound.value : value <= bound.value);
  if (estimate !== undefined && isWithin(estimate.low) !== isWithin(estimate.high))
    return { ...said, threshold, measured, holds: null, why: 'the true figure may lie on either side' };
  return { ...said, threshold, measured, holds };
}

/** What a figure varied by, or where it lies. */
function variedText({ spread, estimate }: JudgedFigure, text: (value: number) => string): string {
  if (estimate !== undefined) {
    const { low, high, confidence, count } = estimate;
    const short = (value: number) => text(value).replace(/ .*$/, '');
    return `; ${short(low)} to ${short(high)} with ${Math.round(100 * confidence)}%, from ${count} pairs of windows`;
  }
  if (spread === undefined || spread.count < 2) return '';
  return `; ${text(spread.min)} to ${text(spread.max)} in ${spread.count} rounds`;
}

/** "3.4 times". */
export const timesText = (value: number): string => `${times(value)} times`;
export const percentText = (value: number): string => `${(100 * value).toFixed(Math.abs(value) < 0.1 ? 1 : 0)}%`;
export const microsText = (ns: number): string => `${(ns / 1000).toFixed(ns < 10_000 ? 2 : 0)} µs`;

/** "2.0 to 3.4 times", of the least and the most of some values. */
export function rangeText(values: readonly number[], text: (value: number) => string): string {
  const known = values.filter(Number.isFinite);
  if (known.length === 0) return 'nothing that was measured';
  const [least, most] = [text(Math.min(...known)), text(Math.max(...known))];
  return least === most ? least : `${least.replace(/ .*$/, '')} to ${most}`;
}
