import { IDLE_LOOKS_MAX } from '../limits.js';
import type { PollingRule } from '../scheduler/polling.js';
import type { Scheduler } from '../scheduler/scheduler.js';
import type { CoreState } from './core-state.js';
import type { Doorway } from './doorway.js';
import type { QueueTable } from './queue-table.js';
import type { ServedQueue } from './served-queue.js';

/** Which of a sidecore's queues are polled; the others wait for a kick, are passive, or are broken. */
export class PollList {
  /** Queues that wait for a kick. */
  watchedCount = 0;
  /** A queue that is out of work leaves the list at once: it is looked for in each turn. */
  readonly leavesAtOnce: boolean;
  /** Nothing is polled, and the sidecore may sleep: it is one that does, or none of its queues was ever started. */
  mayRest = true;
  /** The sidecore has its CPU in any case, and goes on looking for kicks. */
  readonly #staysAwake: boolean;
  /** Place of the queue that is looked at next. */
  #cursor = 0;
  readonly #queues: QueueTable;
  readonly #scheduler: Scheduler<ServedQueue>;
  readonly #state: CoreState;
  readonly #onChange: () => void;

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
    this.leavesAtOnce = rule.kickGapNs === 0;
    this.#staysAwake = rule.kickGapNs === Number.POSITIVE_INFINITY;
    this.#queues = queues;
    this.#scheduler = scheduler;
    this.#state = state;
    this.#onChange = onChange;
  }

  get polledCount(): number {
    return this.#scheduler.entries.length;
  }

  /** Polls the queues that were kicked, as the doorway's last look found them. */
  takeKicks(doorway: Doorway, nowNs: number): void {
    let added = false;
    for (let i = 0; i < doorway.kickedCount; i++) {
      const served = this.#queues.get(doorway.kicked[i]!);
      if (served === undefined || served.polled || served.queue.closed) continue;
      served.polling.kicked(nowNs);
      this.#add(served, nowNs);
      added = true;
    }
    if (added) this.count();
  }

  /** It is polled without having been kicked. */
  start(served: ServedQueue, nowNs: number): void {
    served.polling.started();
    this.#add(served, nowNs);
    this.count();
  }

  /**
   * A queue that waits to be let go of is served on, unless it is broken, or nobody is told when it is gone. What it was kicked for
   * meanwhile its doorway still knows. Returns the request that would have had it go; zero if there is none.
   */
  takeBack(key: number, closing: ServedQueue[], doorway: Doorway, nowNs: number): number {
    const at = closing.findIndex((served) => served.key === key);
    const served = closing[at];
    if (served === undefined || served.detachId === 0 || served.queue.state.fault !== 0) return 0;
    const { detachId } = served;
    closing.splice(at, 1);
    served.detachId = 0;
    served.queue.closed = false;
    if (served.kickFd >= 0) doorway.open(served.kickFd, key);
    this.start(served, nowNs);
    return detachId;
  }

  #add(served: ServedQueue, nowNs: number): void {
    served.poll(nowNs);
    if (!served.queue.passive) this.#scheduler.add(served);
  }

  stop(served: ServedQueue): void {
    this.#drop(served);
    this.count();
  }

  #drop(served: ServedQueue): void {
    served.polled = false;
    this.#scheduler.remove(served);
  }

  /** Takes idle queues off the list, as far as it looks: a bounded number each time. Their kicks are watched from then on. */
  watchIdle(nowNs: number): void {
    const { entries } = this.#scheduler;
    const before = entries.length;
    const looks = Math.min(before, IDLE_LOOKS_MAX);
    for (let i = 0; i < looks && entries.length > 0; i++) {
      if (this.#cursor === 0) this.#cursor = entries.length;
      const served = entries[--this.#cursor]!;
      if (served.worked) {
        served.worked = false;
        served.lastWorkNs = nowNs;
      }
      const { polling, lastWorkNs } = served;
      if (served.kickFd < 0 || !polling.isIdle(nowNs, lastWorkNs) || !served.watch()) continue;
      polling.left(nowNs, lastWorkNs > served.polledSinceNs);
      this.#drop(served);
    }
    if (entries.length !== before) this.count();
  }

  /** Queues have come or gone. */
  count(): void {
    let watched = 0;
    let started = 0;
    for (const served of this.#queues.all()) {
      if (served.polled || served.queue.closed) continue;
      watched++;
      if (served.started) started++;
    }
    this.watchedCount = watched;
    const polled = this.polledCount;
    this.mayRest = polled === 0 && (started === 0 || !this.#staysAwake);
    this.#cursor = Math.min(this.#cursor, polled);
    this.#state.countQueues(polled, watched);
    this.#onChange();
  }
}
