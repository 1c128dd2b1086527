import type { BackendAbilities, OpenDisk } from '../block/backends/backend.js';
import type { BackendSpec } from '../block/backends/index.js';
import { messageOf, SidecoreError } from '../errors.js';
import { ChainControl } from '../filter/memory.js';
import { type ChainPlace, type FilterPlace, OpenedFilter, type ReadyFilter } from '../filter/opened-filter.js';
import { isNextToBackend, placeFaults } from '../filter/placing.js';
import type { ChainSpec } from '../filter/spec.js';
import type { FaultLog } from './fault-log.js';
import { filterStatus, reportFilters } from './filter-report.js';
import { findFilter } from './filtered-device.js';

/** What there is below the filters of a disk. */
export type FilteredDisk = Pick<OpenDisk<BackendSpec>, 'abilities' | 'image' | 'spec'>;

/** A filter that stays, or a new one, and whose place it takes. */
export type FilterPlan = OpenedFilter | { readonly ready: ReadyFilter; readonly old?: OpenedFilter | undefined };

/** What becomes of what a failed filter would have got. */
const OUTCOME = { open: 'requests pass it by', closed: 'its disk answers with errors' } as const;

/** The filters of one disk, as the daemon sees them: nearest to the guest first. */
export class DiskFilters {
  readonly #place: ChainPlace;
  readonly #label: string;
  readonly #disk: Pick<FilteredDisk, 'image' | 'spec'>;
  /** What there is without filters. */
  #below: BackendAbilities;
  readonly #control = new ChainControl();
  /** One that belongs to the back end: it is below all others, and stays. */
  readonly #own: OpenedFilter | undefined;
  #filters: readonly OpenedFilter[];

  /**
   * Throws what is wrong with one of them, and leaves nothing open.
   *
   * @param own - of the back end
   */
  constructor(place: FilterPlace, disk: FilteredDisk, filters: readonly ReadyFilter[], own?: ReadyFilter) {
    this.#place = { ...place, changed: () => this.#control.change() };
    this.#label = `${place.vm}/${place.device}`;
    this.#disk = disk;
    this.#own = own && new OpenedFilter(own, this.#place, disk.abilities, disk);
    this.#below = this.#own?.offer(disk.abilities) ?? disk.abilities;
    try {
      this.#filters = this.#open(filters, () => undefined);
    } catch (error) {
      void this.#own?.close();
      throw error;
    }
  }

  /** All of them, the back end's own too. */
  #all(): readonly OpenedFilter[] {
    return this.#own === undefined ? this.#filters : [...this.#filters, this.#own];
  }

  /** For the sidecores; undefined if there are none. */
  get spec(): ChainSpec | undefined {
    const { vm, device, queues } = this.#place;
    const filters = this.#all().map(({ spec }) => spec);
    return filters.length === 0 ? undefined : { vm, device, queues, control: this.#control.buffer, filters };
  }

  /** What the disk offers its guest. */
  get abilities(): BackendAbilities {
    return this.#filters.reduceRight((below, filter) => filter.offer(below), this.#below);
  }

  /** The image has another size. */
  resized(sizeBytes: number): void {
    this.#below = { ...this.#below, sizeBytes };
  }

  get opened(): readonly OpenedFilter[] {
    return this.#filters;
  }

  /**
   * Has other filters. What is new is opened first, so that nothing has changed if that fails.
   *
   * @param filters - those that stay, and those that are new; these with whose place they take
   * @param change - has the sidecores use `spec`, which is new, while nothing is in flight
   */
  async change(filters: readonly FilterPlan[], change: () => Promise<void>): Promise<void> {
    const before = this.#filters;
    const opened = this.#open(
      filters.map((filter) => filter.ready),
      (index) => {
        const filter = filters[index]!;
        return filter instanceof OpenedFilter ? { stays: filter } : { old: filter.old };
      },
    );
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
    await this.#close(this.#all(), []);
  }

  #open(
    filters: readonly ReadyFilter[],
    known: (index: number) => { stays?: OpenedFilter; old?: OpenedFilter | undefined } | undefined,
  ): OpenedFilter[] {
    for (const { text, remedy } of placeFaults(filters))
      throw new SidecoreError('CONFIG_INVALID', `${this.#label}: ${text}`, remedy);
    const opened: OpenedFilter[] = [];
    let below = this.#below;
    try {
      for (let index = filters.length - 1; index >= 0; index--) {
        const { stays, old } = known(index) ?? {};
        const backend = isNextToBackend(filters, index) ? this.#disk : undefined;
        const filter = stays ?? new OpenedFilter(filters[index]!, this.#place, below, backend, old);
        opened.unshift(filter);
        if (filter.spec.defers && filter.spec.belowBytes !== below.sizeBytes) throw this.#otherSize(filter);
        below = filter.offer(below);
      }
      return opened;
    } catch (error) {
      void this.#close(opened, this.#filters ?? []);
      throw error;
    }
  }

  #otherSize({ ready, spec }: OpenedFilter): SidecoreError {
    const text = `${this.#label}: what is below the filter ${ready.use} would not have ${spec.belowBytes} bytes any more`;
    return new SidecoreError(
      'DEVICE_BUSY',
      text,
      'Write the filters into the configuration, and start the daemon anew.',
    );
  }

  /** Closes those that others are not among. */
  async #close(filters: readonly OpenedFilter[], others: readonly OpenedFilter[]): Promise<void> {
    for (const filter of filters) {
      if (others.includes(filter)) continue;
      const related = others.find(({ spec }) => spec.replaces === filter.spec.id || spec.id === filter.spec.replaces);
      await filter.close(related).catch((error) => this.#place.log(`${filter.ready.use}: ${messageOf(error)}`));
    }
  }

  /** A filter by its place, or by what it is called. Throws if there is none. */
  find(which: string, base?: string): OpenedFilter {
    return findFilter(this.#label, this.#filters, which, base);
  }

  /** To be called now and then: reports what filters have failed and said since the last time. */
  report(faults: FaultLog): void {
    reportFilters(this.#label, this.#all(), OUTCOME, faults);
  }

  /** For `status`, in their order. */
  status() {
    return this.#filters.map(filterStatus);
  }
}
