import type { Policy, SchedulerOptions, Turn } from './policy.js';

/** What an item counts at least. */
const ITEM_BYTES_MIN = 1024;

/**
 * The paper's policy: a turn goes on below a minimum of bytes, ends above a maximum, and in between ends for a stuck queue, after
 * which it is taken up again if it had used less than half of the maximum.
 */
export class ElvisPolicy implements Policy {
  readonly #minBytes: number;
  readonly #maxBytes: number;

  readonly #stuckNs: number;
  readonly #stuckItems: number;

  constructor({ minBytes, maxBytes, stuckNs, stuckItems }: SchedulerOptions) {
    this.#stuckNs = stuckNs;
    this.#stuckItems = stuckItems;
    this.#minBytes = minBytes;
    this.#maxBytes = maxBytes;
  }

  beginRound(): void {}

  begin(): void {}

  charge(): void {}

  admits(): boolean {
    return true;
  }

  goesOn(_entry: unknown, turn: Turn): boolean {
    return workOf(turn) <= this.#maxBytes;
  }

  yields(turn: Turn): boolean {
    return workOf(turn) >= this.#minBytes;
  }

  /** Stuck: few items, which have not become more for a while. Many mean a queue that is filled for throughput. */
  rescues(_entry: unknown, pending: number, waitedNs: number): boolean {
    return pending <= this.#stuckItems && waitedNs >= this.#stuckNs;
  }

  resumes(_entry: unknown, turn: Turn): boolean {
    return workOf(turn) < this.#maxBytes / 2;
  }
}

/** Bytes of a turn; requests without data count as well, or a flood of them had a turn without end. */
function workOf({ items, bytes }: Turn): number {
  const least = items * ITEM_BYTES_MIN;
  return bytes > least ? bytes : least;
}
