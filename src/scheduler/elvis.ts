import type { Policy, SchedulerOptions, Turn } from './policy.js';

/**
 * The paper's policy: a turn goes on below a minimum of bytes, ends above a maximum, and in between ends for a stuck queue, after
 * which it is taken up again if it had used less than half of the maximum.
 */
export class ElvisPolicy implements Policy {
  readonly #minBytes: number;
  readonly #maxBytes: number;

  constructor({ minBytes, maxBytes }: SchedulerOptions) {
    this.#minBytes = minBytes;
    this.#maxBytes = maxBytes;
  }

  beginRound(): void {}

  admits(): boolean {
    return true;
  }

  goesOn(_entry: unknown, { bytes }: Turn): boolean {
    return bytes <= this.#maxBytes;
  }

  yields({ bytes }: Turn): boolean {
    return bytes >= this.#minBytes;
  }

  rescues(): boolean {
    return true;
  }

  resumes(_entry: unknown, { bytes }: Turn): boolean {
    return bytes < this.#maxBytes / 2;
  }
}
