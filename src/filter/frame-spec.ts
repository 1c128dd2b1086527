import type { NetDeviceSpec } from '../net/device.js';
import type { ChainSpec, FilterSpec } from './spec.js';

/** One filter of a card as a sidecore is told of it. Plain data. */
export interface FrameFilterSpec extends FilterSpec {
  /** Unique in the daemon, above zero. */
  readonly id: number;
  /** Memory of the group that it is in, if it is in one. */
  readonly group: SharedArrayBuffer | undefined;
  /** What its `manage` has prepared. */
  readonly prepared: unknown;
}

/** The filters of a card, nearest to the guest first. Plain data. */
export interface FrameChainSpec extends ChainSpec {
  readonly mac: { readonly high: number; readonly low: number };
  readonly filters: readonly FrameFilterSpec[];
}

/** A card with filters. */
export interface FilteredNetSpec extends NetDeviceSpec {
  readonly filters?: FrameChainSpec | undefined;
}
