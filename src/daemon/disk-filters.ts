import type { BackendAbilities, OpenDisk } from '../block/backends/backend.js';
import type { BackendSpec } from '../block/backends/index.js';
import { SidecoreError } from '../errors.js';
import { type ChainPlace, type FilterPlace, OpenedFilter, type ReadyFilter } from '../filter/opened-filter.js';
import { isNextToBackend, placeFaults } from '../filter/placing.js';
import type { ChainSpec } from '../filter/spec.js';
import { DeviceFilters } from './device-filters.js';
import type { AnyFilterPlan } from './filtered-device.js';

/** What there is below the filters of a disk. */
export type FilteredDisk = Pick<OpenDisk<BackendSpec>, 'abilities' | 'image' | 'spec'>;

/** A filter that stays, or a new one, and whose place it takes. */
export type FilterPlan = AnyFilterPlan<OpenedFilter, ReadyFilter>;

/** The filters of one disk. They change while nothing is in flight. */
export class DiskFilters extends DeviceFilters<OpenedFilter, ReadyFilter> {
  readonly #place: ChainPlace;
  readonly #disk: Pick<FilteredDisk, 'image' | 'spec'>;
  /** What there is without filters. */
  #below: BackendAbilities;
  /** One that belongs to the back end: it is below all others, and stays. */
  readonly #own: OpenedFilter | undefined;

  /**
   * Throws what is wrong with one of them, and leaves nothing open.
   *
   * @param own - of the back end
   */
  constructor(place: FilterPlace, disk: FilteredDisk, filters: readonly ReadyFilter[], own?: ReadyFilter) {
    super(place, { open: 'requests pass it by', closed: 'its disk answers with errors' });
    this.#place = { ...place, changed: () => this.control.change() };
    this.#disk = disk;
    this.#own = own && new OpenedFilter(own, this.#place, disk.abilities, disk);
    try {
      this.#below = this.#own?.offer(disk.abilities) ?? disk.abilities;
      this.openFirst(filters);
    } catch (error) {
      void this.#own?.close();
      throw error;
    }
  }

  protected override all(): readonly OpenedFilter[] {
    return this.#own === undefined ? this.opened : [...this.opened, this.#own];
  }

  /** For the sidecores; undefined if there are none. */
  get spec(): ChainSpec | undefined {
    const { vm, device, queues } = this.#place;
    const filters = this.all().map(({ spec }) => spec);
    return filters.length === 0 ? undefined : { vm, device, queues, control: this.control.buffer, filters };
  }

  /** What the disk offers its guest. */
  get abilities(): BackendAbilities {
    return this.opened.reduceRight((below, filter) => filter.offer(below), this.#below);
  }

  /** The image has another size. */
  resized(sizeBytes: number): void {
    this.#below = { ...this.#below, sizeBytes };
  }

  protected override openInto(opened: OpenedFilter[], filters: readonly FilterPlan[]): void {
    const ready = filters.map((filter) => filter.ready);
    for (const { text, remedy } of placeFaults(ready))
      throw new SidecoreError('CONFIG_INVALID', `${this.label}: ${text}`, remedy);
    let below = this.#below;
    for (let index = filters.length - 1; index >= 0; index--) {
      const plan = filters[index]!;
      const backend = isNextToBackend(ready, index) ? this.#disk : undefined;
      const filter =
        plan instanceof OpenedFilter ? plan : new OpenedFilter(plan.ready, this.#place, below, backend, plan.old);
      opened.unshift(filter);
      if (filter.spec.defers && filter.spec.belowBytes !== below.sizeBytes) throw this.#otherSize(filter);
      below = filter.offer(below);
    }
  }

  #otherSize({ ready, spec }: OpenedFilter): SidecoreError {
    const text = `${this.label}: what is below the filter ${ready.use} would not have ${spec.belowBytes} bytes any more`;
    return new SidecoreError(
      'DEVICE_BUSY',
      text,
      'Write the filters into the configuration, and start the daemon anew.',
    );
  }
}
