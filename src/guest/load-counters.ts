import { Histogram } from '../filter/histogram.js';

/** Counters, by slot. */
const Slot = { REQUESTS: 0, ERRORS: 1, CHECKED: 2, MISMATCHES: 3, KICKS: 4 } as const;
const SLOTS_BYTES = Object.keys(Slot).length * Float64Array.BYTES_PER_ELEMENT;

/** What one queue's load has given so far. In memory that may be shared, so that another thread watches undisturbing. */
export class LoadCounters {
  /** Size of the memory that they take. */
  static readonly BYTES = SLOTS_BYTES + Histogram.BYTES;
  readonly latency: Histogram;
  readonly #slots: Float64Array;

  constructor(memory: ArrayBufferLike = new ArrayBuffer(LoadCounters.BYTES)) {
    this.#slots = new Float64Array(memory, 0, SLOTS_BYTES / Float64Array.BYTES_PER_ELEMENT);
    this.latency = new Histogram(memory, SLOTS_BYTES);
  }

  get requests(): number {
    return this.#slots[Slot.REQUESTS]!;
  }

  /** Requests that ended with a status other than OK. */
  get errors(): number {
    return this.#slots[Slot.ERRORS]!;
  }

  /** Reads whose data were compared with what was written last. */
  get checked(): number {
    return this.#slots[Slot.CHECKED]!;
  }

  /** Reads that gave something else. */
  get mismatches(): number {
    return this.#slots[Slot.MISMATCHES]!;
  }

  /** Kicks sent. */
  get kicks(): number {
    return this.#slots[Slot.KICKS]!;
  }

  countTurn(requests: number, kicks: number): void {
    this.#slots[Slot.REQUESTS]! += requests;
    this.#slots[Slot.KICKS]! += kicks;
  }

  countError(): void {
    this.#slots[Slot.ERRORS]!++;
  }

  countCheck(equal: boolean): void {
    this.#slots[Slot.CHECKED]!++;
    if (!equal) this.#slots[Slot.MISMATCHES]!++;
  }

  clear(): void {
    this.#slots.fill(0);
    this.latency.clear();
  }
}
