import { signal } from '../host/eventfd.js';
import { CALL_COMPLETIONS_MAX } from '../limits.js';
import { QueueCounter, type QueueState } from './queue-state.js';
import type { Virtqueue } from './virtqueue.js';

/** Decides whether calls wait, and learns from what that has brought; `Coalescing` of the scheduler. */
export interface CallPolicy {
  waits(): boolean;
  ended(gathered: boolean): void;
}

/** Where calls wait. */
export interface CallHost {
  /** A call of this line is held: the line is to be told to `end` that in time. It may end it before by itself. */
  holdCall(line: CallLine): void;
}

/** What becomes of a queue's calls. */
export interface CallOptions {
  readonly ring: Virtqueue;
  readonly state: QueueState;
  /** Event counter; negative if the front end polls. */
  readonly callFd: number;
  /** Left out where calls never wait. */
  readonly policy?: CallPolicy | undefined;
  readonly host: CallHost;
}

/**
 * The way of one queue's calls (interrupts) to its driver. What is complete is shown at once, whatever becomes of the call: a driver
 * that polls never waits. A call that the driver wants may wait for more completions. What it wants is looked at again when the
 * wait is over: a driver that has come by itself meanwhile needs no call any more. VIRTIO 1.3, 2.7.7 and 2.8.10
 *
 * A wish that is dropped loses no wake-up. It is dropped only if the driver asks for nothing that was published since it was held,
 * read behind a full barrier after the last publication. A driver that asks later than that looks at the ring after it has asked,
 * and sees all of it. It is as if all had been published at once, at the end of the wait, by a device that was slow to look.
 */
export class CallLine {
  /** When the wait ends, ns, of the host's clock: in any case, and if nothing more is published before. The host's. */
  readonly due = new Float64Array(2);
  /** More was published since the host looked last. */
  moved = false;
  /** A call waits. */
  held = false;
  /** In the host's list. The host's. */
  listed = false;
  readonly #ring: Virtqueue;
  readonly #counters: Float64Array;
  readonly #fd: number;
  readonly #policy: CallPolicy | undefined;
  readonly #host: CallHost;
  /** Places of the ring for which a call waits: less than all, so that where the wait began can still be told. */
  readonly #placesMax: number;
  /** Where the publication begins for which a call is held, chains before it, and chains with it. */
  #from = 0;
  #before = 0;
  #first = 0;

  constructor({ ring, state, callFd, policy, host }: CallOptions) {
    this.#ring = ring;
    this.#counters = state.counters;
    this.#fd = callFd;
    this.#policy = policy;
    this.#host = host;
    this.#placesMax = state.queueSize - (state.queueSize >>> 2);
  }

  /**
   * Shows the driver all that was pushed, and calls it, now or later, if it wants to be called.
   *
   * @param more - the queue has more to complete soon: a call may wait for that
   */
  publish(more: boolean): void {
    const ring = this.#ring;
    const from = ring.published();
    const before = ring.publishedChains();
    const wanted = ring.publish();
    if (this.held) {
      this.moved = true;
      if (!more || this.#isEnough(this.#from, this.#before)) this.end();
    } else if (wanted && this.#fd >= 0) {
      if (more && !this.#isEnough(from, before) && this.#policy?.waits() === true) this.#hold(from, before);
      else this.call();
    }
  }

  #isEnough(from: number, before: number): boolean {
    const ring = this.#ring;
    if (ring.publishedSince(from) >= this.#placesMax) return true;
    return ((ring.publishedChains() - before) & 0xffff) >= CALL_COMPLETIONS_MAX;
  }

  /**
   * A wait is over, whatever the reason: calls, if the driver still wants that.
   *
   * @param inVain - nothing has come for so long that nothing more will: the driver may have waited for its call
   */
  end(inVain = false): void {
    if (!this.held) return;
    this.held = false;
    this.#policy?.ended(!inVain && this.#ring.publishedChains() !== this.#first);
    if (this.#ring.stillWants(this.#from)) this.call();
    else this.#counters[QueueCounter.CALLS_SPARED]!++;
  }

  /** Calls, whatever the driver said: it may wait for a call that a dead sidecore owed it. */
  call(): void {
    if (this.#fd < 0) return;
    this.#counters[QueueCounter.CALLS]!++;
    signal(this.#fd);
  }

  #hold(from: number, before: number): void {
    this.held = true;
    this.moved = false;
    this.#from = from;
    this.#before = before;
    this.#first = this.#ring.publishedChains();
    this.#counters[QueueCounter.CALLS_HELD]!++;
    this.#host.holdCall(this);
  }
}
