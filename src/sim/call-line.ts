import { type CallHost, type CallRing, CallWait } from '../scheduler/call-wait.js';
import { Coalescing } from '../scheduler/coalescing.js';
import type { Endpoint } from './endpoint.js';

/** Who sends calls, and knows when a wait is over: a sidecore. */
export interface CallServer extends CallHost {
  call(endpoint: Endpoint): void;
}

/** A used ring, as far as calls go: what is put in and what has been shown, and the driver's event index. VIRTIO 1.3, 2.7.7.2 */
class UsedRing implements CallRing {
  readonly #endpoint: Endpoint;
  #shown = 0;

  constructor(endpoint: Endpoint) {
    this.#endpoint = endpoint;
  }

  publish(): boolean {
    const from = this.#shown;
    this.#shown = this.#endpoint.used.put;
    return this.stillWants(from);
  }

  published(): number {
    return this.#shown;
  }

  publishedSince(from: number): number {
    return this.#shown - from;
  }

  publishedChains(): number {
    return this.#shown & 0xffff;
  }

  stillWants(from: number): boolean {
    const { usedEvent } = this.#endpoint;
    return usedEvent >= from && usedEvent < this.#shown;
  }
}

/** The way of calls to one guest: when one is sent the real code says, over a ring that is a model. */
export class CallLine extends CallWait {
  readonly #endpoint: Endpoint;
  readonly #server: { now: CallServer | undefined };

  /** @param size - of the ring */
  constructor(endpoint: Endpoint, size: number) {
    const server: { now: CallServer | undefined } = { now: undefined };
    const host: CallHost = { holdCall: (line) => server.now!.holdCall(line) };
    super({ ring: new UsedRing(endpoint), size, callable: true, policy: new Coalescing(), host });
    this.#endpoint = endpoint;
    this.#server = server;
  }

  /** Who serves the ring from now on. */
  servedBy(server: CallServer): void {
    this.#server.now = server;
  }

  override call(): void {
    this.#server.now!.call(this.#endpoint);
  }

  protected override countHeld(): void {}

  protected override countSpared(): void {}
}
