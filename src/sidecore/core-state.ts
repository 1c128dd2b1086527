import { PORT_COUNTER_BYTES, PortCounter } from '../net/port.js';

/** Words of a sidecore's shared state. */
const Word = {
  /** Counts what the core was told; a change makes it look at its mailbox and at its kicks. */
  BELL: 0,
  /** One while the core sleeps, or is about to: then its bell descriptor must be written too. */
  ASLEEP: 1,
  /** Key of the queue that is being served, or zero. Says who was at work when a core died. */
  SERVING: 2,
  /** Thread id, as /proc and top know it. */
  THREAD: 3,
  /** Counts turns, of the queues and of the loop: while it does not move, the core does not get on. */
  BEAT: 4,
  /** Number of the filter whose hook is running, negative while it is being made; zero if none is. */
  FILTER: 5,
} as const;

/** Counters of a sidecore, by slot. Written by the core only. */
const Counter = {
  TURNS: 0,
  BUSY_NS: 1,
  EMPTY_NS: 2,
  ASLEEP_NS: 3,
  SLEEPS: 4,
  POLLED: 5,
  WATCHED: 6,
  CROSSED: 7,
  CROSSINGS_DROPPED: 8,
} as const;

const WORD_BYTES = 4 * 16;
const COUNTER_BYTES = 8 * Object.keys(Counter).length;
/** Where `PortCounter` has drops. */
const DROP_SLOTS = Object.entries(PortCounter).flatMap(([name, slot]) => (name.startsWith('DROPPED_') ? [slot] : []));

/** What a sidecore and the daemon share: the bell, and what the core says of itself. Outlives the core's thread. */
export class CoreState {
  readonly buffer: SharedArrayBuffer;
  /** Frames that went to other sidecores, and those that found no room; for `Crossing`. */
  readonly crossings: Float64Array;
  /** What became of frames that came from other sidecores, by `PortCounter`; for `Crossing` too. */
  readonly arrived: Float64Array;
  /** One word, that chains of filters write with plain stores: `FilterSpec.id` of the one that is at work, negative while it is made, or zero. */
  readonly marks: Int32Array;
  readonly #words: Int32Array;
  readonly #counters: Float64Array;

  constructor(buffer = new SharedArrayBuffer(WORD_BYTES + COUNTER_BYTES + PORT_COUNTER_BYTES)) {
    this.buffer = buffer;
    this.#words = new Int32Array(buffer, 0, WORD_BYTES / 4);
    this.marks = new Int32Array(buffer, 4 * Word.FILTER, 1);
    this.#counters = new Float64Array(buffer, WORD_BYTES, COUNTER_BYTES / 8);
    this.crossings = new Float64Array(buffer, WORD_BYTES + 8 * Counter.CROSSED, 2);
    this.arrived = new Float64Array(buffer, WORD_BYTES + COUNTER_BYTES);
  }

  /** Rings the bell. True if the core sleeps, so that its bell descriptor has to be written. */
  ring(): boolean {
    Atomics.add(this.#words, Word.BELL, 1);
    return Atomics.load(this.#words, Word.ASLEEP) === 1;
  }

  /** Whether the bell was rung since it was looked at. A plain load, for each turn: an ordered one costs as much as an empty turn. */
  rangSince(bell: number): boolean {
    return this.#words[Word.BELL] !== bell;
  }

  get bell(): number {
    return Atomics.load(this.#words, Word.BELL);
  }

  set asleep(asleep: boolean) {
    Atomics.store(this.#words, Word.ASLEEP, asleep ? 1 : 0);
  }

  get asleep(): boolean {
    return Atomics.load(this.#words, Word.ASLEEP) === 1;
  }

  /** A plain store: only a look after the core's death reads it. */
  set serving(queueKey: number) {
    this.#words[Word.SERVING] = queueKey;
  }

  get serving(): number {
    return Atomics.load(this.#words, Word.SERVING);
  }

  /** The filter that is at work, as `marks` says it. */
  get filter(): number {
    return Atomics.load(this.#words, Word.FILTER);
  }

  /** The core has got on: with a queue's turn, its own, or something that has completed. A plain store. */
  countBeat(): void {
    this.#words[Word.BEAT] = (this.#words[Word.BEAT]! + 1) | 0;
  }

  get beat(): number {
    return Atomics.load(this.#words, Word.BEAT);
  }

  set threadId(id: number) {
    Atomics.store(this.#words, Word.THREAD, id);
  }

  get threadId(): number {
    return Atomics.load(this.#words, Word.THREAD);
  }

  /** Adds turns, and what they took: in work and in empty polling, ns. */
  countTurns(turns: number, busyNs: number, emptyNs: number): void {
    this.#counters[Counter.TURNS]! += turns;
    this.#counters[Counter.BUSY_NS]! += busyNs;
    this.#counters[Counter.EMPTY_NS]! += emptyNs;
  }

  countSleep(ns: number): void {
    this.#counters[Counter.SLEEPS]!++;
    this.#counters[Counter.ASLEEP_NS]! += ns;
  }

  countQueues(polled: number, watched: number): void {
    this.#counters[Counter.POLLED] = polled;
    this.#counters[Counter.WATCHED] = watched;
  }

  /** It has queues. */
  get serves(): boolean {
    return this.#counters[Counter.POLLED]! + this.#counters[Counter.WATCHED]! > 0;
  }

  /** Times in work and in empty polling, time asleep, all ns since the start; and counts. */
  read() {
    const at = (slot: number) => this.#counters[slot]!;
    return {
      turns: at(Counter.TURNS),
      busyNs: at(Counter.BUSY_NS),
      emptyNs: at(Counter.EMPTY_NS),
      asleepNs: at(Counter.ASLEEP_NS),
      sleeps: at(Counter.SLEEPS),
      queuesPolled: at(Counter.POLLED),
      queuesWatched: at(Counter.WATCHED),
      crossed: at(Counter.CROSSED),
      crossingsDropped: at(Counter.CROSSINGS_DROPPED),
      arrivalsDropped: DROP_SLOTS.reduce<number>((sum, slot) => sum + this.arrived[slot]!, 0),
    };
  }
}
