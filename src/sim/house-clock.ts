import { HOUSEKEEPING_TURNS } from '../limits.js';

/** Rounds until a sidecore looks for idle queues and kicks, those counted that it polls in vain: no events, but a time. */
export class HouseClock {
  #until: number = HOUSEKEEPING_TURNS;
  #due = false;

  /** A look is taken, or the sidecore has slept. */
  restart(): void {
    this.#until = HOUSEKEEPING_TURNS;
  }

  /** It is to look when it goes on. */
  hurry(): void {
    this.#due = true;
  }

  /** A round is over; true if a look is due. */
  count(): boolean {
    return --this.#until === 0;
  }

  /** Rounds in vain are over, which took so long altogether, and so long each, ns. */
  passed(ns: number, roundNs: number): void {
    const left = this.#until - Math.round(ns / roundNs);
    const over = left % HOUSEKEEPING_TURNS;
    const isNow = this.#due || (left <= 0 && over === 0);
    this.#until = isNow ? 1 : left > 0 ? left : HOUSEKEEPING_TURNS + over;
    this.#due = false;
  }

  /** When it looks next, ns, if it polls in vain from a time on. */
  nextNs(now: number, from: number, roundNs: number): number {
    const first = from + this.#until * roundNs;
    const between = HOUSEKEEPING_TURNS * roundNs;
    return first + Math.max(0, Math.ceil((now - first) / between)) * between;
  }
}
