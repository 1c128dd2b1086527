/** Words of the memory: how many requests have failed, and the error number of the last one. */
const COUNT = 0;
const LAST = 1;

/**
 * Requests of one disk that storage failed. Sidecores count them, in memory that they all share, without a word; the daemon
 * looks at it now and then, and reports.
 */
export class IoErrors {
  readonly memory: SharedArrayBuffer;
  readonly #words: Int32Array;
  #seen = 0;

  constructor(memory = new SharedArrayBuffer(2 * Int32Array.BYTES_PER_ELEMENT)) {
    this.memory = memory;
    this.#words = new Int32Array(memory);
  }

  /** @param errno - zero if storage ended before the request did */
  note(errno: number): void {
    Atomics.store(this.#words, LAST, errno);
    Atomics.add(this.#words, COUNT, 1);
  }

  /** How many there were since the last look; the count may wrap round. */
  look(): number {
    const count = Atomics.load(this.#words, COUNT);
    const since = (count - this.#seen) | 0;
    this.#seen = count;
    return since;
  }

  /** Error number of the last one. */
  get last(): number {
    return Atomics.load(this.#words, LAST);
  }
}
