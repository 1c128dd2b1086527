import { viewBytes } from '../host/memory-view.js';
import { FILTER_JOBS_MAX } from '../limits.js';
import type { HelperJob } from './contract.js';

/** Words of a channel: how many jobs were asked, taken and answered; one once nobody asks any more. */
const Word = { ASKED: 0, TAKEN: 1, ANSWERED: 2, CLOSED: 3 } as const;
const WORDS = 16;
/** Doubles of a job and of an answer. */
const Job = { CODE: 0, ADDRESS: 1, LENGTH: 2, A: 3, B: 4, TAG: 5, DOUBLES: 6 } as const;
const Answer = { TAG: 0, RESULT: 1, DOUBLES: 2 } as const;

const JOBS_AT = 4 * WORDS;
const ANSWERS_AT = JOBS_AT + 8 * Job.DOUBLES * FILTER_JOBS_MAX;
const STATES_AT = ANSWERS_AT + 8 * Answer.DOUBLES * FILTER_JOBS_MAX;

/** State of a job's place. */
const JobState = { FREE: 0, ASKED: 1, TAKEN: 2 } as const;

/**
 * Jobs from a filter on its sidecore to its helper, and answers back, in shared memory: at most `FILTER_JOBS_MAX` that are not
 * answered, so that neither side ever waits.
 */
export class HelperChannel {
  readonly buffer: SharedArrayBuffer;
  readonly #words: Int32Array;
  readonly #jobs: Float64Array;
  readonly #answers: Float64Array;
  readonly #states: Int32Array;
  /** When the jobs were asked, ns; of the sidecore's end. */
  readonly #askedAt = new Float64Array(FILTER_JOBS_MAX);
  #seen: number;

  constructor(buffer = new SharedArrayBuffer(STATES_AT + 4 * FILTER_JOBS_MAX)) {
    this.buffer = buffer;
    this.#words = new Int32Array(buffer, 0, WORDS);
    this.#jobs = new Float64Array(buffer, JOBS_AT, Job.DOUBLES * FILTER_JOBS_MAX);
    this.#answers = new Float64Array(buffer, ANSWERS_AT, Answer.DOUBLES * FILTER_JOBS_MAX);
    this.#states = new Int32Array(buffer, STATES_AT, FILTER_JOBS_MAX);
    this.#seen = this.#words[Word.ANSWERED]!;
  }

  // --- the sidecore's end --------------------------------------------------------------------------------------

