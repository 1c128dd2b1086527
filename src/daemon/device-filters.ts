import { messageOf } from '../errors.js';
import { ChainControl } from '../filter/memory.js';
import type { FaultPolicy } from '../filter/spec.js';
import type { FaultLog } from './fault-log.js';
import { filterStatus, type ReportedFilter, reportFilters } from './filter-report.js';
import { type AnyFilterPlan, type AnyOpenedFilter, type AnyReadyFilter, findFilter } from './filtered-device.js';

/** A filter of a device of any kind, as far as it is opened and closed with others. */
type ServedFilter<Opened, Ready> = AnyOpenedFilter<Ready> & ReportedFilter & { close(next?: Opened): Promise<void> };

/** The filters of one device, as the daemon sees them: nearest to the guest first. A kind of device says how they are opened. */
export abstract class DeviceFilters<Opened extends ServedFilter<Opened, Ready>, Ready extends AnyReadyFilter> {
  protected readonly label: string;
  protected readonly control = new ChainControl();
  readonly #log: (text: string) => void;
  readonly #outcome: Readonly<Record<FaultPolicy, string>>;
  #opened: readonly Opened[] = [];
  /** One change at a time. */
  #changed: Promise<unknown> = Promise.resolve();

  /** @param outcome - what becomes of what a failed filter would have got */
  constructor(
    place: { readonly vm: string; readonly device: string; log(text: string): void },
    outcome: Readonly<Record<FaultPolicy, string>>,
  ) {
    this.label = `${place.vm}/${place.device}`;
    this.#log = (text) => place.log(text);
    this.#outcome = outcome;
  }

  get opened(): readonly Opened[] {
    return this.#opened;
  }

  /** Those too that belong to what the device is made of, which nobody sees or changes. */
  protected all(): readonly Opened[] {
    return this.#opened;
  }

  /** Puts those that stay and those that are new into `opened`, in their order. Throws what is wrong with one of them. */
  protected abstract openInto(opened: Opened[], filters: readonly AnyFilterPlan<Opened, Ready>[]): void;

  /** To be called at the end of a constructor. Throws what is wrong with one of them, and leaves nothing open. */
  protected openFirst(filters: readonly Ready[]): void {
    this.#opened = this.#open(filters.map((ready) => ({ ready })));
  }

  /**
   * Has other filters. What is new is opened first, so that nothing has changed if that fails.
   *
   * @param plan - makes what is to be of what is: those that stay, and those that are new; these with whose place they take
   * @param use - has the sidecores use `spec`, which is new
   */
  change(
    plan: (now: readonly Opened[]) => readonly AnyFilterPlan<Opened, Ready>[],
    use: () => Promise<void>,
  ): Promise<void> {
    const change = this.#changed.then(() => this.#change(plan(this.#opened), use));
    this.#changed = change.catch(() => {});
    return change;
  }

  async #change(filters: readonly AnyFilterPlan<Opened, Ready>[], use: () => Promise<void>): Promise<void> {
    const before = this.#opened;
    const opened = this.#open(filters);
    this.#opened = opened;
    try {
      await use();
    } catch (error) {
      this.#opened = before;
      await this.#close(opened, before);
      throw error;
    }
    await this.#close(before, opened);
  }

  /** No sidecore uses them any more. */
  async close(): Promise<void> {
    await this.#close(this.all(), []);
  }

  #open(filters: readonly AnyFilterPlan<Opened, Ready>[]): Opened[] {
    const opened: Opened[] = [];
    try {
      this.openInto(opened, filters);
      return opened;
    } catch (error) {
      void this.#close(opened, this.#opened);
      throw error;
    }
  }

  /** Closes those that others are not among. */
  async #close(filters: readonly Opened[], others: readonly Opened[]): Promise<void> {
    for (const filter of filters) {
      if (others.includes(filter)) continue;
      const related = others.find(({ spec }) => spec.replaces === filter.spec.id || spec.id === filter.spec.replaces);
      await filter.close(related).catch((error) => this.#log(`${filter.ready.use}: ${messageOf(error)}`));
    }
  }

  /** A filter by its place, or by what it is called. Throws if there is none. */
  find(which: string, base?: string): Opened {
    return findFilter(this.label, this.#opened, which, base);
  }

  /** To be called now and then: reports what filters have failed and said since the last time. */
  report(faults: FaultLog): void {
    reportFilters(this.label, this.all(), this.#outcome, faults);
  }

  /** For `status`, in their order. */
  status() {
    return this.#opened.map(filterStatus);
  }
}
