import { type BlockBackend, MORE, PENDING } from '../block/backends/backend.js';
import { Status } from '../block/features.js';
import type { BlockRequest, RequestOwner, RequestPool } from '../block/request.js';
import { threadCpuNs } from '../host/clock.js';
import type { ChainFilter } from './chain-filter.js';
import type { IoTarget } from './contract.js';
import { faultText } from './fault-text.js';
import type { FilterDesk } from './filter-desk.js';
import { KeptRequests } from './kept-requests.js';
import { type OperationHost, Operations, submitTo } from './operations.js';
import type { Exits } from './program.js';
import { Held, isStatus, passOn, type RequestView, Verdict } from './request-view.js';
import { invalidStatus, isKept, isOwn, markedText, refusal, requireOwn, tooLate } from './verdicts.js';
import { type ChainHost, Hook, type WalkOwner } from './walk-owner.js';

/**
 * The ways of requests through a chain that are not simply down and up: those that a filter ends, keeps or fails, those that go on
 * later, and filters' own. One filter after the other, each asked whether it is in service.
 */
export class Walk implements Exits, OperationHost {
  filters: readonly ChainFilter[] = [];
  readonly operations = new Operations(this);
  readonly pool: RequestPool;
  /** Calls are timed. */
  timed = false;
  readonly #chain: WalkOwner;
  readonly #backend: BlockBackend;
  readonly #desk: FilterDesk;
  readonly #mark: Int32Array;
  /** Requests that go on piece by piece here, not in their queue. */
  readonly #begun: BlockRequest[] = [];
  readonly kept: KeptRequests;
  readonly #time = new Float64Array(2);

  constructor(chain: WalkOwner, backend: BlockBackend, { pool, filterDesk, filterMark }: ChainHost) {
    this.#chain = chain;
    this.#backend = backend;
    this.pool = pool;
    this.#desk = filterDesk;
    this.#mark = filterMark;
    this.kept = new KeptRequests(pool);
  }

  get owner(): RequestOwner | undefined {
    return this.operations.owner;
  }
  /** Something, besides kept requests, has to be looked at in each turn. */
  get active(): boolean {
    return this.#begun.length > 0 || this.operations.active;
  }

  // --- what programs leave to it -------------------------------------------------------------------------------

  stopped(request: BlockRequest, view: RequestView, at: number): number {
    this.#mark[0] = 0;
    return this.#answer(this.#judge(request, view, at));
  }

  submitThrew(request: BlockRequest, view: RequestView, at: number, error: unknown): number {
    this.#mark[0] = 0;
    return this.#answer(this.#afterThrow(request, view, at, error));
  }

  odd(request: BlockRequest, view: RequestView, at: number, status: number, answer: unknown): number {
    this.#mark[0] = 0;
    const filter = this.filters[at]!;
    if (isKept(answer, view, filter)) return this.#answer(this.#keep(request, view, filter, Held.UP, status));
    this.condemn(filter, invalidStatus(answer));
    return this.#answer(this.#goUp(request, view, at - 1, filter.onFault === 'open' ? status : Status.IOERR));
  }

  completeThrew(request: BlockRequest, view: RequestView, at: number, status: number, error: unknown): number {
    this.#mark[0] = 0;
    const filter = this.filters[at]!;
    this.condemn(filter, error);
    return this.#answer(this.#goUp(request, view, at - 1, filter.onFault === 'open' ? status : Status.IOERR));
  }

  later(request: BlockRequest, answer: number): number {
    if (answer === PENDING) this.#comesBackHere(request);
    return answer;
  }

