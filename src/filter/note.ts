import { FILTER_NOTE_BYTES, FILTER_NOTE_MS_MAX } from '../limits.js';

/** Words: since when somebody is at it (zero: nobody is), how many there were, length. */
const Word = { SINCE: 0, COUNT: 1, LENGTH: 2, ALL: 3 } as const;
const TEXT_AT = 16;

/**
 * A text that threads leave for the daemon: of several the last one. Nobody waits for it; who has been at it for longer than
 * `FILTER_NOTE_MS_MAX` was ended in the middle of it, and keeps nobody out.
 */
export class Note {
  static readonly BYTES = TEXT_AT + FILTER_NOTE_BYTES;
  readonly #words: Int32Array;
  readonly #bytes: Buffer;
  readonly #readMs: () => number;
  #seen = 0;

  /** @param readMs - a clock that all threads have in common */
  constructor(memory: SharedArrayBuffer, byteOffset: number, readMs = Date.now) {
    this.#words = new Int32Array(memory, byteOffset, Word.ALL);
    this.#bytes = Buffer.from(memory, byteOffset + TEXT_AT, FILTER_NOTE_BYTES);
    this.#readMs = readMs;
  }

  /** Leaves a text. One that comes while another thread is at it is lost. */
  leave(given: string): void {
    // Filters may say anything; it is theirs to throw here, and not once others are kept out.
    const text = String(given);
    const since = this.#begin();
    if (since === 0) return;
    this.#words[Word.LENGTH] = this.#bytes.write(text);
    Atomics.add(this.#words, Word.COUNT, 1);
    this.#end(since);
  }

  /** The last one; undefined if there is none since the last look, or a thread is at it. */
  look(): string | undefined {
    if (Atomics.load(this.#words, Word.COUNT) === this.#seen) return undefined;
    const since = this.#begin();
    if (since === 0) return undefined;
    this.#seen = this.#words[Word.COUNT]!;
    const text = this.#bytes.toString('utf8', 0, this.#words[Word.LENGTH]!);
    this.#end(since);
    return text;
  }

  /** Returns since when this thread is at it; zero if another is. */
  #begin(): number {
    // Milliseconds, of which 32 bits do: they go round in 49 days.
    const now = this.#readMs() | 0 || 1;
    const other = Atomics.load(this.#words, Word.SINCE);
    if (other !== 0 && Math.abs((now - other) | 0) < FILTER_NOTE_MS_MAX) return 0;
    return Atomics.compareExchange(this.#words, Word.SINCE, other, now) === other ? now : 0;
  }

  /** Not what another has begun meanwhile, because this thread took so long. */
  #end(since: number): void {
    Atomics.compareExchange(this.#words, Word.SINCE, since, 0);
  }
}
