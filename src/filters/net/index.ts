import type { FrameFilter } from '../../filter/frame-contract.js';
import { meter } from './meter/filter.js';

/** The frame filters that are part of this program, by the name that configurations use. */
export const NET_FILTERS: Readonly<Record<string, FrameFilter>> = { meter } as Readonly<Record<string, FrameFilter>>;
