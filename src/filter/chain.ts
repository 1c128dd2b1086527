import { type BlockBackend, PENDING } from '../block/backends/backend.js';
import type { BlockRequest, RequestOwner } from '../block/request.js';
import type { ChainFilter } from './chain-filter.js';
import type { DeskUser } from './filter-desk.js';
import type { ChainControl } from './memory.js';
import { compileProgram, type Program, type Stage } from './program.js';
import { type RequestView, viewOf } from './request-view.js';
import { unanswered, unsettled } from './verdicts.js';
import { Walk } from './walk.js';
import { type ChainHost, Hook, type WalkOwner } from './walk-owner.js';

/** One request in so many is timed, which takes system calls: more of them until enough is known of the filters. */
const SAMPLE_MIN = 64;
const SAMPLE_MAX = 8192;
/** Pause between two looks for helpers that do not answer, ns. */
const LOOK_NS = 10e6;
/** How many are timed so often. */
const FIRST_SAMPLES = 20;

/**
 * The filters before a back end, for one queue: a back end itself. A request goes down through `submit` of all filters, nearest
 * to the guest first, and up through `complete` of those that passed it on, whenever the back end is done with it.
 *
 * What filters do wrong ends here: a throw is counted, and takes the filter out of service for its whole device.
 */
export class FilterChain implements BlockBackend, WalkOwner, DeskUser {
  readonly backend: BlockBackend;
  readonly walk: Walk;
  readonly #host: ChainHost;
  readonly #control: ChainControl;
  readonly #controlWords: Int32Array;
  #filters: readonly ChainFilter[] = [];
  #program: Program;
  /** What the control word was when the program was made. */
  #made = 0;
  /** A filter has failed: what it keeps has to be let go of. */
  #freeDue = false;
  #sample = SAMPLE_MIN;
  #samples = 0;
  #untilSample = SAMPLE_MIN;
  readonly #answer = { tag: 0, result: 0 };
  /** Nothing is begun by filters themselves. */
  #quiet = false;
  /** What filters keep for time's sake goes on. */
  #hurried = false;
  /** When helpers are next looked at that do not answer, ns. */
  readonly #lookAt = new Float64Array(1);
  /** Filters that have no place any more, and operations in flight. */
  readonly #leaving: ChainFilter[] = [];

  constructor(control: ChainControl, backend: BlockBackend, host: ChainHost) {
    this.#control = control;
    this.#controlWords = control.words;
    this.#host = host;
    this.backend = backend;
    this.walk = new Walk(this, backend, host);
    this.#program = this.#compile();
  }

  /** Where requests come from; known with the first that completes later. */
  get owner(): RequestOwner | undefined {
    return this.walk.owner;
  }

  get filters(): readonly ChainFilter[] {
    return this.#filters;
  }

