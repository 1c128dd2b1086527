import type { NetDeviceSpec } from '../net/device.js';
import type { PortAddress } from '../net/port.js';
import type { AnyFilterSpec, ChainSpec } from './spec.js';

/** One filter of a card as a sidecore is told of it. Plain data. */
export interface FrameFilterSpec extends AnyFilterSpec {
  /** To which it gives copies, by its names for them. */
  readonly ports: Readonly<Record<string, PortAddress>>;
}

/** The filters of a card, nearest to the guest first. Plain data. */
export interface FrameChainSpec extends Omit<ChainSpec, 'filters'> {
  readonly mac: { readonly high: number; readonly low: number };
  readonly filters: readonly FrameFilterSpec[];
}

/** A card with filters. They may be others later. */
export interface FilteredNetSpec extends NetDeviceSpec {
  filters?: FrameChainSpec | undefined;
}
