/** Words of a bucket in shared memory: what is left, and when it was filled last, us (wraps); not zero if it ever was. */
const LEFT = 0;
const FILLED = 1;
export const BUCKET_WORDS = 2;

/** What a bucket holds at most: words are signed. */
const SIZE_MAX = 2 ** 30;
const NS_PER_US = 1000;
const US_PER_S = 1e6;
/** Within that time a wrapped clock cannot be wrong, us. */
const AGE_US_MAX = 2 ** 30;

/**
 * A token bucket, which several threads may use: bytes or frames. It is filled when it is empty, so that the clock is looked at only then; it
 * has half of what may come at once, since what is left in it and what it is filled with may go together. What goes may leave it in debt.
 */
export class Bucket {
  readonly #words: Int32Array;
  readonly #perUs: number;
  readonly #size: number;
  /** What this thread has not filled in yet, less than one. */
  readonly #rest = new Float64Array(1);

  /**
   * @param perSecond - how much flows in
   * @param burst - most that may go at once
   */
  constructor(words: Int32Array, perSecond: number, burst: number) {
    this.#words = words;
    this.#perUs = perSecond / US_PER_S;
    this.#size = Math.max(1, Math.min(SIZE_MAX, Math.ceil(burst / 2)));
  }

  /** It is not empty. */
  get hasSome(): boolean {
    return Atomics.load(this.#words, LEFT) > 0;
  }

  take(amount: number): void {
    Atomics.sub(this.#words, LEFT, amount);
  }

  /** Fills in what has flowed since the last time; of several threads one does it. */
  fill(nowNs: number): void {
    const words = this.#words;
    // Never zero.
    const now = Math.floor(nowNs / NS_PER_US) | 1;
    const before = Atomics.load(words, FILLED);
    if (Atomics.compareExchange(words, FILLED, before, now) !== before) return;
    const passed = (now - before) | 0;
    const isNew = before === 0 || passed < 0 || passed > AGE_US_MAX;
    const rest = this.#rest;
    rest[0]! += isNew ? this.#size : Math.min(this.#size, passed * this.#perUs);
    const whole = Math.floor(rest[0]!);
    rest[0]! -= whole;
    const over = Atomics.add(words, LEFT, whole) + whole - this.#size;
    if (over > 0) Atomics.sub(words, LEFT, over);
  }
}
