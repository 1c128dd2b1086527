import { type BlockBackend, PENDING } from '../block/backends/backend.js';
import { RequestType, Status } from '../block/features.js';
import type { BlockRequest, RequestOwner } from '../block/request.js';
import { messageOf } from '../errors.js';
import type { BlockFilterHooks } from './contract.js';
import type { ChainControl, FilterMemory } from './memory.js';
import { compileProgram, type Exits, invalidStatus, type Program, type Stage } from './program.js';
import { isStatus, passOn, type RequestView, Verdict } from './request-view.js';
import type { FaultPolicy } from './spec.js';

/** One filter of a chain. */
export interface ChainFilter {
  readonly hooks: BlockFilterHooks;
  readonly onFault: FaultPolicy;
  /** Whether it is in service, on whichever sidecore it failed. */
  readonly memory: Pick<FilterMemory, 'out' | 'condemn'>;
  /** The file that its code names in stack traces, where it is not ours. */
  readonly file: string | undefined;
}

/**
 * The filters before a back end, for one queue: a back end itself. A request goes down through `submit` of all filters, nearest
 * to the guest first, and up through `complete` of those that passed it on, whenever the back end is done with it.
 *
 * What filters do wrong ends here: a throw is counted, and takes the filter out of service for its whole device.
 */
export class FilterChain implements BlockBackend, RequestOwner, Exits {
  readonly backend: BlockBackend;
  /** Where requests come from; known with the first that completes later. */
  owner: RequestOwner | undefined = undefined;
  readonly #filters: readonly ChainFilter[];
  readonly #control: ChainControl;
  readonly #controlWords: Int32Array;
  #program: Program;
  /** What the control word was when the program was made. */
  #made = 0;

  /** @param filters - nearest to the guest first */
  constructor(filters: readonly ChainFilter[], control: ChainControl, backend: BlockBackend) {
    this.#filters = filters;
    this.#control = control;
    this.#controlWords = control.words;
    this.backend = backend;
    this.#program = this.#compile();
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
    return answer < 0 ? answer : this.#program.finish(request, answer);
  }

  completed(request: BlockRequest, result: number): void {
    this.backend.completed(request, result);
  }

  /** The back end is done with a request that it had answered with PENDING. */
  complete(request: BlockRequest, status: number): void {
    const owner = this.owner!;
    request.queue = owner;
    owner.complete(request, this.#program.finish(request, status));
  }

  close(): void {
    for (const filter of this.#filters) {
      try {
        filter.hooks.close?.();
      } catch (error) {
        this.#condemn(filter, error);
      }
    }
    this.backend.close();
  }

  stopped(request: BlockRequest, view: RequestView, at: number): number {
    const { verdict } = view;
    if (verdict >= 0) return this.#unwind(view, at - 1, verdict);
    return this.submitThrew(request, view, at, new Error('submit() has neither passed the request on nor ended it'));
  }

  submitThrew(request: BlockRequest, view: RequestView, at: number, error: unknown): number {
    view.verdict = Verdict.CLOSED;
    const filter = this.#filters[at]!;
    this.#condemn(filter, error);
    return filter.onFault === 'open' ? this.#goOn(request, view, at + 1) : this.#unwind(view, at - 1, Status.IOERR);
  }

  completeThrew(view: RequestView, at: number, status: number, error: unknown): number {
    const filter = this.#filters[at]!;
    this.#condemn(filter, error);
    return this.#unwind(view, at - 1, filter.onFault === 'open' ? status : Status.IOERR);
  }

  later(request: BlockRequest, answer: number): number {
    if (answer === PENDING) {
      this.owner = request.queue;
      request.queue = this;
    }
    return answer;
  }

  #submit(request: BlockRequest): number {
    if (this.#controlWords[0] !== this.#made) this.#program = this.#compile();
    return this.#program.submit(request);
  }

  #compile(): Program {
    // First, so that a change that comes meanwhile is seen with the next request.
    this.#made = Atomics.load(this.#controlWords, 0);
    const stages = this.#filters.map(
      ({ hooks, onFault, memory }): Stage => ({
        hooks,
        state: !memory.out ? 'live' : onFault === 'open' ? 'gone' : 'gate',
      }),
    );
    return compileProgram(stages, this.backend, this);
  }

  #condemn(filter: ChainFilter, error: unknown): void {
    filter.memory.condemn(faultText(error, filter.file));
    this.#control.change();
    this.#program = this.#compile();
  }

  /** Takes a request down from a filter on, the slow way. */
  #goOn(request: BlockRequest, view: RequestView, from: number): number {
    for (let at = from; at < this.#filters.length; at++) {
      const { hooks, onFault, memory } = this.#filters[at]!;
      if (memory.out && onFault === 'closed') return this.#unwind(view, at - 1, Status.IOERR);
      if (memory.out || hooks.submit === undefined) continue;
      try {
        view.verdict = Verdict.ASKED;
        hooks.submit(view, passOn);
      } catch (error) {
        return this.submitThrew(request, view, at, error);
      }
      if (view.verdict !== Verdict.PASSED) return this.stopped(request, view, at);
    }
    const status = submitTo(this.backend, request);
    return status < 0 ? this.later(request, status) : this.#unwind(view, this.#filters.length - 1, status);
  }

  /** Takes a request up from a filter on, the slow way. */
  #unwind(view: RequestView, from: number, first: number): number {
    let status = first;
    for (let at = from; at >= 0; at--) {
      const filter = this.#filters[at]!;
      const { hooks, memory, onFault } = filter;
      if (memory.out && onFault === 'closed') status = Status.IOERR;
      if (memory.out || hooks.complete === undefined) continue;
      try {
        const answer = hooks.complete(view, status);
        if (!isStatus(answer)) throw invalidStatus(answer);
        status = answer;
      } catch (error) {
        this.#condemn(filter, error);
        if (onFault === 'closed') status = Status.IOERR;
      }
    }
    return status;
  }
}

/** Gives a request to a back end, by its type. */
function submitTo(backend: BlockBackend, request: BlockRequest): number {
  switch (request.type) {
    case RequestType.IN:
      return backend.read(request);
    case RequestType.OUT:
      return backend.write(request);
    case RequestType.FLUSH:
      return backend.flush(request);
    case RequestType.DISCARD:
      return backend.discard(request);
    case RequestType.WRITE_ZEROES:
      return backend.writeZeroes(request);
    default:
      return backend.secureErase(request);
  }
}

/** What was thrown, and where in the filter's file. It may be anything, and its own code may throw again. */
export function faultText(error: unknown, file: string | undefined): string {
  try {
    const frames = error instanceof Error ? String(error.stack).split('\n') : [];
    const frame = file === undefined ? undefined : frames.find((line) => line.includes(`${file}:`));
    const place = frame && /(:\d+:\d+)\)?$/.exec(frame)?.[1];
    return place ? `${messageOf(error)} (${file}${place})` : messageOf(error);
  } catch {
    return 'it threw what cannot be shown';
  }
}
