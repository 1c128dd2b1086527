import type { BlockFilter } from '../../filter/contract.js';
import { encrypt } from './encrypt/filter.js';
import { meter } from './meter/filter.js';
import { readonly } from './readonly/filter.js';

/** The block filters that are part of this program, by the name that configurations use. */
export const BLOCK_FILTERS: Readonly<Record<string, BlockFilter>> = { encrypt, meter, readonly };
