import type { Counter } from './contract.js';
import { Histogram } from './histogram.js';
import { Note } from './note.js';

/** Words of a filter's memory. */
const Word = {
  /** One once it is out of service. */
  OUT: 0,
  /** How many requests it has failed, and other faults of its. */
  FAULTS: 1,
} as const;
/** Words, and two doubles: how long calls take on average, ns, and how many were timed. */
const WORDS_BYTES = 32;
const TIMES_AT = 16;
/** Calls that are averaged; fewer say nothing. */
const TIMES = 16;
/** One call counts for so many times the limit at most: it may have been a collection of garbage. Several slow ones are needed then. */
const TIME_LIMITS_MAX = 4;

class SharedCounter implements Counter {
  readonly #values: Float64Array;
  readonly #slot: number;

  constructor(values: Float64Array, slot: number) {
    this.#values = values;
    this.#slot = slot;
  }

  add(count: number): void {
    this.#values[this.#slot]! += count;
  }
}

/** What a filter counts, by name, and for how many queues. */
export interface FilterShape {
  readonly counters: readonly string[];
  readonly histograms: readonly string[];
  readonly queues: number;
  /** Longest that a call may take on average, ns; without it any. */
  readonly timeNsMax?: number;
}

/**
 * What the daemon and the sidecores share of one filter of one device: its faults, its notes, and counters and histograms
 * of each queue, which only the queue's sidecore writes.
 */
export class FilterMemory {
  readonly buffer: SharedArrayBuffer;
  readonly faultNote: Note;
  readonly logNote: Note;
  readonly #shape: FilterShape;
  readonly #words: Int32Array;
  readonly #times: Float64Array;

  /** @param buffer - of one that was made before; without it, a new one */
  constructor(shape: FilterShape, buffer?: SharedArrayBuffer) {
    this.#shape = shape;
    this.buffer = buffer ?? new SharedArrayBuffer(HEAD_BYTES + shape.queues * queueBytes(shape));
    this.#words = new Int32Array(this.buffer, 0, 2);
    this.#times = new Float64Array(this.buffer, TIMES_AT, 2);
    this.faultNote = new Note(this.buffer, WORDS_BYTES);
    this.logNote = new Note(this.buffer, WORDS_BYTES + Note.BYTES);
  }

  get out(): boolean {
    return Atomics.load(this.#words, Word.OUT) === 1;
  }

  get faults(): number {
    return Atomics.load(this.#words, Word.FAULTS);
  }

  /** How long its calls take on average, ns. */
  get timeNs(): number {
    return this.#times[0]!;
  }

  /** A call was timed, in CPU time. True if it takes too long on average: it is out of service then. */
  noteTime(ns: number): boolean {
    const times = this.#times;
    const count = times[1]! + 1;
    times[1] = count;
    const { timeNsMax = Number.POSITIVE_INFINITY } = this.#shape;
    times[0]! += (Math.min(ns, TIME_LIMITS_MAX * timeNsMax) - times[0]!) / Math.min(count, TIMES);
    if (count < TIMES || times[0]! <= timeNsMax || this.out) return false;
    const us = (value: number) => `${Math.round(value / 100) / 10} us`;
    this.condemn(`its calls take ${us(times[0]!)} on average, more than its time_limit of ${us(timeNsMax)}`);
    return true;
  }

  /** Counts a fault of one that goes anyway, and notes it: what shares this memory, such as its successor, stays in service. */
  noteFault(text: string): void {
    Atomics.add(this.#words, Word.FAULTS, 1);
    this.logNote.leave(text);
  }

  /** Counts a fault and takes the filter out of service. */
  condemn(text: string): void {
    Atomics.add(this.#words, Word.FAULTS, 1);
    this.faultNote.leave(text);
    Atomics.store(this.#words, Word.OUT, 1);
  }

  /** Throws if there is none of that name. */
  counter(queue: number, name: string): Counter {
    const { counters } = this.#shape;
    return new SharedCounter(this.#counters(queue), indexOf(counters, name, 'counter'));
  }

  histogram(queue: number, name: string): Histogram {
    return this.#histogram(queue, indexOf(this.#shape.histograms, name, 'histogram'));
  }

  /** Sums over all queues. */
  readCounters(): Record<string, number> {
    const { counters, queues } = this.#shape;
    const all = Array.from({ length: queues }, (_, queue) => this.#counters(queue));
    return Object.fromEntries(counters.map((name, i) => [name, all.reduce((sum, values) => sum + values[i]!, 0)]));
  }

  readHistograms(): Record<string, Histogram> {
    const { histograms, queues } = this.#shape;
    return Object.fromEntries(
      histograms.map((name, i) => {
        const sum = new Histogram();
        for (let queue = 0; queue < queues; queue++) sum.merge(this.#histogram(queue, i));
        return [name, sum];
      }),
    );
  }

  #counters(queue: number): Float64Array {
    const at = HEAD_BYTES + queue * queueBytes(this.#shape);
    return new Float64Array(this.buffer, at, this.#shape.counters.length);
  }

  #histogram(queue: number, index: number): Histogram {
    const { counters } = this.#shape;
    const at = HEAD_BYTES + queue * queueBytes(this.#shape) + 8 * counters.length + index * Histogram.BYTES;
    return new Histogram(this.buffer, at);
  }
}

const HEAD_BYTES = WORDS_BYTES + 2 * Note.BYTES;

const queueBytes = ({ counters, histograms }: FilterShape) => 8 * counters.length + histograms.length * Histogram.BYTES;

function indexOf(names: readonly string[], name: string, what: string): number {
  const index = names.indexOf(name);
  if (index < 0) throw new Error(`the filter’s definition names no ${what} ${name}`);
  return index;
}

/** The one word that all chains of a device look at before each request: it changes when something about the filters has. */
export class ChainControl {
  readonly buffer: SharedArrayBuffer;
  readonly words: Int32Array;

  constructor(buffer = new SharedArrayBuffer(4)) {
    this.buffer = buffer;
    this.words = new Int32Array(buffer);
  }

  change(): void {
    Atomics.add(this.words, 0, 1);
  }
}
