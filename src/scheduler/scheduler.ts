import { STUCK_LOOKS_MAX } from '../limits.js';
import { ScheduleCounter } from './counters.js';
import { type Entry, EntryTime } from './entry.js';
import { createPolicy } from './policies.js';
import { type Policy, type SchedulerOptions, type Turn, TurnTime } from './policy.js';

/** What an item counts in a queue's work, besides its bytes: a unit of work is about a byte copied. */
const ITEM_UNITS = 1024;
/** Units from which a piece of work is worth a reading of the clock: a few microseconds. */
const LARGE_UNITS = 32_768;
/** Items that make a piece worth it, where a queue tells how many wait. */
const LARGE_ITEMS = 8;
/** Pieces that are timed after a large one, a first one, or one that took longer than expected. */
const PIECES_TIMED = 16;
/** Of the others one is timed in so many at least, and in three times as many at most: nobody is to know which. */
const UNTIMED_MIN = 16;
const UNTIMED_SPREAD = 31;
/** How fast what a unit takes is learned anew. */
const LEARNING = 1 / 8;
/** Of the first timings the least counts: they are those of code that is not compiled yet, and of memory that was never touched. */
const FIRST_TIMINGS = 8;
/**
 * What a piece took counts up to this, ns; beyond it, at most twice as long as expected: the host may have taken the CPU away in it.
 */
const PLAUSIBLE_NS = 20_000;
const OUTLIER = 2;

/**
 * Decides which queue a sidecore serves, and for how long. Does no I/O: it is told by a clock what time it is, by `goOn` what
 * was done, and by `Entry.pending` what waits. The poll loop drives it, and just so the simulator.
 *
 *     while ((entry = scheduler.next())) do { serve a piece } while (scheduler.goOn(entry, items, bytes))
 *
 * Time is measured, but not that of each piece: where a queue's pieces have long been small and as expected only one in 32 or so is, and the
 * others are charged what their queue's work took before. It decides by `policy`; see docs/scheduler.md.
 */
export class Scheduler<E extends Entry> implements Turn {
  /** In the order in which they have their turns. */
  readonly entries: E[] = [];
  /** Of the turn that is going on. */
  items = 0;
  bytes = 0;
  readonly times = new Float64Array(4);
  rounds = 0;
  readonly #policy: Policy;
  readonly #clock: (into: Float64Array, slot: number) => void;
  readonly #notified: () => boolean;
  readonly #settle: () => void;
  readonly #notifiedNs: number;
  /** Place in `entries` of the next that has its turn, and of the next that is looked at as possibly stuck. */
  #cursor = 0;
  #scan = 0;
  /** Those that come before it: a stuck queue, and the one whose turn ended for it. */
  #stuck: E | undefined;
  #interrupted: E | undefined;
  /** How far that one had come with its turn; its time is in `#interruptedNs`. */
  #interruptedItems = 0;
  #interruptedBytes = 0;
  readonly #interruptedNs = new Float64Array(1);
  #heaviest = 0;
  #timed = false;
  /** The time in `times` is that of the end of the last piece. */
  #fresh = false;
  /** Something was notified when a turn was looked at before, then at this time, ns. */
  #waits = false;
  readonly #waitsSince = new Float64Array(1);
  #brokenOff = false;

  /**
   * @param clock - puts the time, ns, into a slot
   * @param notified - whether something waits that is not polled
   * @param settle - does what pieces have left to be done together: where one is timed, before it begins and before it ends
   */
  constructor(
    options: SchedulerOptions,
    clock: (into: Float64Array, slot: number) => void,
    notified: () => boolean = () => false,
    settle: () => void = () => {},
  ) {
    this.#policy = createPolicy(options);
    this.#clock = clock;
    this.#notified = notified;
    this.#settle = settle;
    this.#notifiedNs = options.notifiedNs;
    this.#policy.beginRound(0, 1);
  }

  /** It has its turn last in the round. */
  add(entry: E): void {
    entry.roundsCounted = this.rounds;
    entry.seenPending = 0;
    this.entries.push(entry);
  }

