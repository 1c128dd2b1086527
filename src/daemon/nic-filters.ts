import type { FrameChainSpec } from '../filter/frame-spec.js';
import { type FrameFilterPlace, OpenedFrameFilter, type ReadyFrameFilter } from '../filter/opened-frame-filter.js';
import { DeviceFilters } from './device-filters.js';
import type { AnyFilterPlan } from './filtered-device.js';

/** A filter that stays, or one that is new, and whose place it takes. */
export type FrameFilterPlan = AnyFilterPlan<OpenedFrameFilter, ReadyFrameFilter>;

/** The filters of one card. They change between two frames. */
export class NicFilters extends DeviceFilters<OpenedFrameFilter, ReadyFrameFilter> {
  readonly #place: FrameFilterPlace;

  /** Throws what is wrong with one of them. */
  constructor(place: FrameFilterPlace, filters: readonly ReadyFrameFilter[]) {
    super(place, { open: 'frames pass it by', closed: 'its card’s frames are dropped' });
    this.#place = place;
    this.openFirst(filters);
  }

  /** For the sidecores; undefined if there are none. */
  get spec(): FrameChainSpec | undefined {
    const { vm, device, mac } = this.#place;
    const filters = this.opened.map(({ spec }) => spec);
    return filters.length === 0 ? undefined : { vm, device, mac, queues: 1, control: this.control.buffer, filters };
  }

  protected override openInto(opened: OpenedFrameFilter[], filters: readonly FrameFilterPlan[]): void {
    for (const plan of filters)
      opened.push(plan instanceof OpenedFrameFilter ? plan : new OpenedFrameFilter(plan.ready, this.#place, plan.old));
  }
}
