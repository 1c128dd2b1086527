import { PUBLISH_BYTES, PUBLISH_LARGE_REQUESTS } from '../limits.js';
import type { DeviceQueue } from '../virtio/device-queue.js';

/** Bytes of a request on average from which it is large: it takes longer than showing it. */
const LARGE_BYTES = 2 ** 15;

/**
 * Has queues show their drivers what was done, now and then within a turn and at its end. What a driver and the device write by turns
 * goes from one CPU's cache to the other's each time, which takes a tenth of a microsecond and more for each line of a ring: so several
 * large requests are shown together. Small ones are shown after each piece: the driver goes on with them, and would run dry.
 */
export class Publisher {
  readonly #queues: DeviceQueue[] = [];
  #count = 0;
  /** Since what was done was shown. */
  #requests = 0;
  #bytes = 0;
  readonly #onPublished: (queue: DeviceQueue) => void;

  /** @param onPublished - told of each queue */
  constructor(onPublished: (queue: DeviceQueue) => void) {
    this.#onPublished = onPublished;
  }

  /** There is something in the queue to show. It is shown once, and has to be marked again for more. */
  mark(queue: DeviceQueue): void {
    this.#queues[this.#count++] = queue;
  }

  /** A piece of a queue's turn is done: shows it, unless more large requests are there to be shown with it. */
  pace(queue: DeviceQueue, requests: number, bytes: number): void {
    this.#requests += requests;
    this.#bytes += bytes;
    const few = this.#requests < PUBLISH_LARGE_REQUESTS && this.#bytes < PUBLISH_BYTES;
    if (few && this.#bytes >= this.#requests * LARGE_BYTES && queue.pending() > 0) return;
    this.publish();
  }

  publish(): void {
    this.#requests = 0;
    this.#bytes = 0;
    if (this.#count === 0) return;
    for (let i = 0; i < this.#count; i++) {
      const queue = this.#queues[i]!;
      queue.publish();
      this.#onPublished(queue);
    }
    this.#count = 0;
  }
}