  remove(entry: E): void {
    if (entry === this.#stuck) this.#stuck = undefined;
    if (entry === this.#interrupted) this.#interrupted = undefined;
    if (entry === entry.account.next) entry.account.next = undefined;
    const at = this.entries.indexOf(entry);
    if (at < 0) return;
    this.#countPolls(entry);
    this.entries.splice(at, 1);
    if (at < this.#cursor) this.#cursor--;
  }

  /** The queue whose turn it is; undefined when the round is over, or broken off because something was notified. */
  next(): E | undefined {
    this.#fresh = false;
    if (this.#brokenOff) {
      this.#brokenOff = false;
      return undefined;
    }
    const first = this.#stuck ?? this.#interrupted;
    if (first !== undefined) return this.#takeFirst(first);
    const { entries } = this;
    const policy = this.#policy;
    while (this.#cursor < entries.length) {
      const entry = entries[this.#cursor++]!;
      const pending = entry.pending();
      if (pending === 0) continue;
      if (pending >= LARGE_ITEMS && entry.timedPieces === 0) entry.timedPieces = 1;
      const { weight } = entry.account;
      if (weight > this.#heaviest) this.#heaviest = weight;
      if (policy.admits(entry)) return this.#begin(entry, false);
    }
    this.#endRound();
    return undefined;
  }

  /**
   * A piece of a turn was served: whether the turn goes on.
   *
   * @param items - done or gone on with; if none could be, the turn is over
   * @param bytes - moved or covered, and the work that came of it counted as such
   */
  goOn(entry: E, items: number, bytes: number): boolean {
    if (items === 0) return false;
    if (this.items === 0) entry.counters[ScheduleCounter.BATCHES]!++;
    this.items += items;
    entry.lastItems = this.items;
    this.bytes += bytes;
    this.#charge(entry, items, bytes);
    if (entry.pending() === 0) return false;
    return this.#decide(entry) && this.#beginPiece(entry);
  }

  /** To be called now and then: brings the numbers of polls up to date. */
  countPolls(): void {
    for (let i = 0; i < this.entries.length; i++) this.#countPolls(this.entries[i]!);
  }

  #countPolls(entry: E): void {
    entry.counters[ScheduleCounter.POLLS]! += this.rounds - entry.roundsCounted;
    entry.roundsCounted = this.rounds;
  }

  /** A stuck queue, or one whose turn ended for it and goes on, if there is still something to do in it. */
  #takeFirst(entry: E): E | undefined {
    if (entry === this.#stuck) {
      this.#stuck = undefined;
      if (entry.pending() === 0) return this.next();
      entry.counters[ScheduleCounter.STUCK]!++;
      return this.#begin(entry, true);
    }
    this.#interrupted = undefined;
    if (entry.pending() === 0) return this.next();
    this.items = this.#interruptedItems;
    this.bytes = this.#interruptedBytes;
    this.times[TurnTime.TURN_NS] = this.#interruptedNs[0]!;
    this.#policy.begin(entry, false);
    this.#beginPiece(entry);
    return entry;
  }

  /** The turn ends before its time, and goes on after those that are more urgent if its policy says so. */
  #interrupt(entry: E): void {
    if (!this.#policy.resumes(entry, this)) return;
    this.#interrupted = entry;
    this.#interruptedItems = this.items;
    this.#interruptedBytes = this.bytes;
    this.#interruptedNs[0] = this.times[TurnTime.TURN_NS]!;
  }

  #begin(entry: E, rescued: boolean): E {
    const { counters, times } = entry;
    this.items = 0;
    this.bytes = 0;
    this.times[TurnTime.TURN_NS] = 0;
    if (entry.seenPending !== 0) {
      entry.seenPending = 0;
      this.#readClock();
      const waited = this.times[TurnTime.NOW]! - times[EntryTime.SEEN]!;
      if (waited > counters[ScheduleCounter.WAIT_MAX_NS]!) counters[ScheduleCounter.WAIT_MAX_NS] = waited;
    }
    this.#policy.begin(entry, rescued);
    this.#beginPiece(entry);
    return entry;
  }

  /** True, for `goOn`. */
  #beginPiece(entry: E): boolean {
    this.#timed = entry.timedPieces > 0 || entry.untilTimed === 0;
    if (this.#timed) {
      this.#settle();
      this.#readClock();
      this.times[TurnTime.BEGUN] = this.times[TurnTime.NOW]!;
      entry.untilTimed = UNTIMED_MIN + (Math.imul(this.rounds, 0x9e3779b9) & UNTIMED_SPREAD);
    } else entry.untilTimed--;
    this.#fresh = false;
    return true;
  }

  /** Makes sure that the time in `times` is that of the end of the last piece. */
  #readClock(): void {
    if (this.#fresh) return;
    this.#clock(this.times, TurnTime.NOW);
    this.#fresh = true;
  }

  #charge(entry: E, items: number, bytes: number): void {
    const units = items * ITEM_UNITS + bytes;
    if (units >= LARGE_UNITS) entry.timedPieces = PIECES_TIMED;
    else if (entry.timedPieces > 0) entry.timedPieces--;
    this.times[TurnTime.PIECE_NS] = units * entry.times[EntryTime.NS_PER_UNIT]!;
    if (this.#timed) this.#measure(entry, items, units);
    this.#policy.charge(entry, this);
    const { counters } = entry;
    const ns = this.times[TurnTime.PIECE_NS]!;
    this.times[TurnTime.TURN_NS]! += ns;
    counters[ScheduleCounter.TIME_NS]! += ns;
    counters[ScheduleCounter.BYTES]! += bytes;
  }

  /** Puts what a piece of work took in the place of what was expected; learns from it what the queue's work takes. */
  #measure(entry: E, items: number, units: number): void {
    const expected = this.times[TurnTime.PIECE_NS]!;
    this.#settle();
    this.#readClock();
    const { times } = entry;
    const measured = this.times[TurnTime.NOW]! - this.times[TurnTime.BEGUN]!;
    const most = expected * OUTLIER > PLAUSIBLE_NS ? expected * OUTLIER : PLAUSIBLE_NS;
    const ns = measured < most ? measured : most;
    if (ns > expected * OUTLIER) entry.timedPieces = PIECES_TIMED;
    let speed = LEARNING;
    if (entry.timings < FIRST_TIMINGS) {
      speed = entry.timings === 0 || ns < expected ? 1 : 0;
      entry.timings++;
    }
    times[EntryTime.NS_PER_UNIT]! += (ns / units - times[EntryTime.NS_PER_UNIT]!) * speed;
    times[EntryTime.NS_PER_ITEM]! += (ns / items - times[EntryTime.NS_PER_ITEM]!) * speed;
    this.times[TurnTime.PIECE_NS] = ns;
  }

