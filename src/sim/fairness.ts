/**
 * Jain's index of fairness: 1 if all have the same, 1/n if one of n has all. R. Jain, D. Chiu, W. Hawe: A quantitative measure
 * of fairness and discrimination, 1984.
 */
export function jain(shares: readonly number[]): number {
  const sum = shares.reduce((total, share) => total + share, 0);
  const squares = shares.reduce((total, share) => total + share * share, 0);
  return squares === 0 ? Number.NaN : (sum * sum) / (shares.length * squares);
}

/** The largest deviation of shares from what their weights say, as a part of what they should be. */
export function worstDeviation(shares: readonly number[], weights: readonly number[]): number {
  const sum = shares.reduce((total, share) => total + share, 0);
  const weight = weights.reduce((total, one) => total + one, 0);
  return Math.max(...shares.map((share, i) => Math.abs(share / sum / (weights[i]! / weight) - 1)));
}
