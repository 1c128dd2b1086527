import { CALL_QUIET_NS_MAX, CALL_WAIT_NS_MAX } from '../limits.js';
import type { CallHost, CallWait } from './call-wait.js';

/** The calls that wait on one sidecore, and when they are due. Looks at no clock while none waits. */
export class CallDesk implements CallHost {
  /** Lines in the list. Some may have ended their wait by themselves. */
  count = 0;
  readonly #lines: CallWait[] = [];
  readonly #clock: (into: Float64Array, slot: number) => void;
  readonly #now = new Float64Array(1);

  /** @param clock - puts the time, ns, into a slot */
  constructor(clock: (into: Float64Array, slot: number) => void) {
    this.#clock = clock;
  }

  holdCall(line: CallWait): void {
    const { due } = line;
    this.#clock(due, 1);
    due[0] = due[1]! + CALL_WAIT_NS_MAX;
    due[1]! += CALL_QUIET_NS_MAX;
    if (line.listed) return;
    line.listed = true;
    this.#lines[this.count++] = line;
  }

  /** When the first wait is over as it stands, ns, for whoever plans ahead; infinite if there is none. */
  firstDueNs(): number {
    let first = Number.POSITIVE_INFINITY;
    for (let i = 0; i < this.count; i++) {
      const { due } = this.#lines[i]!;
      first = Math.min(first, due[0]!, due[1]!);
    }
    return first;
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
      const { due } = line;
      if (line.moved) {
        line.moved = false;
        due[1] = now + CALL_QUIET_NS_MAX;
      }
      if (all || now >= due[0]!) line.end();
      else if (now >= due[1]!) line.end(true);
      if (line.held) lines[kept++] = line;
      else line.listed = false;
    }
    this.count = kept;
  }
}
