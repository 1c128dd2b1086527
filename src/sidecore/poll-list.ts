import { PolledQueues } from '../scheduler/polled-queues.js';
import type { PollingRule } from '../scheduler/polling.js';
import type { Scheduler } from '../scheduler/scheduler.js';
import type { CoreState } from './core-state.js';
import type { Doorway } from './doorway.js';
import type { QueueTable } from './queue-table.js';
import type { ServedQueue } from './served-queue.js';

/** Which of a sidecore's queues are polled; of the others its doorway tells the kicks. */
export class PollList extends PolledQueues<ServedQueue> {
  readonly #queues: QueueTable;

  /**
   * @param rule - when queues are polled
   * @param queues - all of the sidecore
   * @param scheduler - has those that are polled
   * @param onChange - told when other queues are polled than before
   */
  constructor(
    rule: PollingRule,
    queues: QueueTable,
    scheduler: Scheduler<ServedQueue>,
    state: CoreState,
    onChange: () => void,
  ) {
    super(rule, queues, scheduler, (polled, watched) => {
      state.countQueues(polled, watched);
      onChange();
    });
    this.#queues = queues;
  }

  /** Polls the queues that were kicked, as the doorway's last look found them. */
  takeKicks(doorway: Doorway): void {
    let added = false;
    for (let i = 0; i < doorway.kickedCount; i++) {
      const served = this.#queues.get(doorway.kicked[i]!);
      if (served !== undefined && this.take(served)) added = true;
    }
    if (added) this.count();
  }
}
