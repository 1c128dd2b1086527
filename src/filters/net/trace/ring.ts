import type { FilterFrame } from '../../../filter/index.js';

/** What a trace has room for. */
export interface TraceSize {
  readonly frames: number;
  /** Of each. */
  readonly bytes: number;
}

/** Words before the records: how many there were ever; wraps. */
const COUNT = 0;
const HEAD_WORDS = 4;
/** Words of a record before its bytes. Its number is written last, and is zero while the record is being written. */
const Word = { NUMBER: 0, TIME: 1, DIRECTION: 4, LENGTH: 5, KEPT: 6, VLAN: 7 } as const;
const RECORD_WORDS = 8;

const recordWords = ({ bytes }: TraceSize): number => RECORD_WORDS + ((bytes + 3) >>> 2);

export const traceBytes = (size: TraceSize): number => 4 * (HEAD_WORDS + size.frames * recordWords(size));

/** The sidecore's end: overwrites the oldest. It outlives its thread. */
export class TraceRing {
  readonly #words: Uint32Array;
  readonly #bytes: Buffer;
  readonly #size: TraceSize;
  readonly #stride: number;
  readonly #readTime: (into: Uint32Array, slot: number) => void;

  /** @param readTime - see `FrameFilterContext.readWallClock` */
  constructor(shared: SharedArrayBuffer, size: TraceSize, readTime: (into: Uint32Array, slot: number) => void) {
    this.#words = new Uint32Array(shared);
    this.#bytes = Buffer.from(shared);
    this.#size = size;
    this.#stride = recordWords(size);
    this.#readTime = readTime;
  }

  add(frame: FilterFrame): void {
    const words = this.#words;
    const count = words[COUNT]!;
    const at = HEAD_WORDS + (count % this.#size.frames) * this.#stride;
    Atomics.store(words, at + Word.NUMBER, 0);
    this.#readTime(words, at + Word.TIME);
    words[at + Word.DIRECTION] = frame.direction;
    words[at + Word.LENGTH] = frame.byteLength;
    words[at + Word.VLAN] = frame.vlan;
    words[at + Word.KEPT] = frame.copyTo(this.#bytes, 4 * (at + RECORD_WORDS), this.#size.bytes);
    Atomics.store(words, at + Word.NUMBER, count + 1);
    Atomics.store(words, COUNT, count + 1);
  }
}

/** One record, a copy. */
export interface TraceRecord {
  readonly number: number;
  /** Since 1970. */
  readonly seconds: number;
  readonly nanoseconds: number;
  readonly direction: number;
  readonly byteLength: number;
  readonly vlan: number;
  readonly bytes: Buffer;
}

/** The main thread's end. What is overwritten while it is read is left out. */
export class TraceReader {
  readonly #words: Uint32Array;
  readonly #bytes: Buffer;
  readonly #size: TraceSize;

  constructor(shared: SharedArrayBuffer, size: TraceSize) {
    this.#words = new Uint32Array(shared);
    this.#bytes = Buffer.from(shared);
    this.#size = size;
  }

  /** All that there are, oldest first. */
  read(): TraceRecord[] {
    const { frames } = this.#size;
    const end = Atomics.load(this.#words, COUNT);
    const count = Math.min(end, frames);
    const records: TraceRecord[] = [];
    for (let number = end - count; number < end; number++) {
      const record = this.#read(number);
      if (record !== undefined) records.push(record);
    }
    return records;
  }

  #read(number: number): TraceRecord | undefined {
    const words = this.#words;
    const at = HEAD_WORDS + (number % this.#size.frames) * recordWords(this.#size);
    if (Atomics.load(words, at + Word.NUMBER) !== number + 1) return undefined;
    const word = (index: number) => words[at + index]!;
    const start = 4 * (at + RECORD_WORDS);
    const record = {
      number,
      seconds: word(Word.TIME) + word(Word.TIME + 1) * 2 ** 32,
      nanoseconds: word(Word.TIME + 2),
      direction: word(Word.DIRECTION),
      byteLength: word(Word.LENGTH),
      vlan: word(Word.VLAN),
      bytes: Buffer.from(this.#bytes.subarray(start, start + Math.min(word(Word.KEPT), this.#size.bytes))),
    };
    return Atomics.load(words, at + Word.NUMBER) === number + 1 ? record : undefined;
  }
}