  /** Whether a turn with more to do goes on; if not, who is next. */
  #decide(entry: E): boolean {
    const policy = this.#policy;
    if (!policy.goesOn(entry, this)) {
      entry.counters[ScheduleCounter.LIMITED]!++;
      return false;
    }
    if (!policy.yields(this)) return true;
    if (this.#notified()) return this.#waitNotified(entry);
    this.#waits = false;
    const stuck = this.#findStuck(entry);
    if (stuck === undefined) return true;
    this.#stuck = stuck;
    // A stuck queue's own turn may end for another: then the first that was interrupted comes after both.
    if (this.#interrupted === undefined) this.#interrupt(entry);
    return false;
  }

  /** Something that is not polled waits: whether it may go on to. If not, the round is broken off, and `entry` goes on with the next. */
  #waitNotified(entry: E): boolean {
    this.#readClock();
    const now = this.times[TurnTime.NOW]!;
    if (!this.#waits) {
      this.#waits = true;
      this.#waitsSince[0] = now;
    }
    if (now - this.#waitsSince[0]! < this.#notifiedNs) return true;
    this.#waits = false;
    this.#brokenOff = true;
    if (this.#interrupted === undefined) this.#interrupt(entry);
    return false;
  }

  /** Looks at a few of the others, in turn, for one that the policy serves before its turn. */
  #findStuck(current: E): E | undefined {
    const { entries } = this;
    const looks = entries.length < STUCK_LOOKS_MAX ? entries.length : STUCK_LOOKS_MAX;
    if (looks < 2) return undefined;
    this.#readClock();
    const now = this.times[TurnTime.NOW]!;
    for (let i = 0; i < looks; i++) {
      if (this.#scan >= entries.length) this.#scan = 0;
      const entry = entries[this.#scan++]!;
      if (entry === current || entry === this.#interrupted) continue;
      const pending = entry.pending();
      if (pending === 0) {
        entry.seenPending = 0;
        continue;
      }
      if (entry.seenPending !== pending) {
        entry.seenPending = pending;
        entry.times[EntryTime.SEEN] = now;
      }
      if (this.#policy.rescues(entry, pending, now - entry.times[EntryTime.SEEN]!)) return entry;
    }
    return undefined;
  }

  #endRound(): void {
    this.#cursor = 0;
    this.rounds++;
    this.#policy.beginRound(this.rounds, this.#heaviest === 0 ? 1 : this.#heaviest);
    this.#heaviest = 0;
  }
}
