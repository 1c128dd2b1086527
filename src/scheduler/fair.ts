import { AccountValue } from './account.js';
import type { Entry } from './entry.js';
import { type Policy, type SchedulerOptions, type Turn, TurnTime } from './policy.js';

/**
 * Shares time among accounts by their weights: deficit round robin, in ns. In each round an account may use its share of a quantum;
 * what it used too much it owes, and what it did not use it keeps, up to one share. A stuck queue is served out of its order as
 * long as its account is not in debt, so that giving way never becomes a way to more than one's share.
 */
export class FairPolicy implements Policy {
  readonly #quantumNs: number;
  #round = 0;
  #heaviest = 1;

  constructor({ quantumNs }: SchedulerOptions) {
    this.#quantumNs = quantumNs;
  }

  beginRound(round: number, heaviest: number): void {
    this.#round = round;
    this.#heaviest = heaviest;
  }

  admits(entry: Entry): boolean {
    this.#renew(entry);
    return entry.account.values[AccountValue.BUDGET_NS]! > 0;
  }

  goesOn(entry: Entry, turn: Turn): boolean {
    return entry.account.values[AccountValue.BUDGET_NS]! > 0 && turn.times[TurnTime.TURN_NS]! < this.#quantumNs;
  }

  yields(): boolean {
    return true;
  }

  rescues(entry: Entry): boolean {
    return this.admits(entry);
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
