import { assert } from '../errors.js';

/**
 * One direction of a ring: entries in their order, each seen by the other side from some time on. Written and read by number, so that
 * nothing is allocated for an entry.
 */
export class Fifo {
  /** Entries ever put in, and ever taken. */
  put = 0;
  taken = 0;
  /** Of the entry that was taken last: what it is measured from, ns; its bytes; and its number among those of its guest. */
  since = 0;
  bytes = 0;
  number = 0;
  readonly #mask: number;
  readonly #visibleAt: Float64Array;
  readonly #since: Float64Array;
  readonly #bytes: Float64Array;
  readonly #numbers: Float64Array;
  #seen = 0;

  /** @param size - entries at once */
  constructor(size: number) {
    const slots = 2 ** Math.ceil(Math.log2(Math.max(1, size)));
    this.#mask = slots - 1;
    this.#visibleAt = new Float64Array(slots);
    this.#since = new Float64Array(slots);
    this.#bytes = new Float64Array(slots);
    this.#numbers = new Float64Array(slots);
  }

  push(visibleAt: number, since: number, bytes: number, number: number): void {
    assert(this.put - this.taken <= this.#mask, 'a ring has room for all that is in flight');
    const slot = this.put++ & this.#mask;
    this.#visibleAt[slot] = visibleAt;
    this.#since[slot] = since;
    this.#bytes[slot] = bytes;
    this.#numbers[slot] = number;
  }

  /** Entries that are seen at a time, ns. It is never asked for an earlier one than before. */
  waiting(now: number): number {
    while (this.#seen < this.put && this.#visibleAt[this.#seen & this.#mask]! <= now) this.#seen++;
    return this.#seen - this.taken;
  }

  /** Takes the first, which is seen. */
  take(): void {
    assert(this.taken < this.#seen, 'an entry is taken that is not seen');
    const slot = this.taken++ & this.#mask;
    this.since = this.#since[slot]!;
    this.bytes = this.#bytes[slot]!;
    this.number = this.#numbers[slot]!;
  }

  get empty(): boolean {
    return this.put === this.taken;
  }

  get full(): boolean {
    return this.put - this.taken > this.#mask;
  }

  /** When the first entry is seen, ns; infinite if there is none. */
  get visibleAt(): number {
    return this.empty ? Number.POSITIVE_INFINITY : this.#visibleAt[this.taken & this.#mask]!;
  }
}
