/** Seeds: printed with each failure, and taken from the environment to replay one. */
import fc from 'fast-check';

/** Multiplies the number of runs of every property: SIDECORE_RUNS_FACTOR=10 for a longer look. */
const RUNS_FACTOR = Number(process.env['SIDECORE_RUNS_FACTOR'] ?? 1);
/** The same again with SIDECORE_SEED. */
export const SEED = Number(process.env['SIDECORE_SEED'] ?? Math.floor(Math.random() * 2 ** 31));

/** Holds a property against random values; a failure prints the seed, the path, and the smallest counterexample. */
export function check<T extends [unknown, ...unknown[]]>(property: fc.IProperty<T>, numRuns: number): void {
  fc.assert(property, { seed: SEED, numRuns: numRuns * RUNS_FACTOR });
}

/** A small, fast, seeded source of random numbers: mulberry32. */
export class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed | 0;
  }

  /** 0 … 2^32 - 1. */
  word(): number {
    this.#state = (this.#state + 0x6d2b79f5) | 0;
    let t = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return (t ^ (t >>> 14)) >>> 0;
  }

  /** 0 … below - 1. */
  below(below: number): number {
    return Math.floor((this.word() / 2 ** 32) * below);
  }

  chance(probability: number): boolean {
    return this.word() < probability * 2 ** 32;
  }

  pick<T>(values: readonly T[]): T {
    return values[this.below(values.length)]!;
  }
}

/** Runs with random numbers of its own; a failure says which seed brings it back. */
export function seeded(salt: number, run: (random: Random) => void): void {
  try {
    run(new Random(SEED + salt));
  } catch (error) {
    throw new Error(`failed with SIDECORE_SEED=${SEED}: ${error instanceof Error ? error.message : error}`, {
      cause: error,
    });
  }
}
