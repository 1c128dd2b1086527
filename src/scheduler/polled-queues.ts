import { IDLE_LOOKS_MAX, KICK_LOOK_BYTES, KICK_LOOK_NS } from '../limits.js';
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
  /** When it last had work in the poll list, and when it came into it, ns. Numbers that change are in arrays: a field's would be boxed. */
  readonly lastWork = new Float64Array(1);
  readonly #polledSince = new Float64Array(1);
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
    this.#polledSince[0] = nowNs;
    this.lastWork[0] = nowNs;
    this.worked = false;
  }

  /** There was work in it, after the first, that nobody had kicked for. */
  get found(): boolean {
    return this.lastWork[0]! > this.#polledSince[0]!;
  }

  /** Marks it watched and asks for a kick; false if there is work already, and it must be polled on. */
  abstract watch(): boolean;
}

/**
 * Which of a core's queues are polled; the others wait for a kick, are passive, or are broken. And when idle queues and kicks are
 * looked for. No clock: its core sets the time, `now`.
 */
export class PolledQueues<Queue extends PolledQueue> {
  /** The time, ns, as its core has read it last. */
  readonly now = new Float64Array(1);
  /** Queues that wait for a kick. */
  watchedCount = 0;
  /** Bytes since kicks were looked for within a turn. */
  #moved = 0;
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
  take(queue: Queue): boolean {
    if (queue.polled || queue.closed) return false;
    queue.polling.kicked(this.now[0]!);
    this.#add(queue);
    return true;
  }

  /** It is polled without having been kicked. */
  start(queue: Queue): void {
    queue.polling.started();
    this.#add(queue);
    this.count();
  }

  #add(queue: Queue): void {
    queue.poll(this.now[0]!);
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
  looksForKicks(busy: boolean): boolean {
    if (this.watchedCount === 0) return false;
    return (this.polledCount === 0 && !busy) || this.now[0]! - this.#looked[0]! >= KICK_LOOK_NS;
  }

  /** Within a turn queues have moved so many bytes more. Whether kicks have to be looked for, as they are every `KICK_LOOK_BYTES`. */
  movedEnough(bytes: number): boolean {
    this.#moved += bytes;
    if (this.#moved < KICK_LOOK_BYTES) return false;
    this.#moved = 0;
    return this.watchedCount > 0;
  }

  /** Kicks are looked for. */
  looked(): void {
    this.#looked[0] = this.now[0]!;
  }

  /** When they are to be looked for again, ns, where there are queues that are polled. */
  get kicksDueNs(): number {
    return this.#looked[0]! + KICK_LOOK_NS;
  }

  /** Takes idle queues off the list, as far as it looks: a bounded number each time. Their kicks are watched from then on. */
  watchIdle(): void {
    const { now } = this;
    const { entries } = this.#scheduler;
    const before = entries.length;
    const looks = Math.min(before, IDLE_LOOKS_MAX);
    for (let i = 0; i < looks && entries.length > 0; i++) {
      if (this.#cursor === 0) this.#cursor = entries.length;
      const queue = entries[--this.#cursor]!;
      if (queue.worked) {
        queue.worked = false;
        queue.lastWork[0] = now[0]!;
      }
      if (!queue.kickable || !queue.polling.isIdle(now, queue.lastWork) || !queue.watch()) continue;
      queue.polling.left(now[0]!, queue.found);
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
