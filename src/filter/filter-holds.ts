import { AsyncLocalStorage } from 'node:async_hooks';
import { setTimeout as sleep } from 'node:timers/promises';
import { SidecoreError } from '../errors.js';
import { FILTER_HOLD_S } from '../limits.js';

/** A function of a filter's that runs while its disk is held. */
interface Hold {
  readonly label: string;
  ended: boolean;
}

/** Longest that a timer can wait, s: three weeks. Who says more, means for good. */
const TIMER_S_MAX = (2 ** 31 - 1) / 1000;

/** Within which hold, if any, code of this thread is running. */
const within = new AsyncLocalStorage<Hold>();

/** What the holds of a filter need to know. */
export interface HoldParts {
  /** "VM/device" of its disk. */
  readonly label: string;
  /** As the filter is called in the configuration. */
  readonly use: string;
  /** Holds the disk; `holder` is who does. */
  hold<T>(during: () => Promise<T>, holder: string): Promise<T>;
  /** Takes the filter out of service. */
  fail(text: string): void;
}

/** Has the disk of a filter held for it. That ends in any case, whatever the filter does meanwhile. */
export class FilterHolds {
  readonly #parts: HoldParts;
  readonly #name: string;
  #closed = false;
  /** Settled when nothing of the filter's runs within a hold. */
  #running: Promise<unknown> = Promise.resolve();

  constructor(parts: HoldParts) {
    this.#parts = parts;
    this.#name = `filter ${parts.use}`;
  }

  /** As `BlockFilterSetup.hold` says it. */
  async hold<T>(during: () => T | Promise<T>, secondsMax = FILTER_HOLD_S): Promise<T> {
    const { label, hold } = this.#parts;
    const outer = within.getStore();
    // It would wait for its own end.
    if (outer !== undefined && outer.label === label && !outer.ended)
      throw this.#fault('hold() was called within hold()');
    return hold(() => {
      if (this.#closed) throw this.#fault('hold() was called by a filter that is let go of');
      const bounded = this.#run(during, secondsMax);
      this.#running = bounded.catch(() => {});
      return bounded;
    }, this.#name);
  }

  /** The filter is let go of: nothing of it runs within a hold any more. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.#running;
  }

  async #run<T>(during: () => T | Promise<T>, secondsMax: number): Promise<T> {
    const current: Hold = { label: this.#parts.label, ended: false };
    const work = within.run(current, async () => during());
    const timer = new AbortController();
    try {
      return await (secondsMax > TIMER_S_MAX ? work : Promise.race([work, this.#late(secondsMax, timer.signal)]));
    } finally {
      current.ended = true;
      timer.abort();
    }
  }

  /** Rejects after a time, and the filter has failed then. */
  #late(seconds: number, signal: AbortSignal): Promise<never> {
    const late = sleep(1000 * seconds, undefined, { signal, ref: false }).then(() => {
      const text = `hold() has not come to its end for more than ${seconds} s`;
      this.#parts.fail(text);
      throw this.#fault(text);
    });
    late.catch(() => {});
    return late;
  }

  #fault(text: string): SidecoreError {
    return new SidecoreError('FILTER_FAILED', `${this.#parts.label}: ${this.#name}: ${text}`);
  }
}
