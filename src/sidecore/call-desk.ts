import { CALL_WAIT_NS_MAX } from '../limits.js';
import type { CallHost, CallLine } from '../virtio/call-line.js';

/** The calls that wait on one sidecore, and when they are due. Looks at no clock while none waits. */
export class CallDesk implements CallHost {
  /** Lines in the list. Some may have ended their wait by themselves. */
  count = 0;
  readonly #lines: CallLine[] = [];
  readonly #clock: (into: Float64Array, slot: number) => void;
  readonly #now = new Float64Array(1);
  readonly #waitNs: number;

  /** @param clock - puts the time, ns, into a slot */
  constructor(clock: (into: Float64Array, slot: number) => void, waitNs = CALL_WAIT_NS_MAX) {
    this.#clock = clock;
    this.#waitNs = waitNs;
  }

  holdCall(line: CallLine): void {
    this.#clock(line.due, 0);
    line.due[0]! += this.#waitNs;
    if (line.listed) return;
    line.listed = true;
    this.#lines[this.count++] = line;
  }

  /** Ends the waits that are due. */
  look(): void {
    if (this.count === 0) return;
    this.#clock(this.#now, 0);
    this.#settle(false);
  }

  /** Ends all waits: nobody may be there to do it later. */
  flush(): void {
    if (this.count > 0) this.#settle(true);
  }

  #settle(all: boolean): void {
    const lines = this.#lines;
    const now = this.#now[0]!;
    let kept = 0;
    for (let i = 0; i < this.count; i++) {
      const line = lines[i]!;
      if (line.held && (all || now >= line.due[0]!)) line.end();
      if (line.held) lines[kept++] = line;
      else line.listed = false;
    }
    this.count = kept;
  }
}
