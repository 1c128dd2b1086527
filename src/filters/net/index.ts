import type { FrameFilter } from '../../filter/frame-contract.js';
import { firewall } from './firewall/filter.js';
import { impair } from './impair/filter.js';
import { meter } from './meter/filter.js';
import { mirror } from './mirror/filter.js';
import { rateLimit } from './rate-limit/filter.js';
import { trace } from './trace/filter.js';

/** The frame filters that are part of this program, by the name that configurations use. */
export const NET_FILTERS: Readonly<Record<string, FrameFilter>> = {
  firewall,
  impair,
  meter,
  mirror,
  'rate-limit': rateLimit,
  trace,
};
