import { CALL_QUIET_NS_MAX, CALL_WAIT_NS_MAX } from '../limits.js';
import type { CallHost, CallLine } from './call-line.js';

/** The calls that wait on one sidecore, and when they are due: `sidecore/call-desk.ts`, with a clock whose readings are charged. */
export class CallDesk {
  readonly #host: CallHost;
  /** Reads the clock, ns. */
  readonly #clock: () => number;
  #lines: CallLine[] = [];

  constructor(host: CallHost, clock: () => number) {
    this.#host = host;
    this.#clock = clock;
  }

  hold(line: CallLine): void {
    const now = this.#clock();
    line.dueNs = now + CALL_WAIT_NS_MAX;
    line.quietNs = now + CALL_QUIET_NS_MAX;
    if (line.listed) return;
    line.listed = true;
    this.#lines.push(line);
  }

  /** Ends the waits that are due; all, before nobody is there to do it. */
  look(all: boolean): void {
    if (this.#lines.length === 0) return;
    const now = this.#clock();
    for (const line of this.#lines) {
      if (!line.held) continue;
      if (line.moved) {
        line.moved = false;
        line.quietNs = now + CALL_QUIET_NS_MAX;
      }
      if (all || now >= line.dueNs) line.end(this.#host);
      else if (now >= line.quietNs) line.end(this.#host, true);
    }
    for (const line of this.#lines) line.listed = line.held;
    this.#lines = this.#lines.filter(({ held }) => held);
  }

  /** When the first wait is over, ns; infinite if there is none. */
  get dueNs(): number {
    return Math.min(...this.#lines.map(({ dueNs, quietNs }) => Math.min(dueNs, quietNs)));
  }
}