  /** Before a queue is answered: what filters have begun meanwhile may have ended. */
  #answer(answer: number): number {
    if (answer === PENDING) this.operations.tell();
    return answer;
  }

  /** A request of the queue's, step by step. Returns its status, PENDING or MORE. */
  first(request: BlockRequest, view: RequestView): number {
    return this.#answer(this.down(request, view, 0));
  }

  // --- down and up, step by step -------------------------------------------------------------------------------

  /** Takes a request down from a filter on. Returns its status, PENDING or MORE. */
  down(request: BlockRequest, view: RequestView, from: number): number {
    for (let at = from; at < this.filters.length; at++) {
      const filter = this.filters[at]!;
      const { hooks, onFault, memory } = filter;
      if (memory.out && onFault === 'closed') return this.#goUp(request, view, at - 1, Status.IOERR);
      if (memory.out || !filter.hasSubmit) continue;
      const outer = this.#enter(filter);
      try {
        view.verdict = Verdict.ASKED;
        hooks.submit!(view, passOn);
      } catch (error) {
        this.#leave(filter, outer);
        return this.#afterThrow(request, view, at, error);
      }
      this.#leave(filter, outer);
      if (view.verdict !== Verdict.PASSED) return this.#judge(request, view, at);
    }
    const status = submitTo(this.#backend, request);
    if (status >= 0) return this.#goUp(request, view, this.filters.length - 1, status);
    if (view.operation === undefined) this.#comesBackHere(request);
    return status;
  }

  /** What a filter has said of a request that it has not passed on. */
  #judge(request: BlockRequest, view: RequestView, at: number): number {
    const { verdict } = view;
    const filter = this.filters[at]!;
    if (verdict >= 0) return this.#goUp(request, view, at - 1, verdict);
    if (verdict === Verdict.REDIRECTED && isOwn(view, filter)) return this.#redirect(request, view, at);
    if (verdict === Verdict.DEFERRED && filter.defers) return this.#keep(request, view, filter, Held.DOWN, Status.OK);
    return this.#afterThrow(request, view, at, refusal(verdict, filter.hooks.submit));
  }

  #afterThrow(request: BlockRequest, view: RequestView, at: number, error: unknown): number {
    view.verdict = Verdict.CLOSED;
    const filter = this.filters[at]!;
    this.condemn(filter, error);
    return filter.onFault === 'open'
      ? this.down(request, view, at + 1)
      : this.#goUp(request, view, at - 1, Status.IOERR);
  }

  /** Takes a request up from a filter on, as far as it had come down. Returns its status, or PENDING. */
  #goUp(request: BlockRequest, view: RequestView, from: number, first: number): number {
    let status = first;
    for (let at = from; at >= view.floor; at--) {
      const filter = this.filters[at]!;
      const { hooks, memory, onFault } = filter;
      if (memory.out && onFault === 'closed') status = Status.IOERR;
      if (memory.out || !filter.hasComplete) continue;
      const outer = this.#enter(filter);
      let answer: unknown;
      let error: unknown;
      try {
        view.verdict = Verdict.ASKED_UP;
        answer = hooks.complete!(view, status);
      } catch (thrown) {
        error = thrown ?? new Error('complete() has thrown nothing');
      }
      this.#leave(filter, outer);
      if (error === undefined && isKept(answer, view, filter))
        return this.#keep(request, view, filter, Held.UP, status);
      if (error === undefined && isStatus(answer)) status = answer as number;
      else {
        this.condemn(filter, error ?? invalidStatus(answer));
        if (onFault === 'closed') status = Status.IOERR;
      }
    }
    view.verdict = Verdict.CLOSED;
    return status;
  }

  /** It is completed to the chain, not to the queue. */
  #comesBackHere(request: BlockRequest): void {
    if (request.queue === this.#chain) return;
    this.operations.owner = request.queue;
    request.queue = this.#chain;
  }

  /** A request that its queue does not wait for the answer of has one. */
  #deliver(request: BlockRequest, view: RequestView, answer: number): void {
    if (answer === PENDING) return;
    if (answer === MORE) return this.begun(request);
    if (view.operation !== undefined) return this.operations.end(request, view, answer);
    request.queue = this.owner!;
    request.queue.complete(request, answer);
  }

  // --- requests that filters keep ------------------------------------------------------------------------------

  #keep(request: BlockRequest, view: RequestView, filter: ChainFilter, held: number, status: number): number {
    this.#desk.readNow();
    this.kept.add(view, filter, held, status, this.#desk.now);
    if (view.operation === undefined) this.#comesBackHere(request);
    this.#chain.wake();
    return PENDING;
  }

  requestOf(filter: ChainFilter, token: number): RequestView {
    return this.kept.find(filter, token);
  }

  goOn(filter: ChainFilter, token: number): void {
    const view = this.kept.findDown(filter, token);
    this.kept.remove(view);
    this.#deliver(view.request, view, this.down(view.request, view, filter.index + 1));
  }

  finish(filter: ChainFilter, token: number, status: number): void {
    const view = this.kept.find(filter, token);
    if (!isStatus(status)) throw new Error(`${status} is no status`);
    this.kept.remove(view);
    this.#deliver(view.request, view, this.#goUp(view.request, view, filter.index - 1, status));
  }

  redirect(filter: ChainFilter, token: number, disk: IoTarget): void {
    const view = this.kept.findDown(filter, token);
    view.aim(disk);
    requireOwn(view, filter);
    this.kept.remove(view);
    this.#deliver(view.request, view, this.#redirect(view.request, view, filter.index));
  }

  /** Has a disk of a filter's own take a request. Returns its status, or PENDING. */
  #redirect(request: BlockRequest, view: RequestView, at: number): number {
    const target = view.target!;
    const before = request.queue;
    if (view.operation === undefined) this.#comesBackHere(request);
    request.queue = target;
    const status = submitTo(target.backend, request);
    if (status >= 0) {
      view.target = undefined;
      request.queue = before;
      return this.#goUp(request, view, at, status);
    }
    // It goes on here: the queue's own way leads to the other back end.
    if (status === MORE) this.begun(request);
    return PENDING;
  }

  /** What filters that are out of service have kept goes its way. */
  freeKept(): void {
    for (let i = this.kept.count - 1; i >= 0; i--) {
      // Others may have gone meanwhile.
      const view = this.kept.at(i);
      const filter = view?.holder;
      if (view === undefined || filter === undefined || !filter.memory.out) continue;
      const { request, held, heldStatus } = view;
      this.kept.remove(view);
      let answer: number;
      if (filter.onFault === 'closed') answer = this.#goUp(request, view, filter.index - 1, Status.IOERR);
      else if (held === Held.DOWN) answer = this.down(request, view, filter.index + 1);
      else answer = this.#goUp(request, view, filter.index - 1, heldStatus);
      this.#deliver(request, view, answer);
    }
  }

  /** A filter that has kept a request for too long has failed. */
  lookForLate(): void {
    const late = this.kept.findLate(this.#desk.now);
    if (late !== undefined) this.condemn(late, tooLate(late));
  }

  // --- requests that go on piece by piece, and filters' own ----------------------------------------------------

  begun(request: BlockRequest): void {
    this.#begun.push(request);
    this.#chain.wake();
  }

  /** Returns how many. */
  proceed(): number {
    let count = 0;
    for (let i = this.#begun.length - 1; i >= 0; i--) {
      const request = this.#begun[i]!;
      const view = request.view as RequestView;
      const backend = (view.target ?? view.operation?.target)?.backend ?? this.#backend;
      const status = backend.proceed!(request);
      count++;
      if (status === MORE) continue;
      this.#begun.splice(i, 1);
      if (status !== PENDING) this.returned(request, view, status);
    }
    return count;
  }

  /** The back end is done with a request that nobody waits for the answer of. */
  returned(request: BlockRequest, view: RequestView, status: number): void {
    const { target } = view;
    if (target !== undefined) {
      view.target = undefined;
      request.queue = view.operation?.target ?? this.#chain;
    }
    const from = target?.filter.index ?? this.filters.length - 1;
    this.#deliver(request, view, this.#goUp(request, view, from, status));
  }

  wake(): void {
    this.#chain.wake();
  }
  tell(filter: ChainFilter, tag: number, status: number): void {
    this.call(filter, Hook.DONE, tag, status);
  }

  /** Calls one of a filter's other hooks, if it is in service. */
  call(filter: ChainFilter, hook: number, tag: number, value: number): void {
    const { hooks, memory } = filter;
    if (memory.out || filter.gone) return;
    const outer = this.#enter(filter);
    let error: unknown;
    try {
      if (hook === Hook.DONE) hooks.done?.(tag, value);
      else if (hook === Hook.ANSWERED) hooks.answered?.(tag, value);
      else if (hook === Hook.HURRY) hooks.hurry?.();
      else hooks.tick?.();
    } catch (thrown) {
      error = thrown ?? new Error('it has thrown nothing');
    }
    this.#leave(filter, outer);
    if (error !== undefined) this.condemn(filter, error);
  }

  /** Ends a filter, of which nothing is in flight. */
  close(filter: ChainFilter): void {
    const outer = this.#enter(filter);
    try {
      filter.hooks.close?.();
    } catch (error) {
      filter.memory.noteFault(`close() has thrown: ${faultText(error, filter.file)}`);
    }
    this.#leave(filter, outer);
    filter.release();
  }

  condemn(filter: ChainFilter, error: unknown): void {
    filter.memory.condemn(markedText(filter, error, this.#mark));
    this.operations.forget(filter);
    this.#chain.failed();
  }

  /** A filter's code begins. Returns whose was running. */
  #enter(filter: ChainFilter): number {
    const outer = this.#mark[0]!;
    this.#mark[0] = filter.id;
    if (this.timed) this.#time[0] = threadCpuNs();
    return outer;
  }

  #leave(filter: ChainFilter, outer: number): void {
    this.#mark[0] = outer;
    if (this.timed && filter.memory.noteTime(threadCpuNs() - this.#time[0]!)) this.#chain.failed();
  }
}
