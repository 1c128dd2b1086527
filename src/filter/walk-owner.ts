import type { RequestOwner, RequestPool } from '../block/request.js';
import type { FilterDesk } from './filter-desk.js';

/** What a chain needs of the sidecore that it is on. */
export interface ChainHost {
  readonly pool: RequestPool;
  readonly filterDesk: FilterDesk;
  /** One slot: the number of the filter whose code is running, negative while it is made; or zero. */
  readonly filterMark: Int32Array;
}

/** What the ways of a chain's requests need of the chain. */
export interface WalkOwner extends RequestOwner {
  /** A filter has failed: it is asked no more. */
  failed(): void;
  /** Something waits for the next turn. */
  wake(): void;
}

/** Which of a filter's hooks is called, besides `submit` and `complete`. */
export const Hook = { DONE: 0, ANSWERED: 1, TICK: 2, HURRY: 3 } as const;
