import type { FilterRequest } from '../../../filter/contract.js';

/** 32-bit words at the head of each queue's ring. */
const Head = {
  /** Number of the next record. Numbers count up to 2^32 and go round. */
  NEXT: 0,
  /** One while requests are recorded. */
  RECORDING: 1,
  /** First record of the sidecore that serves the queue now: what is unfinished before it stays so. */
  SINCE: 2,
  WORDS: 16,
} as const;

/** Words of a record: its number (another while it is written), what it says in bytes (below), bytes, flags; and doubles: down, up, sector. */
const Field = { NUMBER: 0, STATE: 1, BYTES: 2, FLAGS: 3, DOWN: 4, UP: 6, SECTOR: 8, WORDS: 10 } as const;

/** `STATE`: type, status and one (zero: unfinished), which of its ranges, of how many. */
const STATUS_SHIFT = 8;
const RANGE_SHIFT = 16;
const RANGES_SHIFT = 24;
const DURABLE = 1;

/** A record as a reader has it. */
export class TraceRecord {
  queue = 0;
  type = 0;
  /** Undefined if it is not known how it ended. */
  status: number | undefined = undefined;
  /** Monotonic, ns; `upNs` means nothing without a status. */
  downNs = 0;
  upNs = 0;
  sector = 0;
  bytes = 0;
  durable = false;
  /** Of a request that has several ranges, each is a record. */
  range = 0;
  ranges = 0;
}

/** Rings of records, one for each queue, in shared memory. */
export class TraceMemory {
  readonly queues: number;
  /** Records in each ring: a power of two. */
  readonly size: number;
  readonly words: Int32Array;
  readonly numbers: Float64Array;

  static bytesFor(queues: number, size: number): number {
    return 4 * queues * ringWords(size);
  }

  constructor(memory: SharedArrayBuffer, queues: number, size: number) {
    this.queues = queues;
    this.size = size;
    this.words = new Int32Array(memory);
    this.numbers = new Float64Array(memory);
  }

  set recording(on: boolean) {
    for (let queue = 0; queue < this.queues; queue++)
      Atomics.store(this.words, this.headOf(queue) + Head.RECORDING, on ? 1 : 0);
  }

  get recording(): boolean {
    return this.words[Head.RECORDING] === 1;
  }

  headOf(queue: number): number {
    return queue * ringWords(this.size);
  }

  /** Number of a queue's next record. */
  next(queue: number): number {
    return Atomics.load(this.words, this.headOf(queue) + Head.NEXT) >>> 0;
  }

  /**
   * Reads a record. False if another has taken its place.
   *
   * @param number - below `next`
   */
  read(queue: number, number: number, into: TraceRecord): boolean {
    const { words, numbers } = this;
    const at = this.#recordAt(queue, number);
    if (Atomics.load(words, at) !== (number | 0)) return false;
    const state = Atomics.load(words, at + Field.STATE);
    const status = (state >>> STATUS_SHIFT) & 255;
    into.queue = queue;
    into.type = state & 255;
    into.status = status === 0 ? undefined : status - 1;
    into.range = (state >>> RANGE_SHIFT) & 255;
    into.ranges = state >>> RANGES_SHIFT;
    into.bytes = words[at + Field.BYTES]! >>> 0;
    into.durable = (words[at + Field.FLAGS]! & DURABLE) !== 0;
    into.downNs = numbers[(at + Field.DOWN) / 2]!;
    into.upNs = numbers[(at + Field.UP) / 2]!;
    into.sector = numbers[(at + Field.SECTOR) / 2]!;
    return Atomics.load(words, at) === (number | 0);
  }

  /** Nobody will finish a record that is not finished yet. */
  isAbandoned(queue: number, number: number): boolean {
    return ((number - Atomics.load(this.words, this.headOf(queue) + Head.SINCE)) | 0) < 0;
  }

  #recordAt(queue: number, number: number): number {
    return this.headOf(queue) + Head.WORDS + (number & (this.size - 1)) * Field.WORDS;
  }
}

/** Writes the records of one queue, on its sidecore. Two looks at the clock for each request, and nothing that waits. */
export class TraceWriter {
  readonly #words: Int32Array;
  readonly #numbers: Float64Array;
  readonly #head: number;
  readonly #mask: number;
  readonly #readNowNs: (into: Float64Array, slot: number) => void;
  /** Of the request in a slot: its first record, and how many it has. */
  readonly #first: Int32Array;
  readonly #count: Uint8Array;

  constructor(
    memory: TraceMemory,
    queue: number,
    slots: number,
    readNowNs: (into: Float64Array, slot: number) => void,
  ) {
    this.#words = memory.words;
    this.#numbers = memory.numbers;
    this.#head = memory.headOf(queue);
    this.#mask = memory.size - 1;
    this.#readNowNs = readNowNs;
    this.#first = new Int32Array(slots);
    this.#count = new Uint8Array(slots);
    Atomics.store(this.#words, this.#head + Head.SINCE, this.#words[this.#head + Head.NEXT]!);
  }

  get recording(): boolean {
    return this.#words[this.#head + Head.RECORDING] === 1;
  }

  /** A request is on its way down. */
  down(request: FilterRequest): void {
    const words = this.#words;
    const { slot, rangeCount } = request;
    const count = rangeCount === 0 ? 1 : rangeCount;
    const first = words[this.#head + Head.NEXT]!;
    this.#first[slot] = first;
    this.#count[slot] = count;
    for (let i = 0; i < count; i++) {
      const number = (first + i) | 0;
      const at = this.#recordAt(number);
      // Readers that are at the old record see that it is gone.
      Atomics.store(words, at, ~number);
      const ranges = rangeCount === 0 ? 0 : (i << RANGE_SHIFT) | (count << RANGES_SHIFT);
      words[at + Field.STATE] = request.type | ranges;
      words[at + Field.BYTES] = rangeCount === 0 ? request.bytes : request.rangeSectors(i) * 512;
      words[at + Field.FLAGS] = request.durable ? DURABLE : 0;
      this.#numbers[(at + Field.SECTOR) / 2] = rangeCount === 0 ? request.sector : request.rangeSector(i);
      if (i === 0) this.#readNowNs(this.#numbers, (at + Field.DOWN) / 2);
      else this.#numbers[(at + Field.DOWN) / 2] = this.#numbers[(this.#recordAt(first) + Field.DOWN) / 2]!;
      Atomics.store(words, at, number);
    }
    Atomics.store(words, this.#head + Head.NEXT, (first + count) | 0);
  }

  /** It has come up. */
  up(request: FilterRequest, status: number): void {
    const words = this.#words;
    const count = this.#count[request.slot]!;
    if (count === 0) return;
    this.#count[request.slot] = 0;
    const first = this.#first[request.slot]!;
    for (let i = 0; i < count; i++) {
      const number = (first + i) | 0;
      const at = this.#recordAt(number);
      // A slow request's record may have been overwritten.
      if (words[at] !== number) continue;
      const up = (at + Field.UP) / 2;
      if (i === 0) this.#readNowNs(this.#numbers, up);
      else this.#numbers[up] = this.#numbers[(this.#recordAt(first) + Field.UP) / 2]!;
      Atomics.store(words, at + Field.STATE, words[at + Field.STATE]! | ((status + 1) << STATUS_SHIFT));
    }
  }

  #recordAt(number: number): number {
    return this.#head + Head.WORDS + (number & this.#mask) * Field.WORDS;
  }
}

const ringWords = (size: number): number => Head.WORDS + size * Field.WORDS;