  /**
   * There must be fewer than `FILTER_JOBS_MAX` that are not answered.
   *
   * @param now - in its slot zero, ns
   */
  ask(code: number, address: number, length: number, a: number, b: number, tag: number, now: Float64Array): void {
    const asked = this.#words[Word.ASKED]!;
    // A place is in use until its answer was seen, which may be in another order than they were asked.
    const place = this.#placeIn(JobState.FREE, asked);
    const at = Job.DOUBLES * place;
    const jobs = this.#jobs;
    jobs[at + Job.CODE] = code;
    jobs[at + Job.ADDRESS] = address;
    jobs[at + Job.LENGTH] = length;
    jobs[at + Job.A] = a;
    jobs[at + Job.B] = b;
    jobs[at + Job.TAG] = tag;
    this.#askedAt[place] = now[0]!;
    Atomics.store(this.#states, place, JobState.ASKED);
    Atomics.store(this.#words, Word.ASKED, (asked + 1) | 0);
  }

  get hasAnswers(): boolean {
    return Atomics.load(this.#words, Word.ANSWERED) !== this.#seen;
  }

  /** Answers that were not taken yet. */
  get answers(): number {
    return (Atomics.load(this.#words, Word.ANSWERED) - this.#seen) | 0;
  }

  /** Whether a job was asked so long ago, and is not answered. */
  isLate(ns: number, now: Float64Array): boolean {
    for (let place = 0; place < FILTER_JOBS_MAX; place++)
      if (now[0]! - this.#askedAt[place]! >= ns && Atomics.load(this.#states, place) !== JobState.FREE) return true;
    return false;
  }

  /** The next answer, which there is. */
  takeAnswer(into: { tag: number; result: number }): void {
    const at = Answer.DOUBLES * ((this.#seen >>> 0) % FILTER_JOBS_MAX);
    into.tag = this.#answers[at + Answer.TAG]!;
    into.result = this.#answers[at + Answer.RESULT]!;
    this.#seen = (this.#seen + 1) | 0;
  }

  close(): void {
    Atomics.store(this.#words, Word.CLOSED, 1);
  }

  // --- the helper's end ----------------------------------------------------------------------------------------

  get closed(): boolean {
    return Atomics.load(this.#words, Word.CLOSED) === 1;
  }

  /** Takes a job that was asked, in about the order in which they were. Its place; negative if there is none. */
  takeJob(): number {
    const taken = Atomics.load(this.#words, Word.TAKEN);
    if (Atomics.load(this.#words, Word.ASKED) === taken) return -1;
    const place = this.#placeIn(JobState.ASKED, taken);
    if (place < 0) return -1;
    Atomics.store(this.#states, place, JobState.TAKEN);
    Atomics.add(this.#words, Word.TAKEN, 1);
    return place;
  }

  /** Those that a helper that died had taken. */
  abandoned(): number[] {
    return [...this.#states.keys()].filter((place) => Atomics.load(this.#states, place) === JobState.TAKEN);
  }

  job(place: number): HelperJob {
    const at = Job.DOUBLES * place;
    const [code, address, length, a, b] = this.#jobs.subarray(at, at + Job.DOUBLES) as unknown as number[];
    const bytes = length === 0 ? Buffer.alloc(0) : viewBytes(address!, length!);
    return { code: code!, bytes, address: address!, a: a!, b: b! };
  }

  answer(place: number, result: number): void {
    const at = Answer.DOUBLES * ((this.#words[Word.ANSWERED]! >>> 0) % FILTER_JOBS_MAX);
    this.#answers[at + Answer.TAG] = this.#jobs[Job.DOUBLES * place + Job.TAG]!;
    this.#answers[at + Answer.RESULT] = result;
    Atomics.store(this.#states, place, JobState.FREE);
    Atomics.add(this.#words, Word.ANSWERED, 1);
  }

  // --- both ----------------------------------------------------------------------------------------------------

  /** The first place in a state, from that of the nth job on; negative if there is none. */
  #placeIn(state: number, from: number): number {
    const first = from >>> 0;
    for (let i = 0; i < FILTER_JOBS_MAX; i++) {
      const place = (first + i) % FILTER_JOBS_MAX;
      if (Atomics.load(this.#states, place) === state) return place;
    }
    return -1;
  }
}

/** By which sidecores wake the thread of helpers. */
export class HelperBell {
  readonly buffer: SharedArrayBuffer;
  readonly #words: Int32Array;

  constructor(buffer = new SharedArrayBuffer(8)) {
    this.buffer = buffer;
    this.#words = new Int32Array(buffer);
  }

  get count(): number {
    return Atomics.load(this.#words, 0);
  }

  ring(): void {
    Atomics.add(this.#words, 0, 1);
    if (Atomics.load(this.#words, 1) === 1) Atomics.notify(this.#words, 0);
  }

  /** Resolves when it has been rung since it was `count`. */
  async wait(count: number): Promise<void> {
    Atomics.store(this.#words, 1, 1);
    const { waitAsync } = Atomics as unknown as { waitAsync: WaitAsync };
    await waitAsync(this.#words, 0, count).value;
    Atomics.store(this.#words, 1, 0);
  }
}

/** Of ECMAScript 2024, which the compiler's library for this Node does not have. */
type WaitAsync = (words: Int32Array, at: number, value: number) => { readonly value: string | Promise<string> };
