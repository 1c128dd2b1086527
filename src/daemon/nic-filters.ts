import type { FrameChainSpec } from '../filter/frame-spec.js';
import { ChainControl } from '../filter/memory.js';
import { type FrameFilterPlace, OpenedFrameFilter, type ReadyFrameFilter } from '../filter/opened-frame-filter.js';
import { histogramStatus } from './disk-filters.js';
import type { FaultLog } from './fault-log.js';
import { findFilter } from './filtered-device.js';

/** A filter that stays, or one that is new, and whose place it takes. */
export type FrameFilterPlan =
  | OpenedFrameFilter
  | { readonly ready: ReadyFrameFilter; readonly old?: OpenedFrameFilter | undefined };

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
    for (const [index, filter] of this.#filters.entries()) {
      const { ready, memory } = filter;
      const fault = memory.faultNote.look();
      if (fault !== undefined) {
        const text = ready.lines.translate(fault);
        filter.lastFault = text;
        const so = ready.onFault === 'open' ? 'frames pass it by' : 'its card’s frames are dropped';
        faults.add('FILTER_FAILED', `${this.#label}: filter ${ready.use} failed and is out of service, ${so}: ${text}`);
      }
      const said = memory.logNote.look();
      if (said !== undefined) faults.note(`filter ${index}`, `${this.#label}: filter ${ready.use}: ${said}`);
    }
  }

  /** For `status`, in their order. */
  status() {
    return this.#filters.map((filter) => {
      const { ready, memory, spec } = filter;
      return {
        use: ready.use,
        name: spec.name,
        on_fault: ready.onFault,
        in_service: !memory.out,
        faults: memory.faults,
        last_fault: filter.lastFault,
        time_ns: Math.round(memory.timeNs),
        counters: memory.readCounters(),
        histograms: Object.fromEntries(
          Object.entries(memory.readHistograms()).map(([name, histogram]) => [name, histogramStatus(histogram)]),
        ),
        watch: ready.written?.watch ?? false,
        state: filter.status(),
      };
    });
  }
}
