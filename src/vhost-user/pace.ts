import { setTimeout as sleep } from 'node:timers/promises';
import { SESSION_MESSAGES_BURST, SESSION_MESSAGES_PER_SECOND } from '../limits.js';

/** Time and patience, so that a test can have its own. */
export interface PaceClock {
  now(): number;
  sleep(ms: number): Promise<unknown>;
}

const SYSTEM: PaceClock = { now: () => performance.now(), sleep };

/**
 * How fast a front end may make us work: so many messages at once, then so many a second. One that sends more is answered
 * later, so that it cannot take the time of the thread, and of the sidecore, that it shares with others.
 */
export class Pace {
  readonly #clock: PaceClock;
  #allowance = SESSION_MESSAGES_BURST;
  #then: number;

  constructor(clock = SYSTEM) {
    this.#clock = clock;
    this.#then = clock.now();
  }

  /** Resolves when the front end may have work of this many messages done. */
  async take(messages: number): Promise<void> {
    const now = this.#clock.now();
    const earned = ((now - this.#then) * SESSION_MESSAGES_PER_SECOND) / 1000;
    this.#allowance = Math.min(SESSION_MESSAGES_BURST, this.#allowance + earned) - messages;
    this.#then = now;
    if (this.#allowance < 0) await this.#clock.sleep((-this.#allowance * 1000) / SESSION_MESSAGES_PER_SECOND);
  }
}
