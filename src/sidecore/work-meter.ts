import type { CoreState } from './core-state.js';

/** What an empty turn takes is the least that was seen; it is forgotten by this much at each look that took longer. */
const FORGETTING = 1 + 1 / 64;
/** Readings of the clock in a row that tell what one takes. */
const CLOCK_TRIALS = 100;
const NS_PER_S = 1e9;

/** Slots of `#times`. */
const Time = {
  /** Up to when time is accounted for. */
  MARK: 0,
  /** When the timed turns began, and when they ended. */
  BEGIN: 1,
  END: 2,
  /** What an empty turn takes; zero while that is not known: then all is work. */
  EMPTY_TURN: 3,
} as const;

/**
 * Tells a core's time in work from its time in empty polling, with two readings of the clock in 64 turns. Turns are counted,
 * not timed: a reading takes as long as a few empty turns, and what arrives meanwhile would make the timed turns busier than
 * the others. What empty turns take is learned from a few at a time; the rest of the time is work.
 */
export class WorkMeter {
  readonly #state: CoreState;
  /** Puts the time, ns, into a slot. */
  readonly #clock: (into: Float64Array, slot: number) => void;
  /** What a reading of the clock takes, ns. */
  readonly #clockNs: number;
  /** Not fields of numbers: those would be boxed anew each time, and a sidecore must not allocate. */
  readonly #times = new Float64Array(Object.keys(Time).length);
  #turns = 0;
  #emptyTurns = 0;
  /** The two when the timed turns began. */
  #turnsBefore = 0;
  #emptyBefore = 0;

  constructor(state: CoreState, clock: (into: Float64Array, slot: number) => void) {
    this.#state = state;
    this.#clock = clock;
    const times = this.#times;
    let least = Number.POSITIVE_INFINITY;
    for (let i = 0; i < CLOCK_TRIALS; i++) {
      clock(times, Time.BEGIN);
      clock(times, Time.END);
      least = Math.min(least, times[Time.END]! - times[Time.BEGIN]!);
    }
    this.#clockNs = least;
    clock(times, Time.MARK);
  }

  /** Counts a turn that took or completed so many requests. */
  count(work: number): void {
    this.#turns++;
    if (work === 0) this.#emptyTurns++;
  }

  /** Turns that are timed together begin. */
  begin(): void {
    this.#turnsBefore = this.#turns;
    this.#emptyBefore = this.#emptyTurns;
    this.#clock(this.#times, Time.BEGIN);
  }

  /** They end; accounts for the time up to now. */
  end(): void {
    const times = this.#times;
    this.#clock(times, Time.END);
    const turns = this.#turns - this.#turnsBefore;
    if (this.#emptyTurns - this.#emptyBefore === turns) {
      const known = times[Time.EMPTY_TURN]!;
      const sample = Math.max(0, times[Time.END]! - times[Time.BEGIN]! - this.#clockNs) / turns;
      times[Time.EMPTY_TURN] = known === 0 ? sample : Math.min(sample, known * FORGETTING);
    }
    this.#settle();
  }

  /** Accounts for the time up to now: the core goes to sleep, and what follows is not its time. */
  sleep(): void {
    this.#clock(this.#times, Time.END);
    this.#settle();
  }

  wake(): void {
    this.#clock(this.#times, Time.END);
    this.#times[Time.MARK] = this.#times[Time.END]!;
  }

  /** When the clock was last read, s: at the end of timed turns, or when the core went to sleep or woke. */
  get nowS(): number {
    return Math.floor(this.#times[Time.END]! / NS_PER_S);
  }

  /** What an empty turn takes has changed: other queues are polled. */
  forget(): void {
    this.#times[Time.EMPTY_TURN] = 0;
  }

  #settle(): void {
    const times = this.#times;
    const ns = times[Time.END]! - times[Time.MARK]!;
    const allEmpty = this.#emptyTurns === this.#turns;
    const emptyNs = allEmpty ? ns : Math.min(ns, this.#emptyTurns * times[Time.EMPTY_TURN]!);
    this.#state.countTurns(this.#turns, ns - emptyNs, emptyNs);
    this.#turns = 0;
    this.#emptyTurns = 0;
    times[Time.MARK] = times[Time.END]!;
  }
}
