/** A small, fast, seeded source of random numbers: mulberry32. The same seed gives the same numbers on every machine. */
export class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed | 0;
  }

  /** At least 0, below 1. */
  share(): number {
    this.#state = (this.#state + 0x6d2b79f5) | 0;
    let t = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  }

  /** From one to another. */
  between(least: number, most: number): number {
    return least + (most - least) * this.share();
  }

  /** Exponentially distributed: what lies between arrivals that know nothing of each other. */
  exponential(mean: number): number {
    return -mean * Math.log(1 - this.share());
  }

  /** Log-normally distributed, by its median and the standard deviation of its logarithm: service times of storage. */
  logNormal(median: number, sigma: number): number {
    const normal = Math.sqrt(-2 * Math.log(1 - this.share())) * Math.cos(2 * Math.PI * this.share());
    return median * Math.exp(sigma * normal);
  }
}
