import { KICK_LOOK_NS } from '../limits.js';
import type { PollingRule } from '../scheduler/polling.js';
import type { Scheduler } from '../scheduler/scheduler.js';
import type { SimQueue } from './queue.js';

/** Looks for idle queues in one idle time, while nothing else happens. */
const IDLE_LOOKS = 8;
const IDLE_LOOK_NS_MIN = 5000;
/** Rounds without anything to poll between two looks at kicks. */
const ROUNDS_PER_LOOK = 32;

/** Which of a sidecore's queues are polled, as `sidecore/poll-list.ts` does it; the decisions are the real ones. */
export class PollList {
  /** All queues, polled or not. */
  readonly queues: SimQueue[] = [];
  readonly #rule: PollingRule;
  readonly #scheduler: Scheduler<SimQueue>;
  readonly #kicked: SimQueue[] = [];
  readonly #leaving: { readonly queue: SimQueue; readonly gone: () => void }[] = [];
  #lookedNs = 0;

  constructor(rule: PollingRule, scheduler: Scheduler<SimQueue>) {
    this.#rule = rule;
    this.#scheduler = scheduler;
  }

  /** @param polled - it was kicked lately; otherwise it waits for that */
  add(queue: SimQueue, polled: boolean, now: number): void {
    this.queues.push(queue);
    if (!polled) {
      queue.kicksWanted = true;
      return;
    }
    queue.polling.started();
    this.#poll(queue, now);
  }

  kick(queue: SimQueue): void {
    this.#kicked.push(queue);
  }

  get hasKicks(): boolean {
    return this.#kicked.length > 0;
  }

  /** Nothing is polled, and the thread may sleep. */
  get mayRest(): boolean {
    return this.#rule.kickGapNs !== Number.POSITIVE_INFINITY && this.#scheduler.entries.length === 0 && !this.hasKicks;
  }

  /** Some queues wait for kicks, and a look at these is due. */
  looksForKicks(now: number): boolean {
    const polled = this.#scheduler.entries.length;
    if (polled === this.queues.length || this.mayRest) return false;
    return polled === 0 || now - this.#lookedNs >= KICK_LOOK_NS;
  }

  /** When kicks are looked for next, at the earliest, ns. @param roundNs - what a round takes in which nothing is polled */
  nextLookNs(now: number, roundNs: number): number {
    if (this.#scheduler.entries.length === 0) return now + (ROUNDS_PER_LOOK / 2) * roundNs;
    return Math.max(now, this.#lookedNs + KICK_LOOK_NS);
  }

  /** When to look for idle queues, if nothing else happens, ns; infinite if none is polled. */
  nextIdleLookNs(now: number): number {
    if (this.#scheduler.entries.length === 0) return Number.POSITIVE_INFINITY;
    return now + Math.max(IDLE_LOOK_NS_MIN, this.#rule.idleNs / IDLE_LOOKS);
  }

  /** Takes nothing more from a queue, and lets go of it once nothing of it is under way. */
  leave(queue: SimQueue, gone: () => void): void {
    queue.closed = true;
    this.#leaving.push({ queue, gone });
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
      gone();
    }
  }

  takeKicks(now: number): void {
    this.#lookedNs = now;
    for (const queue of this.#kicked.splice(0)) {
      // Where it has gone it was looked at when it came.
      if (queue.polled || !this.queues.includes(queue)) continue;
      queue.polling.kicked(now);
      this.#poll(queue, now);
    }
  }

  /** Queues without work leave the list, ask for kicks, and are looked at once more. */
  watchIdle(now: number): void {
    const { entries } = this.#scheduler;
    for (let i = entries.length - 1; i >= 0; i--) {
      const queue = entries[i]!;
      if (!queue.polling.isIdle(now, queue.lastWorkNs)) continue;
      if (queue.begunBytes > 0 || queue.avail.waiting(now) > 0) continue;
      queue.kicksWanted = true;
      // What comes from here on is kicked for; what has come before is seen now, after a full barrier.
      if (queue.hasMore) {
        queue.kicksWanted = false;
        continue;
      }
      queue.polling.left(now, queue.lastWorkNs > queue.polledSinceNs);
      queue.polled = false;
      this.#scheduler.remove(queue);
    }
  }

  #poll(queue: SimQueue, now: number): void {
    queue.polled = true;
    queue.kicksWanted = false;
    queue.polledSinceNs = now;
    queue.lastWorkNs = now;
    this.#scheduler.add(queue);
  }
}