  /**
   * Has other filters, nearest to the guest first, while nothing is in flight. Those that stay go on as they are; the others are
   * closed, when what they have begun themselves has ended.
   */
  set filters(filters: readonly ChainFilter[]) {
    for (const filter of this.#filters) if (!filters.includes(filter)) this.#dismiss(filter);
    filters.forEach((filter, index) => {
      filter.index = index;
    });
    this.#filters = filters;
    this.#sample = this.#untilSample = SAMPLE_MIN;
    this.#samples = 0;
    this.walk.filters = filters;
    this.#look();
    this.wake();
  }

  read(request: BlockRequest): number {
    return this.#submit(request);
  }

  write(request: BlockRequest): number {
    return this.#submit(request);
  }

  flush(request: BlockRequest): number {
    return this.#submit(request);
  }

  discard(request: BlockRequest): number {
    return this.#submit(request);
  }

  writeZeroes(request: BlockRequest): number {
    return this.#submit(request);
  }

  secureErase(request: BlockRequest): number {
    return this.#submit(request);
  }

  proceed(request: BlockRequest): number {
    const answer = this.backend.proceed!(request);
    return answer < 0 ? this.walk.later(request, answer) : this.#program.finish(request, answer);
  }

  completed(request: BlockRequest, result: number): void {
    this.backend.completed(request, result);
  }

  /** The back end is done with a request that it had answered with PENDING. */
  complete(request: BlockRequest, status: number): void {
    const answer = this.#program.finish(request, status);
    if (answer === PENDING) return;
    const owner = this.walk.owner!;
    request.queue = owner;
    owner.complete(request, answer);
  }

  quiesce(): boolean {
    this.#quiet = true;
    const { operations } = this.walk;
    // What a filter is in the middle of has to come to its end, for others may wait for that.
    operations.paused = this.#filters.every((filter) => this.#isSettled(filter));
    const ended = operations.paused && operations.settled && this.#leaving.length === 0;
    return ended && this.#filters.every(({ memory, isAnswered }) => memory.out || isAnswered);
  }

  /** Whether a filter is in the middle of nothing. */
  #isSettled(filter: ChainFilter): boolean {
    if (filter.memory.out) return true;
    const mark = this.#host.filterMark;
    const outer = mark[0]!;
    mark[0] = filter.id;
    let isSo = true;
    try {
      isSo = filter.hooks.settled?.() ?? true;
    } catch (error) {
      this.walk.condemn(filter, error);
    }
    mark[0] = outer;
    if (isSo || filter.mayGoOn(this.#host.filterDesk)) return isSo;
    this.walk.condemn(filter, unsettled(filter));
    return true;
  }

  hurry(): void {
    this.#hurried = true;
    this.wake();
  }

  resume(): void {
    this.#hurried = false;
    if (!this.#quiet) return;
    this.#quiet = false;
    for (const { settleBy } of this.#filters) settleBy[0] = Number.POSITIVE_INFINITY;
    this.walk.operations.paused = false;
    this.wake();
  }

  close(): void {
    this.filters = [];
    this.#host.filterDesk.remove(this);
    this.backend.close();
  }

  // --- in each turn, while there is something to do ------------------------------------------------------------

  get active(): boolean {
    if (this.#freeDue || this.walk.active || this.walk.kept.count > 0 || this.#leaving.length > 0) return true;
    for (let i = 0; i < this.#filters.length; i++) if (this.#isDue(this.#filters[i]!)) return true;
    return false;
  }

  /** It waits for its helper, or for a time. */
  #isDue({ jobs, wake, memory }: ChainFilter): boolean {
    return (jobs > 0 && !memory.out) || (wake[0]! < Number.POSITIVE_INFINITY && !memory.out && !this.#quiet);
  }

  get dueNs(): number {
    if (this.#freeDue || this.#hurried || this.walk.active) return 0;
    let due = this.walk.kept.lookDueNs;
    for (const { wake, jobs, memory, held } of this.#filters) {
      // Who keeps a request and has not said when, wants to be called in each turn.
      if ((jobs > 0 && !memory.out) || (held > 0 && wake[0] === Number.POSITIVE_INFINITY)) return 0;
      if (!memory.out && !this.#quiet) due = Math.min(due, wake[0]!);
    }
    return due;
  }

  turn(): number {
    const { walk } = this;
    const { operations } = walk;
    if (this.#controlWords[0] !== this.#made) this.#look();
    if (this.#freeDue) {
      this.#freeDue = false;
      // What filters that are out of service wanted to begin is not begun.
      for (const filter of this.#filters) if (filter.memory.out) operations.forget(filter);
      walk.freeKept();
    }
    let work = walk.proceed() + operations.startWaiting() + operations.tell() + this.#takeAnswers();
    if (!this.#quiet || walk.active || walk.kept.count > 0) work += this.#tick();
    walk.lookForLate();
    this.#lookForUnanswered();
    this.#seeOff();
    return work;
  }

  /** A filter whose helper does not answer has failed. */
  #lookForUnanswered(): void {
    const { now } = this.#host.filterDesk;
    if (now[0]! < this.#lookAt[0]!) return;
    this.#lookAt[0] = now[0]! + LOOK_NS;
    for (let i = 0; i < this.#filters.length; i++) {
      const filter = this.#filters[i]!;
      if (!filter.memory.out && filter.isUnanswered(now)) this.walk.condemn(filter, unanswered(filter));
    }
    for (let i = 0; i < this.#leaving.length; i++) {
      const filter = this.#leaving[i]!;
      if (filter.forsaken || !filter.isUnanswered(now)) continue;
      filter.forsaken = true;
      filter.memory.noteFault(unanswered(filter).message);
    }
  }

  failed(): void {
    this.#control.change();
    this.#look();
    this.wake();
  }

  /** Which filters are in service has changed. */
  #look(): void {
    this.#program = this.#compile();
    this.#freeDue = true;
  }

  wake(): void {
    this.#host.filterDesk.add(this);
  }

  /** What helpers have answered. Returns how many. */
  #takeAnswers(): number {
    let count = 0;
    for (let i = 0; i < this.#filters.length; i++) count += this.#takeAnswersOf(this.#filters[i]!, true);
    for (let i = 0; i < this.#leaving.length; i++) count += this.#takeAnswersOf(this.#leaving[i]!, false);
    return count;
  }

  #takeAnswersOf(filter: ChainFilter, tell: boolean): number {
    // Who is told of an answer may begin the next thing. While nothing is to be begun, only what is kept goes on.
    if (tell && this.walk.operations.paused && filter.held === 0) return 0;
    const channel = filter.helper?.channel;
    const answer = this.#answer;
    let count = 0;
    for (; channel?.hasAnswers; count++) {
      channel.takeAnswer(answer);
      filter.jobs--;
      if (tell) this.walk.call(filter, Hook.ANSWERED, answer.tag, answer.result);
    }
    return count;
  }

  /** Returns how many filters were called. */
  #tick(): number {
    const now = this.#host.filterDesk.now[0]!;
    let count = 0;
    for (let i = 0; i < this.#filters.length; i++) {
      const filter = this.#filters[i]!;
      const isTime = filter.wake[0]! <= now;
      if (this.#hurried && filter.held > 0 && filter.hasHurry) {
        this.walk.call(filter, Hook.HURRY, 0, 0);
        count++;
        continue;
      }
      if (isTime) filter.wake[0] = Number.POSITIVE_INFINITY;
      if (!filter.hasTick || !(isTime || filter.held > 0)) continue;
      this.walk.call(filter, Hook.TICK, 0, 0);
      if (isTime) count++;
    }
    return count;
  }

  #submit(request: BlockRequest): number {
    if (this.#controlWords[0] !== this.#made) {
      this.#look();
      this.wake();
    }
    if (--this.#untilSample === 0) return this.#timedSubmit(request);
    return this.#program.submit(request);
  }

  /** The same, with how long each filter takes. */
  #timedSubmit(request: BlockRequest): number {
    if (++this.#samples > FIRST_SAMPLES && this.#sample < SAMPLE_MAX) this.#sample *= 2;
    this.#untilSample = this.#sample;
    this.walk.timed = true;
    const view = (request.view as RequestView | undefined) ?? viewOf(request);
    const answer = this.walk.first(request, view);
    this.walk.timed = false;
    return answer;
  }

  #compile(): Program {
    // First, so that a change that comes meanwhile is seen with the next request.
    this.#made = Atomics.load(this.#controlWords, 0);
    const stages = this.#filters.map(
      ({ id, hooks, hasSubmit, hasComplete, onFault, memory, defers }): Stage => ({
        id,
        hooks,
        hasSubmit,
        hasComplete,
        defers,
        state: !memory.out ? 'live' : onFault === 'open' ? 'gone' : 'gate',
      }),
    );
    return compileProgram(stages, this.backend, this.#host.filterMark, this.walk);
  }

  #dismiss(filter: ChainFilter): void {
    filter.gone = true;
    this.#takeAnswersOf(filter, false);
    filter.forsaken = filter.memory.out;
    this.walk.operations.forget(filter);
    this.#leaving.push(filter);
    this.#seeOff();
  }

  /** Filters of which nothing is in flight any more are closed. */
  #seeOff(): void {
    for (let i = this.#leaving.length - 1; i >= 0; i--) {
      const filter = this.#leaving[i]!;
      if (filter.operations > 0 || (filter.jobs > 0 && !filter.forsaken)) continue;
      this.#leaving.splice(i, 1);
      this.walk.close(filter);
    }
  }
}
