import type { FrameChainSpec } from '../filter/frame-spec.js';
import { ChainControl } from '../filter/memory.js';
import { type FrameFilterPlace, OpenedFrameFilter, type ReadyFrameFilter } from '../filter/opened-frame-filter.js';
import type { FaultLog } from './fault-log.js';
import { filterStatus, reportFilters } from './filter-report.js';
import { findFilter } from './filtered-device.js';

/** A filter that stays, or one that is new, and whose place it takes. */
export type FrameFilterPlan =
  | OpenedFrameFilter
  | { readonly ready: ReadyFrameFilter; readonly old?: OpenedFrameFilter | undefined };

/** What becomes of what a failed filter would have got. */
const OUTCOME = { open: 'frames pass it by', closed: 'its card’s frames are dropped' } as const;

/** The filters of one card, as the daemon sees them: nearest to the guest first. */
export class NicFilters {
  readonly #place: FrameFilterPlace;
  readonly #label: string;
  readonly #control = new ChainControl();
  #filters: readonly OpenedFrameFilter[];

  /** Throws what is wrong with one of them. */
  constructor(place: FrameFilterPlace, filters: readonly ReadyFrameFilter[]) {
    this.#place = place;
    this.#label = `${place.vm}/${place.device}`;
    this.#filters = this.#open(filters.map((ready) => ({ ready })));
  }

  /** For the sidecores; undefined if there are none. */
  get spec(): FrameChainSpec | undefined {
    const { vm, device, mac } = this.#place;
    const filters = this.#filters.map(({ spec }) => spec);
    return filters.length === 0 ? undefined : { vm, device, mac, queues: 1, control: this.#control.buffer, filters };
  }

  get opened(): readonly OpenedFrameFilter[] {
    return this.#filters;
  }

  /**
   * Has other filters. What is new is opened first, so that nothing has changed if that fails.
   *
   * @param filters - those that stay, and those that are new; these with whose place they take
   * @param change - has the sidecore use `spec`, which is new, between two frames
   */
  async change(filters: readonly FrameFilterPlan[], change: () => Promise<void>): Promise<void> {
    const before = this.#filters;
    const opened = this.#open(filters);
    this.#filters = opened;
    try {
      await change();
    } catch (error) {
      this.#filters = before;
      await this.#close(opened, before);
      throw error;
    }
    await this.#close(before, opened);
  }

  /** No sidecore uses them any more. */
  async close(): Promise<void> {
    await this.#close(this.#filters, []);
  }

  #open(filters: readonly FrameFilterPlan[]): OpenedFrameFilter[] {
    const opened: OpenedFrameFilter[] = [];
    try {
      for (const filter of filters)
        opened.push(
          filter instanceof OpenedFrameFilter ? filter : new OpenedFrameFilter(filter.ready, this.#place, filter.old),
        );
      return opened;
    } catch (error) {
      void this.#close(opened, this.#filters ?? []);
      throw error;
    }
  }

  /** Closes those that others are not among. */
  async #close(filters: readonly OpenedFrameFilter[], others: readonly OpenedFrameFilter[]): Promise<void> {
    for (const filter of filters)
      if (!others.includes(filter))
        await filter.close().catch((error) => this.#place.log(`${filter.ready.use}: ${error.message}`));
  }

  /** A filter by its place, or by what it is called. Throws if there is none. */
  find(which: string, base?: string): OpenedFrameFilter {
    return findFilter(this.#label, this.#filters, which, base);
  }

  /** To be called now and then: reports what filters have failed and said since the last time. */
  report(faults: FaultLog): void {
    reportFilters(this.#label, this.#filters, OUTCOME, faults);
  }

  /** For `status`, in their order. */
  status() {
    return this.#filters.map(filterStatus);
  }
}
