import type { CoreState } from './core-state.js';
import type { ServedQueue } from './served-queue.js';

/** Which of a sidecore's queues are polled; the others wait for a kick, are passive, or are broken. */
export class PollList {
  /** In the order in which they have their turns. */
  readonly polled: ServedQueue[] = [];
  /** Queues that wait for a kick. */
  watchedCount = 0;
  readonly #queues: ReadonlyMap<number, ServedQueue>;
  readonly #state: CoreState;
  readonly #onChange: () => void;

  /**
   * @param queues - all of the sidecore
   * @param onChange - told when other queues are polled than before
   */
  constructor(queues: ReadonlyMap<number, ServedQueue>, state: CoreState, onChange: () => void) {
    this.#queues = queues;
    this.#state = state;
    this.#onChange = onChange;
  }

  start(served: ServedQueue, nowNs: number): void {
    served.poll(nowNs);
    if (!served.queue.passive) this.polled.push(served);
    this.count();
  }

  stop(served: ServedQueue): void {
    served.polled = false;
    const at = this.polled.indexOf(served);
    if (at >= 0) this.polled.splice(at, 1);
    this.count();
  }

  /** Takes queues that had no work for so long off the list; their kicks are watched from then on. */
  watchIdle(nowNs: number, idleAfterNs: number): void {
    for (let i = this.polled.length - 1; i >= 0; i--) {
      const served = this.polled[i]!;
      const idle = idleAfterNs === 0 || nowNs - served.lastWorkNs >= idleAfterNs;
      if (idle && served.kickFd >= 0 && served.watch()) this.stop(served);
    }
  }

  /** Queues have come or gone. */
  count(): void {
    this.watchedCount = 0;
    for (const { polled, queue } of this.#queues.values()) if (!polled && !queue.closed) this.watchedCount++;
    this.#state.countQueues(this.polled.length, this.watchedCount);
    this.#onChange();
  }
}
