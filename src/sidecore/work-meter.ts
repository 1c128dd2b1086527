import type { CoreState } from './core-state.js';

/** Weight of the newest look at what an empty turn takes. */
const LEARNING_RATE = 1 / 8;

/**
 * Tells a core's time in work from its time in empty polling, with two readings of the clock in 64 turns. Turns are counted,
 * not timed: a reading takes as long as a few empty turns, and what arrives meanwhile would make the timed turns busier than
 * the others. What empty turns take is learned from a few at a time; the rest of the time is work.
 */
export class WorkMeter {
  readonly #state: CoreState;
  /** What a reading of the clock takes, ns. */
  readonly #clockNs: number;
  #mark: number;
  #turns = 0;
  #emptyTurns = 0;
  /** Zero until it is known: then all is work. */
  #emptyTurnNs = 0;

  constructor(state: CoreState, clock: () => number) {
    this.#state = state;
    let least = Number.POSITIVE_INFINITY;
    for (let i = 0; i < 100; i++) least = Math.min(least, -clock() + clock());
    this.#clockNs = least;
    this.#mark = clock();
  }

  /** Counts turns that took or completed so many requests in all. */
  count(turns: number, work: number): void {
    this.#turns += turns;
    if (work === 0) this.#emptyTurns += turns;
  }

  /** So many turns in a row, between two readings of the clock, were empty. */
  learn(turns: number, ns: number): void {
    const sample = Math.max(0, ns - this.#clockNs) / turns;
    this.#emptyTurnNs += (sample - this.#emptyTurnNs) * (this.#emptyTurnNs === 0 ? 1 : LEARNING_RATE);
  }

  /** What an empty turn takes has changed: other queues are polled. */
  forget(): void {
    this.#emptyTurnNs = 0;
  }

  /** Adds the time up to now to the core's counters. */
  settle(nowNs: number): void {
    const ns = nowNs - this.#mark;
    const emptyNs = this.#emptyTurns === this.#turns ? ns : Math.min(ns, this.#emptyTurns * this.#emptyTurnNs);
    this.#state.countTurns(this.#turns, ns - emptyNs, emptyNs);
    this.#turns = 0;
    this.#emptyTurns = 0;
    this.#mark = nowNs;
  }

  /** Time asleep is counted elsewhere. */
  wake(nowNs: number): void {
    this.#mark = nowNs;
  }
}
