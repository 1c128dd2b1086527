import type { BlockFilter } from '../../filter/contract.js';
import { cache } from './cache/filter.js';
import { encrypt } from './encrypt/filter.js';
import { fault } from './fault/filter.js';
import { meter } from './meter/filter.js';
import { mirror } from './mirror/filter.js';
import { overlay } from './overlay/filter.js';
import { readonly } from './readonly/filter.js';
import { snapshot } from './snapshot/filter.js';
import { snapshotView } from './snapshot/view.js';
import { throttle } from './throttle/filter.js';
import { trace } from './trace/filter.js';
import { verify } from './verify/filter.js';

/** The block filters that are part of this program, by the name that configurations use. */
export const BLOCK_FILTERS: Readonly<Record<string, BlockFilter>> = {
  cache,
  encrypt,
  fault,
  meter,
  mirror,
  overlay,
  readonly,
  snapshot,
  throttle,
  trace,
  verify,
};

/** The same with those that belong to back ends, which no configuration names. */
export const ALL_BLOCK_FILTERS: Readonly<Record<string, BlockFilter>> = {
  ...BLOCK_FILTERS,
  [snapshotView.name]: snapshotView,
};
