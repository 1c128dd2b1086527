import type { Scheduler } from '../scheduler/scheduler.js';
import type { CoreState } from './core-state.js';
import type { QueueTable } from './queue-table.js';
import type { ServedQueue } from './served-queue.js';

/** Which of a sidecore's queues are polled; the others wait for a kick, are passive, or are broken. */
export class PollList {
  /** Queues that wait for a kick. */
  watchedCount = 0;
  readonly #queues: QueueTable;
  readonly #scheduler: Scheduler<ServedQueue>;
  readonly #state: CoreState;
  readonly #onChange: () => void;

  /**
   * @param queues - all of the sidecore
   * @param scheduler - has those that are polled
   * @param onChange - told when other queues are polled than before
   */
  constructor(queues: QueueTable, scheduler: Scheduler<ServedQueue>, state: CoreState, onChange: () => void) {
    this.#queues = queues;
    this.#scheduler = scheduler;
    this.#state = state;
    this.#onChange = onChange;
  }

  get polledCount(): number {
    return this.#scheduler.entries.length;
  }

  start(served: ServedQueue, nowNs: number): void {
    served.poll(nowNs);
    if (!served.queue.passive) this.#scheduler.add(served);
    this.count();
  }

  stop(served: ServedQueue): void {
    served.polled = false;
    this.#scheduler.remove(served);
    this.count();
  }

  /** Takes queues that had no work for so long off the list; their kicks are watched from then on. */
  watchIdle(nowNs: number, idleAfterNs: number): void {
    const { entries } = this.#scheduler;
    for (let i = entries.length - 1; i >= 0; i--) {
      const served = entries[i]!;
      const idle = idleAfterNs === 0 || nowNs - served.lastWorkNs >= idleAfterNs;
      if (idle && served.kickFd >= 0 && served.watch()) this.stop(served);
    }
  }

  /** Queues have come or gone. */
  count(): void {
    this.watchedCount = 0;
    for (const { polled, queue } of this.#queues.all()) if (!polled && !queue.closed) this.watchedCount++;
    this.#state.countQueues(this.polledCount, this.watchedCount);
    this.#onChange();
  }
}
