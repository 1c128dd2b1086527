import type { Account } from './account.js';
import { SCHEDULE_COUNTERS } from './counters.js';

/** Slots of `Entry.times`. */
export const EntryTime = {
  /** What a unit of its work takes, ns, as learned; zero while that is not known. */
  NS_PER_UNIT: 0,
  /** What one of its items takes, ns. */
  NS_PER_ITEM: 1,
  /** When what waits in it was first seen, ns. */
  SEEN: 2,
} as const;

/** A queue as a scheduler sees it: what waits in it, and for whom it works. */
export abstract class Entry {
  readonly account: Account;
  /** By `ScheduleCounter`. */
  readonly counters: Float64Array<ArrayBufferLike>;
  /** By `EntryTime`. */
  readonly times = new Float64Array(3);
  /** What waited at the last look for stuck queues; zero if that was nothing. */
  seenPending = 0;
  /** Items of its last turn. */
  lastItems = 0;
  /** Pieces of work that are timed for sure, pieces until one is timed in any case, and timings so far, as long as they are the first. */
  timedPieces = 16;
  untilTimed = 0;
  timings = 0;
  /** Rounds of the scheduler when its polls were last counted. */
  roundsCounted = 0;

  constructor(account: Account, counters: Float64Array<ArrayBufferLike> = new Float64Array(SCHEDULE_COUNTERS)) {
    this.account = account;
    this.counters = counters;
  }

  /** Items that wait to be served, or have been begun; zero if there are none. A ring that cannot tell says one. */
  abstract pending(): number;
}
