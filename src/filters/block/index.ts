import type { BlockFilter } from '../../filter/contract.js';
import { encrypt } from './encrypt/filter.js';
import { fault } from './fault/filter.js';
import { meter } from './meter/filter.js';
import { readonly } from './readonly/filter.js';
import { throttle } from './throttle/filter.js';
import { trace } from './trace/filter.js';

/** The block filters that are part of this program, by the name that configurations use. */
export const BLOCK_FILTERS: Readonly<Record<string, BlockFilter>> = {
  encrypt,
  fault,
  meter,
  readonly,
  throttle,
  trace,
};
