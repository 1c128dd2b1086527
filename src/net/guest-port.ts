import type { Frame } from './frame.js';
import { type Port, PortCounter } from './port.js';
import type { NetRxQueue } from './rx-queue.js';

/** A network card of a guest, as a port of the switch: its receive rings. */
export class GuestPort implements Port {
  readonly number: number;
  readonly counters: Float64Array;
  /** By queue pair; a pair that is not served here has none. */
  readonly #rings: NetRxQueue[] = [];

  constructor(number: number, counters: Float64Array) {
    this.number = number;
    this.counters = counters;
  }

  /** No ring of it is served here any more. */
  get empty(): boolean {
    return this.#rings.length === 0;
  }

  add(ring: NetRxQueue): void {
    this.#rings.push(ring);
  }

  remove(ring: NetRxQueue): void {
    const at = this.#rings.indexOf(ring);
    if (at >= 0) this.#rings.splice(at, 1);
  }

  /** Frames of one queue pair of a sender stay in one ring, so that they keep their order. */
  deliver(frame: Frame): void {
    const count = this.#rings.length;
    const ring = count === 0 ? undefined : this.#rings[count === 1 ? 0 : frame.pair % count]!;
    if (ring === undefined || !ring.ready || ring.closed) {
      this.counters[PortCounter.DROPPED_NOT_READY]!++;
    } else if (ring.put(frame)) {
      this.counters[PortCounter.FRAMES_OUT]!++;
      this.counters[PortCounter.BYTES_OUT]! += frame.byteLength;
    } else {
      this.counters[PortCounter.DROPPED_NO_BUFFER]!++;
    }
  }
}
