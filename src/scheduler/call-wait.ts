import { CALL_COMPLETIONS_MAX } from '../limits.js';

/** Decides whether calls wait, and learns from what that has brought: `Coalescing`. */
export interface CallPolicy {
  waits(): boolean;
  ended(gathered: boolean): void;
}

/** Where calls wait: a `CallDesk`. */
export interface CallHost {
  /** A call of this line is held: the line is to be told to `end` that in time. It may end it before by itself. */
  holdCall(line: CallWait): void;
}

/** What is shown to a driver, and what it wants to be called for: that of a `Virtqueue`. */
export interface CallRing {
  publish(): boolean;
  published(): number;
  publishedSince(from: number): number;
  publishedChains(): number;
  stillWants(from: number): boolean;
}

/** What a line of calls is made of. */
export interface CallWaitParts {
  readonly ring: CallRing;
  /** Places of the ring. */
  readonly size: number;
  /** Somebody can be called. */
  readonly callable: boolean;
  /** Left out where calls never wait. */
  readonly policy?: CallPolicy | undefined;
  readonly host: CallHost;
}

/**
 * When one queue's calls (interrupts) are sent. What is complete is shown at once, whatever becomes of the call: a driver that polls
 * never waits. A call that the driver wants may wait for more completions. What it wants is looked at again when the wait is over: a
 * driver that has come by itself meanwhile needs no call any more. VIRTIO 1.3, 2.7.7 and 2.8.10
 *
 * A wish that is dropped loses no wake-up. It is dropped only if the driver asks for nothing that was published since it was held,
 * read behind a full barrier after the last publication. A driver that asks later than that looks at the ring after it has asked,
 * and sees all of it. It is as if all had been published at once, at the end of the wait, by a device that was slow to look.
 *
 * How a call is sent is not decided here; the simulator's are no system calls.
 */
export abstract class CallWait {
  /** When the wait ends, ns, of the host's clock: in any case, and if nothing more is published before. The host's. */
  readonly due = new Float64Array(2);
  /** More was published since the host looked last. */
  moved = false;
  /** A call waits. */
  held = false;
  /** In the host's list. The host's. */
  listed = false;
  readonly #ring: CallRing;
  readonly #callable: boolean;
  readonly #policy: CallPolicy | undefined;
  readonly #host: CallHost;
  /** Places of the ring for which a call waits: less than all, so that where the wait began can still be told. */
  readonly #placesMax: number;
  /** Where the publication begins for which a call is held, chains before it, and chains with it. */
  #from = 0;
  #before = 0;
  #first = 0;

  constructor({ ring, size, callable, policy, host }: CallWaitParts) {
    this.#ring = ring;
    this.#callable = callable;
    this.#policy = policy;
    this.#host = host;
    this.#placesMax = size - (size >>> 2);
  }

  /** Calls, whatever the driver said. */
  abstract call(): void;
  /** A call waits from now on; or one that has waited is not wanted any more. */
  protected abstract countHeld(): void;
  protected abstract countSpared(): void;

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
    } else if (wanted && this.#callable) {
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
    else this.countSpared();
  }

  #hold(from: number, before: number): void {
    this.held = true;
    this.moved = false;
    this.#from = from;
    this.#before = before;
    this.#first = this.#ring.publishedChains();
    this.countHeld();
    this.#host.holdCall(this);
  }
}
