import type { RequestPool } from '../block/request.js';
import { REQUESTS_IN_FLIGHT_MAX } from '../limits.js';
import type { ChainFilter } from './chain-filter.js';
import { Held, type RequestView, slotOf } from './request-view.js';

/** Pause between two looks for requests that were kept for too long, ns. */
const LOOK_NS = 10e6;

/** The requests that the filters of a chain keep. */
export class KeptRequests {
  readonly #pool: RequestPool;
  /** The first `count` of them are kept. A list that shrank and grew would be made anew each time. */
  readonly #views: (RequestView | undefined)[] = [];
  count = 0;
  /** Until when, by slot, ns. */
  readonly #deadline = new Float64Array(REQUESTS_IN_FLIGHT_MAX);
  readonly #lookedAt = new Float64Array(1);

  constructor(pool: RequestPool) {
    this.#pool = pool;
  }

  /** By number; in no order. Undefined if there are not so many. */
  at(index: number): RequestView | undefined {
    return index < this.count ? this.#views[index] : undefined;
  }

  /** @param now - in its slot zero, ns */
  add(view: RequestView, filter: ChainFilter, held: number, status: number, now: Float64Array): void {
    view.holder = filter;
    view.held = held;
    view.heldStatus = status;
    view.heldAt = this.count;
    this.#views[this.count++] = view;
    filter.held++;
    this.#deadline[view.slot] = now[0]! + filter.deferNsMax;
  }

  /** One that a filter keeps, by its token. Throws if it keeps no such request. */
  find(filter: ChainFilter, token: number): RequestView {
    const view = this.#pool.requests[slotOf(token)]?.view as RequestView | undefined;
    if (view === undefined || view.holder !== filter || view.token !== token)
      throw new Error('the filter keeps no request with this token');
    return view;
  }

  /** The same, of one that can still go down. */
  findDown(filter: ChainFilter, token: number): RequestView {
    const view = this.find(filter, token);
    if (view.held === Held.DOWN) return view;
    throw new Error('a request that was deferred in complete() cannot go down again');
  }

  remove(view: RequestView): void {
    view.holder!.held--;
    view.holder = undefined;
    view.held = Held.NOT;
    const last = this.#views[--this.count]!;
    this.#views[view.heldAt] = last;
    last.heldAt = view.heldAt;
    this.#views[this.count] = undefined;
  }

  /** When `findLate` looks again, ns; infinite if there is nothing to look at. */
  get lookDueNs(): number {
    return this.count === 0 ? Number.POSITIVE_INFINITY : this.#lookedAt[0]! + LOOK_NS;
  }

  /** A filter in service that has kept one for too long; looked for now and then only. */
  findLate(now: Float64Array): ChainFilter | undefined {
    if (this.count === 0 || now[0]! < this.#lookedAt[0]! + LOOK_NS) return undefined;
    this.#lookedAt[0] = now[0]!;
    for (let i = 0; i < this.count; i++) {
      const { slot, holder } = this.#views[i]!;
      if (!holder!.memory.out && now[0]! >= this.#deadline[slot]!) return holder;
    }
    return undefined;
  }
}
