/** Small statistics: medians with what they vary by, ratios within a round, and fairness. */

/** A figure that was measured several times. */
export interface Spread {
  readonly median: number;
  readonly min: number;
  readonly max: number;
  /** How often it was measured. */
  readonly count: number;
}

/** The middle value; between the two in the middle if there are an even number. NaN of nothing. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length / 2;
  if (Number.isInteger(middle)) return ((sorted[middle - 1] ?? Number.NaN) + (sorted[middle] ?? Number.NaN)) / 2;
  return sorted[Math.floor(middle)]!;
}

/** Median, least and most. */
export function spread(values: readonly number[]): Spread {
  if (values.length === 0) return { median: Number.NaN, min: Number.NaN, max: Number.NaN, count: 0 };
  return { median: median(values), min: Math.min(...values), max: Math.max(...values), count: values.length };
}

/** A value of one round. */
export interface Rounded {
  readonly round: number;
  readonly value: number;
}

/**
 * How many times `a` is `b`: a ratio for each round that has both, so that what moves both does not show. If no round has both,
 * the ratio of the medians.
 */
export function ratio(a: readonly Rounded[], b: readonly Rounded[]): Spread {
  const pairs = a.flatMap((one) => {
    const other = b.find(({ round }) => round === one.round);
    return other === undefined ? [] : [one.value / other.value];
  });
  if (pairs.length > 0) return spread(pairs);
  const all = median(a.map(({ value }) => value)) / median(b.map(({ value }) => value));
  return { ...spread([all]), count: Number.isNaN(all) ? 0 : 1 };
}

/** A median, and where the true one lies as surely as is said. */
export interface Estimate {
  readonly median: number;
  readonly low: number;
  readonly high: number;
  /** How sure it is that it lies there, 0 to 1. */
  readonly confidence: number;
  readonly count: number;
}

/** How sure it should be. */
export const CONFIDENCE = 0.95;

/**
 * The median with its interval by the sign test: the values that are so far from the least and the most that the true median lies
 * between them with 95% or more, whatever the values are distributed like; all of them if they are fewer than six, and then with less.
 */
export function estimate(values: readonly number[]): Estimate {
  const sorted = [...values].sort((a, b) => a - b);
  const count = sorted.length;
  if (count === 0) return { median: Number.NaN, low: Number.NaN, high: Number.NaN, confidence: 0, count };
  // How probable it is that at most `cut` of so many values lie on one side of the median: those of a fair coin.
  let [outside, term, cut] = [0, 2 ** -count, 0];
  for (let k = 0; k < count / 2; k++) {
    if (1 - 2 * (outside + term) < CONFIDENCE && k > 0) break;
    outside += term;
    term = (term * (count - k)) / (k + 1);
    cut = k;
  }
  const [low, high] = [sorted[cut]!, sorted[count - 1 - cut]!];
  return { median: median(sorted), low, high, confidence: Math.max(0, 1 - 2 * outside), count };
}
