import { CALL_WAITS_SPARED_MAX } from '../limits.js';

/**
 * Whether a call (interrupt) may wait for more completions: one of these for each queue. It learns from what waiting has brought: a
 * queue whose waits end because nothing more comes has its calls sent at once, and tries again more and more seldom; one that gains
 * by them waits each time. So a guest with one request in flight waits for next to nothing, without anybody having to say so.
 *
 * How long a wait may take is a limit (`CALL_WAIT_NS_MAX`); this says only whether there is one.
 */
export class Coalescing {
  /** Calls that go at once before the next wait. */
  #spared = 0;
  /** As many as there were after the wait that brought nothing last; zero after one that did. */
  #penalty = 0;

  /** A call is wanted while the queue has more to come. Whether it is to wait for that. */
  waits(): boolean {
    if (this.#spared === 0) return true;
    this.#spared--;
    return false;
  }

  /** A wait is over. @param gathered - whether more completions came, up to its end */
  ended(gathered: boolean): void {
    if (gathered) {
      this.#penalty = 0;
      return;
    }
    this.#penalty = this.#penalty === 0 ? 1 : Math.min(2 * this.#penalty, CALL_WAITS_SPARED_MAX) | 0;
    this.#spared = this.#penalty;
  }
}
