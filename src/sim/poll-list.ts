import { HOUSEKEEPING_TURNS } from '../limits.js';
import { PolledQueues } from '../scheduler/polled-queues.js';
import type { PollingRule } from '../scheduler/polling.js';
import type { Scheduler } from '../scheduler/scheduler.js';
import type { SimQueue } from './queue.js';

/** Looks for idle queues in one idle time, while nothing else happens. */
const IDLE_LOOKS = 8;
const IDLE_LOOK_NS_MIN = 5000;

/** Which of a simulated sidecore's queues are polled: the real list, with a doorway that is a list of the kicked. */
export class PollList extends PolledQueues<SimQueue> {
  /** All queues, polled or not. */
  readonly queues: SimQueue[];
  readonly #rule: PollingRule;
  readonly #scheduler: Scheduler<SimQueue>;
  readonly #kicked: SimQueue[] = [];
  readonly #leaving: { readonly queue: SimQueue; readonly gone: () => void }[] = [];

  constructor(rule: PollingRule, scheduler: Scheduler<SimQueue>) {
    const queues: SimQueue[] = [];
    super(rule, { all: () => queues }, scheduler, () => {});
    this.queues = queues;
    this.#rule = rule;
    this.#scheduler = scheduler;
  }

  /** @param polled - it was kicked lately; otherwise it waits for that */
  add(queue: SimQueue, polled: boolean, now: number): void {
    this.queues.push(queue);
    if (polled) return this.at(now).start(queue);
    queue.kicksWanted = true;
    this.count();
  }

  /** Sets the time of what is asked next, ns. */
  at(now: number): this {
    this.now[0] = now;
    return this;
  }

  kick(queue: SimQueue): void {
    this.#kicked.push(queue);
  }

  get hasKicks(): boolean {
    return this.#kicked.length > 0;
  }

  /** Some queue is on its way to another core. */
  get isLeft(): boolean {
    return this.#leaving.length > 0;
  }

  /**
   * When kicks are looked for next, ns, if nothing else happens.
   *
   * @param houseNs - when it does next what it does every `HOUSEKEEPING_TURNS`
   * @param roundNs - what a round takes without work
   */
  nextLookNs(houseNs: number, roundNs: number): number {
    const between = HOUSEKEEPING_TURNS * roundNs;
    let time = houseNs;
    if (this.at(time).looksForKicks(false)) return time;
    time += Math.max(0, Math.floor((this.kicksDueNs - time) / between)) * between;
    while (!this.at(time).looksForKicks(false)) time += between;
    return time;
  }

  /** When to look for idle queues, if nothing else happens, ns; infinite if none is polled. */
  nextIdleLookNs(now: number): number {
    if (this.polledCount === 0) return Number.POSITIVE_INFINITY;
    return now + Math.max(IDLE_LOOK_NS_MIN, this.#rule.idleNs / IDLE_LOOKS);
  }

  /** Takes nothing more from a queue, and lets go of it once nothing of it is under way. */
  leave(queue: SimQueue, gone: () => void): void {
    queue.closed = true;
    this.#leaving.push({ queue, gone });
    this.count();
  }

  /** Lets go of those that may go. @param onGone - what is to be done for each before that */
  letGo(onGone: (queue: SimQueue) => void): void {
    for (const one of this.#leaving.splice(0)) {
      const { queue, gone } = one;
      if (queue.begunBytes > 0 || queue.inStorage > 0 || !queue.complete.empty) {
        this.#leaving.push(one);
        continue;
      }
      onGone(queue);
      this.queues.splice(this.queues.indexOf(queue), 1);
      this.#scheduler.remove(queue);
      queue.closed = false;
      queue.polled = false;
      this.count();
      gone();
    }
  }

  takeKicks(now: number): void {
    let added = false;
    for (const queue of this.#kicked.splice(0)) {
      // Where it has gone it was looked at when it came.
      if (this.queues.includes(queue) && this.at(now).take(queue)) added = true;
    }
    if (added) this.count();
  }
}
