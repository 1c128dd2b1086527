import { CORE_ANSWER_MS_MAX, CORE_START_MS_MAX } from '../limits.js';
import type { CoreState } from '../sidecore/core-state.js';
import type { CoreRequest } from '../sidecore/messages.js';

/** Pause between two looks whether the cores get on, ms: a front end can hold one up for about twice as long. */
export const SUPERVISE_MS = 50;
/** Looks without progress after which a core counts as stuck: one may fall into a time slice that the host took. */
const STUCK_LOOKS = 2;
/** Looks without progress, or without an answer, after which it counts as stalled. */
const STALLED_LOOKS = CORE_ANSWER_MS_MAX / SUPERVISE_MS;
/** The same for a thread that has not begun yet: many that start together take seconds. */
const STARTING_LOOKS = CORE_START_MS_MAX / SUPERVISE_MS;

/** What a core was asked, and has not answered. */
export interface Unanswered {
  readonly request: CoreRequest;
  /** Looks at it so far. */
  looks: number;
}

/**
 * Whether a core gets on: its turns go by, or it sleeps, and what can be answered at once is. Time is counted in looks, so that a main
 * thread that was itself kept from its CPU blames nobody.
 */
export class CoreWatch {
  /** It may be held up by a front end. */
  stuck = false;
  /** It has not got on for `CORE_ANSWER_MS_MAX`, and did not since. */
  stalled = false;
  #beat = 0;
  #looks = 0;
  /** Looks at a thread that starts. */
  #starting = 0;

  /** To be called every `SUPERVISE_MS`. */
  look({ asleep, beat, threadId }: CoreState, unanswered: Iterable<Unanswered>): void {
    this.#starting = threadId === 0 ? this.#starting + 1 : 0;
    if (this.#starting > 0) {
      this.restart(unanswered);
      this.stuck = false;
      this.stalled = this.#starting >= STARTING_LOOKS;
      return;
    }
    this.#looks = asleep || beat !== this.#beat ? 0 : this.#looks + 1;
    this.#beat = beat;
    let longest = this.#looks;
    for (const one of unanswered) if (isPrompt(one.request)) longest = Math.max(longest, ++one.looks);
    this.stuck = this.#looks >= STUCK_LOOKS;
    this.stalled = longest >= STALLED_LOOKS;
  }

  /** Another thread is there. */
  restart(unanswered: Iterable<Unanswered>): void {
    this.#looks = 0;
    for (const one of unanswered) one.looks = 0;
  }
}

/** It is answered as soon as the core looks at it: not when what is in flight has ended. */
const isPrompt = ({ op }: CoreRequest): boolean => op !== 'detach' && op !== 'stop';
