import { IDLE_LOOKS_MAX, KICK_LOOK_NS } from '../limits.js';
import type { Account } from './account.js';
import { Entry } from './entry.js';
import { Polling, type PollingRule } from './polling.js';
import type { Scheduler } from './scheduler.js';

/** A queue that is polled, or waits for kicks. */
export abstract class PolledQueue extends Entry {
  /** Its driver has kicked it, or need not: it may be used. */
  started: boolean;
  /** Its driver can kick; otherwise it can only be polled. */
  readonly kickable: boolean;
  /** Whether it stays in the poll list, and how long. */
  readonly polling: Polling;
  /** In the poll list; otherwise it waits for a kick, or is being let go of. */
  polled = false;
  /** When it came into the poll list, and when it last had work there, ns. */
  polledSinceNs = 0;
  lastWorkNs = 0;
  /** It had work since its idle time was looked at. */
  worked = false;

  constructor(
    account: Account,
    counters: Float64Array<ArrayBufferLike> | undefined,
    rule: PollingRule,
    kickable: boolean,
    started: boolean,
  ) {
    super(account, counters);
    this.polling = new Polling(rule);
    this.kickable = kickable;
    this.started = started;
  }

  /** Nothing more is taken from it. */
  abstract readonly closed: boolean;
  /** There is nothing to look for in it. */
  abstract readonly passive: boolean;

  /** Marks it polled. What is above asks the driver not to kick. */
  poll(nowNs: number): void {
    this.started = true;
    this.polled = true;
    this.polledSinceNs = nowNs;
    this.lastWorkNs = nowNs;
    this.worked = false;
  }

  /** Marks it watched and asks for a kick; false if there is work already, and it must be polled on. */
  abstract watch(): boolean;
}

/**
 * Which of a core's queues are polled; the others wait for a kick, are passive, or are broken. And when idle queues and kicks are
 * looked for. No clock: it is told the time, ns.
 */
export class PolledQueues<Queue extends PolledQueue> {
  /** Queues that wait for a kick. */
  watchedCount = 0;
  /** A queue that is out of work leaves the list at once: it is looked for in each turn. */
  readonly leavesAtOnce: boolean;
  /** Nothing is polled, and the core may sleep: it is one that does, or none of its queues was ever started. */
  mayRest = true;
  /** The core has its CPU in any case, and goes on looking for kicks. */
  readonly #staysAwake: boolean;
  /** Place of the queue that is looked at next. */
  #cursor = 0;
  /** When kicks were looked for last, ns. */
  readonly #looked = new Float64Array(1);
  readonly #all: { all(): Iterable<Queue> };
  readonly #scheduler: Scheduler<Queue>;
  readonly #onChange: (polled: number, watched: number) => void;

  /**
   * @param rule - when queues are polled
   * @param queues - all of the core
   * @param scheduler - has those that are polled
   * @param onChange - told how many are polled and watched when that may have changed
   */
  constructor(
    rule: PollingRule,
    queues: { all(): Iterable<Queue> },
    scheduler: Scheduler<Queue>,
    onChange: (polled: number, watched: number) => void,
  ) {
    this.leavesAtOnce = rule.kickGapNs === 0;
    this.#staysAwake = rule.kickGapNs === Number.POSITIVE_INFINITY;
    this.#all = queues;
    this.#scheduler = scheduler;
    this.#onChange = onChange;
  }

  get polledCount(): number {
    return this.#scheduler.entries.length;
  }

  /** Polls a queue that was kicked; false if it is polled, or nothing is taken from it. To be followed by `count`. */
  take(queue: Queue, nowNs: number): boolean {
    if (queue.polled || queue.closed) return false;
    queue.polling.kicked(nowNs);
    this.#add(queue, nowNs);
    return true;
  }

  /** It is polled without having been kicked. */
  start(queue: Queue, nowNs: number): void {
    queue.polling.started();
    this.#add(queue, nowNs);
    this.count();
  }

  #add(queue: Queue, nowNs: number): void {
    queue.poll(nowNs);
    if (!queue.passive) this.#scheduler.add(queue);
  }

  stop(queue: Queue): void {
    this.#drop(queue);
    this.count();
  }

  #drop(queue: Queue): void {
    queue.polled = false;
    this.#scheduler.remove(queue);
  }

  /**
   * Whether a core that is awake has to look for kicks, now that it does what is done every `HOUSEKEEPING_TURNS`: a look takes a
   * system call, and is seldom while there is something else to do.
   *
   * @param busy - it has other work than its queues
   */
  looksForKicks(nowNs: number, busy: boolean): boolean {
    if (this.watchedCount === 0) return false;
    return (this.polledCount === 0 && !busy) || nowNs - this.#looked[0]! >= KICK_LOOK_NS;
  }

  /** Kicks are looked for. */
  looked(nowNs: number): void {
    this.#looked[0] = nowNs;
  }

  /** When they are to be looked for again, ns, where there are queues that are polled. */
  get kicksDueNs(): number {
    return this.#looked[0]! + KICK_LOOK_NS;
  }

  /** Takes idle queues off the list, as far as it looks: a bounded number each time. Their kicks are watched from then on. */
  watchIdle(nowNs: number): void {
    const { entries } = this.#scheduler;
    const before = entries.length;
    const looks = Math.min(before, IDLE_LOOKS_MAX);
    for (let i = 0; i < looks && entries.length > 0; i++) {
      if (this.#cursor === 0) this.#cursor = entries.length;
      const queue = entries[--this.#cursor]!;
      if (queue.worked) {
        queue.worked = false;
        queue.lastWorkNs = nowNs;
      }
      const { polling, lastWorkNs } = queue;
      if (!queue.kickable || !polling.isIdle(nowNs, lastWorkNs) || !queue.watch()) continue;
      polling.left(nowNs, lastWorkNs > queue.polledSinceNs);
      this.#drop(queue);
    }
    if (entries.length !== before) this.count();
  }

  /** Queues have come or gone. */
  count(): void {
    let watched = 0;
    let started = 0;
    for (const queue of this.#all.all()) {
      if (queue.polled || queue.closed) continue;
      watched++;
      if (queue.started) started++;
    }
    this.watchedCount = watched;
    const polled = this.polledCount;
    this.mayRest = polled === 0 && (started === 0 || !this.#staysAwake);
    this.#cursor = Math.min(this.#cursor, polled);
    this.#onChange(polled, watched);
  }
}
