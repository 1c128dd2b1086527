import { PIECE_BYTES, PIECE_REQUESTS, PUBLISH_REQUESTS, REQUEST_WORK_BYTES } from '../limits.js';
import { type Costs, dataNs } from './costs.js';
import type { SimQueue } from './queue.js';
import type { SimStorage } from './storage.js';

/** A piece of work: what `BlockQueue.serve` and `NetTxQueue.serve` do, in as many parts as they show completions. */
export class Piece {
  /** It goes on after what is complete was shown. */
  unfinished = true;
  /** What it came to, bytes. */
  bytes = 0;
  readonly #costs: Costs;
  readonly #storage: SimStorage;
  /** Requests taken, and long ones gone on with. */
  #taken = 0;
  #proceeded = 0;

  constructor(costs: Costs, storage: SimStorage) {
    this.#costs = costs;
    this.#storage = storage;
  }

  begin(): void {
    this.#taken = this.#proceeded = this.bytes = 0;
    this.unfinished = true;
  }

  /** Requests taken or gone on with. */
  get work(): number {
    return this.#taken + this.#proceeded;
  }

  /** What it counts for those who look for other things now and then, bytes. */
  get weightBytes(): number {
    return this.#taken * REQUEST_WORK_BYTES + this.bytes;
  }

  /** A part of it, until what is complete is shown. Returns the time that it takes, ns. */
  serve(queue: SimQueue, now: number): number {
    let ns = 0;
    if (queue.begunBytes > 0) ns += this.#proceed(queue);
    this.unfinished = false;
    while (queue.begunBytes === 0 && !queue.closed && this.#taken < PIECE_REQUESTS && this.bytes < PIECE_BYTES) {
      if (queue.avail.waiting(now + ns) === 0) break;
      queue.avail.take();
      this.#taken++;
      ns += this.#start(queue);
      if (queue.storage !== undefined && this.#taken % PUBLISH_REQUESTS === 0) {
        this.unfinished = true;
        break;
      }
    }
    return ns;
  }

  /** Begins a request, or sends a frame. Returns the time that it takes, ns. */
  #start(queue: SimQueue): number {
    const { avail } = queue;
    const { requestNs, frameNs, frameByteNs, submitNs } = this.#costs;
    const { bytes } = avail;
    if (queue.storage === 'memory' && bytes > PIECE_BYTES) {
      queue.begunBytes = bytes - PIECE_BYTES;
      this.bytes += PIECE_BYTES;
      return requestNs + dataNs(this.#costs, PIECE_BYTES);
    }
    this.bytes += bytes;
    if (queue.storage === 'file') {
      queue.inStorage++;
      this.#storage.submit(queue, avail.since, bytes, avail.number);
      return submitNs;
    }
    queue.complete.push(0, avail.since, bytes, avail.number);
    if (queue.storage === undefined) return frameNs + bytes * frameByteNs;
    return queue.storage === 'null' ? requestNs : requestNs + dataNs(this.#costs, bytes);
  }

  /** Goes on with a long request. Returns the time that it takes, ns. */
  #proceed(queue: SimQueue): number {
    const { avail } = queue;
    const bytes = Math.min(queue.begunBytes, PIECE_BYTES);
    queue.begunBytes -= bytes;
    this.bytes += bytes;
    this.#proceeded = 1;
    if (queue.begunBytes === 0) queue.complete.push(0, avail.since, avail.bytes, avail.number);
    return bytes * this.#costs.byteNs;
  }
}
