import { AccountValue } from './account.js';
import { type Entry, EntryTime } from './entry.js';
import { type Policy, type SchedulerOptions, type Turn, TurnTime } from './policy.js';

/** What is served before its turn takes no longer than this part of a quantum. */
const URGENT = 1 / 4;
/** For each ns served in its turn, so much is put by for what is urgent: those in turn keep three quarters of a core. */
const PUT_BY = 1 / 3;
/** At most so many quanta are put by. */
const PUT_BY_QUANTA_MAX = 8;

/**
 * Shares time among accounts by their weights: deficit round robin, in ns. In each round an account may use its share of a quantum;
 * what it used too much it owes, and what it did not use it keeps, up to one share.
 *
 * What will take little time is urgent: it is served after the piece of work that is going on, and not after all others' turns. Its
 * account pays for it; where that has nothing left, what was put by does. So who asks for little at a time never waits
 * long, and others never lose more than a quarter of their share to it.
 */
export class FairPolicy implements Policy {
  readonly #quantumNs: number;
  readonly #urgentNs: number;
  #round = 0;
  #heaviest = 1;
  /** Put by for what is urgent, ns; and served in turn since something urgent was. */
  readonly #putBy = new Float64Array(1);
  readonly #sinceUrgent = new Float64Array(1);
  /** The turn that is going on is paid from there. */
  #isGift = false;

  constructor({ quantumNs }: SchedulerOptions) {
    this.#quantumNs = quantumNs;
    this.#urgentNs = quantumNs * URGENT;
  }

  beginRound(round: number, heaviest: number): void {
    this.#round = round;
    this.#heaviest = heaviest;
  }

  admits(entry: Entry): boolean {
    this.#renew(entry);
    const { account } = entry;
    const { next } = account;
    // Its queues take turns, or the first would use up what all have in each round.
    if (next !== undefined && next !== entry && next.pending() > 0) return false;
    const may = account.values[AccountValue.BUDGET_NS]! > 0;
    account.next = may ? undefined : entry;
    return may;
  }

  begin(entry: Entry, rescued: boolean): void {
    if (rescued) this.#sinceUrgent[0] = 0;
    this.#isGift = rescued && entry.account.values[AccountValue.BUDGET_NS]! <= 0;
  }

  charge(entry: Entry, turn: Turn): void {
    const ns = turn.times[TurnTime.PIECE_NS]!;
    const putBy = this.#putBy;
    if (this.#isGift) {
      putBy[0]! -= ns;
      return;
    }
    this.#sinceUrgent[0]! += ns;
    entry.account.values[AccountValue.BUDGET_NS]! -= ns;
    const most = PUT_BY_QUANTA_MAX * this.#quantumNs;
    const sum = putBy[0]! + ns * PUT_BY;
    putBy[0] = sum < most ? sum : most;
  }

  goesOn(entry: Entry, turn: Turn): boolean {
    return entry.account.values[AccountValue.BUDGET_NS]! > 0 && turn.times[TurnTime.TURN_NS]! < this.#quantumNs;
  }

  /** Not more often than what is urgent may take itself: others would spend more time on being interrupted. */
  yields(): boolean {
    return this.#sinceUrgent[0]! >= this.#urgentNs;
  }

  rescues(entry: Entry, pending: number): boolean {
    // A ring that cannot tell how many wait says one.
    const items = pending > entry.lastItems ? pending : entry.lastItems;
    if (items * entry.times[EntryTime.NS_PER_ITEM]! > this.#urgentNs) return false;
    return this.admits(entry) || this.#putBy[0]! > 0;
  }

  resumes(entry: Entry, turn: Turn): boolean {
    return this.goesOn(entry, turn);
  }

  /** Once a round, an account's first queue renews the budget of all. */
  #renew({ account }: Entry): void {
    if (account.round === this.#round) return;
    account.round = this.#round;
    const { values, weight } = account;
    const share = (this.#quantumNs * weight) / this.#heaviest;
    const kept = values[AccountValue.BUDGET_NS]!;
    values[AccountValue.BUDGET_NS] = share + (kept < share ? kept : share);
  }
}
