import { CALL_COMPLETIONS_MAX } from '../limits.js';
import { Coalescing } from '../scheduler/coalescing.js';
import type { Endpoint } from './endpoint.js';

/** Who sends calls, and knows when a wait is over. */
export interface CallHost {
  call(endpoint: Endpoint): void;
  hold(line: CallLine): void;
}

/** The way of calls to one guest, as `virtio/call-line.ts` goes it, with the real decision whether one waits. */
export class CallLine {
  /** A call waits; it is in its host's list. */
  held = false;
  listed = false;
  /** More was shown since the host looked last. */
  moved = false;
  /** When the wait ends, ns: in any case, and if nothing more is shown before. The host's. */
  dueNs = 0;
  quietNs = 0;
  readonly #endpoint: Endpoint;
  readonly #most: number;
  readonly #policy = new Coalescing();
  /** Where the publication begins for which a call is held, and where it ended. */
  #from = 0;
  #first = 0;

  /** @param size - of the ring */
  constructor(endpoint: Endpoint, size: number) {
    this.#endpoint = endpoint;
    this.#most = Math.min(CALL_COMPLETIONS_MAX, size - (size >>> 2));
  }

  /** Completions were shown, from that number on. @param more - others follow soon */
  published(from: number, more: boolean, host: CallHost): void {
    const { put } = this.#endpoint.used;
    if (this.held) {
      this.moved = true;
      if (!more || put - this.#from >= this.#most) this.end(host);
    } else if (this.#wants(from)) {
      if (more && put - from < this.#most && this.#policy.waits()) this.#hold(from, host);
      else host.call(this.#endpoint);
    }
  }

  /**
   * A wait is over: calls, if the driver still wants that.
   *
   * @param inVain - nothing has come for so long that nothing more will
   */
  end(host: CallHost, inVain = false): void {
    if (!this.held) return;
    this.held = false;
    this.#policy.ended(!inVain && this.#endpoint.used.put !== this.#first);
    if (this.#wants(this.#from)) host.call(this.#endpoint);
  }

  #hold(from: number, host: CallHost): void {
    this.held = true;
    this.moved = false;
    this.#from = from;
    this.#first = this.#endpoint.used.put;
    host.hold(this);
  }

  /** The driver's event index lies in what was shown since. VIRTIO 1.3, 2.7.7.2 */
  #wants(from: number): boolean {
    const { usedEvent, used } = this.#endpoint;
    return usedEvent >= from && usedEvent < used.put;
  }
}
