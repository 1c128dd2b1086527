import type { Logger } from 'pino';
import { messageOf, SidecoreError } from '../errors.js';
import type { FilterKind } from '../filter/load.js';
import type { WrittenFilter } from '../filter/spec.js';
import { FILTERS_MAX } from '../limits.js';
import { type FilterMaker, readWritten, readyFilter } from './config-filters.js';
import { FilterWatches } from './filter-watches.js';
import type { AnyOpenedFilter, AnyReadyFilter, FilteredDevice } from './filtered-device.js';
import { mergeOptions } from './merge-options.js';

/** Of a filter that is asked for: what a configuration may say of it. */
export type GivenFilter = Partial<WrittenFilter>;

/** Where a new filter comes: at a place, or beside another; if nothing is said, last, nearest to the back end or the switch,
 * but before those that have to be the last. */
export interface FilterPosition {
  readonly at?: number | undefined;
  readonly before?: string | undefined;
  readonly after?: string | undefined;
}

/** How a change is made. */
export interface ChangeOptions {
  /** Folder from which paths start. */
  readonly base: string;
  /** How long what is in flight may take to end, ms. */
  readonly waitMsMax?: number | undefined;
}

/** The same where a folder is needed only for a filter that is named by a path. */
type NamedOptions = Omit<ChangeOptions, 'base'> & { readonly base?: string | undefined };

/** One filter, as an answer shows it. */
export interface ListedFilter {
  readonly at: number;
  readonly name: string;
  readonly use: string;
  readonly options: unknown;
  readonly on_fault: string;
  readonly watch: boolean;
  readonly in_service: boolean;
  /** Why it is not in service, or was not before. */
  readonly last_fault: string | null;
}

/** What is answered to each change. */
export interface ListedDevice {
  readonly device: string;
  readonly kind: FilterKind;
  readonly filters: readonly ListedFilter[];
  /** They are others than the configuration names, which stays as it is. */
  readonly changed: boolean;
}

/** Changes of one device's filters while its guest runs, one at a time, whatever kind of device it is. */
export interface FilterChanges {
  readonly label: string;
  list(): ListedDevice;
  add(given: GivenFilter, position: FilterPosition, options: ChangeOptions): Promise<ListedDevice>;
  remove(which: string, options: NamedOptions): Promise<ListedDevice>;
  replace(which: string, given: GivenFilter, options: ChangeOptions): Promise<ListedDevice>;
  set(which: string, given: GivenFilter, options: NamedOptions): Promise<ListedDevice>;
  ask(which: string, command: string, given: Readonly<Record<string, string>>, base?: string): Promise<unknown>;
  /** From now on files are watched. */
  start(): void;
  stop(): Promise<void>;
}

/** The changes of devices of one kind. */
export class DeviceFilterChanges<Ready extends AnyReadyFilter, Opened extends AnyOpenedFilter<Ready>>
  implements FilterChanges
{
  readonly #device: FilteredDevice<Opened, Ready>;
  readonly #maker: FilterMaker<Ready>;
  readonly #log: Logger;
  readonly #watches: FilterWatches<Opened>;
  /** Those whose files cannot be used as they are. */
  readonly #broken = new WeakSet<Opened>();
  #last: Promise<unknown> = Promise.resolve();
  #stopped = false;

  constructor(device: FilteredDevice<Opened, Ready>, maker: FilterMaker<Ready>, log: Logger) {
    this.#device = device;
    this.#maker = maker;
    this.#log = log;
    this.#watches = new FilterWatches(
      (filter) => this.#inTurn(() => this.#reload(filter)),
      (text) => log.warn(`${device.label}: ${text}`),
    );
  }

  get label(): string {
    return this.#device.label;
  }

  start(): void {
    this.#watches.follow(this.#device.filters);
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#watches.close();
    await this.#last;
  }

  list(): ListedDevice {
    this.#device.report();
    const filters = this.#device.filters.map(({ ready, spec, memory, lastFault }, at): ListedFilter => {
      const { options, on_fault, watch } = written(ready);
      return {
        at,
        name: spec.name,
        use: ready.use,
        options,
        on_fault,
        watch,
        in_service: !memory.out,
        last_fault: lastFault,
      };
    });
    return { device: this.label, kind: this.#maker.kind, filters, changed: this.#device.filtersChanged };
  }

  add(given: GivenFilter, position: FilterPosition, { base, waitMsMax }: ChangeOptions): Promise<ListedDevice> {
    return this.#inTurn(async () => {
      const ready = await this.#load(readWritten(this.#maker, given), base);
      await this.#change((now) => {
        if (now.length >= FILTERS_MAX)
          throw new SidecoreError('CONFIG_INVALID', `${this.label} has ${FILTERS_MAX} filters already`, 'Remove one.');
        return now.toSpliced(this.#placeOf(position, now, ready, base), 0, { ready } as never);
      }, waitMsMax);
      return this.#done(`has the filter ${ready.use} now`);
    });
  }

  remove(which: string, { base, waitMsMax }: NamedOptions): Promise<ListedDevice> {
    return this.#inTurn(async () => {
      const old = this.#device.findFilter(which, base);
      await this.#change((now) => now.filter((filter) => filter !== old), waitMsMax);
      return this.#done(`has the filter ${old.ready.use} no more`);
    });
  }

  replace(which: string, given: GivenFilter, { base, waitMsMax }: ChangeOptions): Promise<ListedDevice> {
    return this.#inTurn(async () => {
      const old = this.#device.findFilter(which, base);
      const before = written(old.ready);
      // Another filter has options of its own; what it may do to its device stays as it was, if nothing is said.
      const asked =
        given.use === undefined ? { options: before.options, ...given, use: before.use } : { options: {}, ...given };
      const from = given.use === undefined ? old.ready.base : base;
      const ready = await this.#load(readWritten(this.#maker, { ...before, ...asked }), from);
      await this.#replace(old, ready, waitMsMax);
      return this.#done(`has the filter ${ready.use} in the place of ${old.ready.use} now`);
    });
  }

  set(which: string, given: GivenFilter, { base, waitMsMax }: NamedOptions): Promise<ListedDevice> {
    return this.#inTurn(async () => {
      const old = this.#device.findFilter(which, base);
      const before = written(old.ready);
      const options = mergeOptions(before.options, given.options ?? {});
      const asked = readWritten(this.#maker, { ...before, ...given, use: before.use, options });
      this.#requirePlace(asked);
      const ready = readyFilter(this.#maker.moduleOf(old.ready), asked, old.ready.base);
      await this.#replace(old, ready, waitMsMax);
      return this.#done(`has other options for the filter ${ready.use} now`);
    });
  }

  /** Not in turn with changes: it may take as long as it likes. */
  async ask(which: string, command: string, given: Readonly<Record<string, string>>, base?: string): Promise<unknown> {
    const { commands, ready } = this.#device.findFilter(which, base);
    const call = Object.hasOwn(commands, command) ? commands[command] : undefined;
    if (call === undefined) {
      const known = Object.keys(commands).join(', ') || 'none';
      throw new SidecoreError(
        'CONFIG_INVALID',
        `the filter ${ready.use} has no command ${command}`,
        `It has: ${known}.`,
      );
    }
    try {
      const answer: unknown = await call(given);
      // Here it is known whose fault it is if that is no plain data.
      return JSON.parse(JSON.stringify(answer) ?? 'null');
    } catch (error) {
      if (error instanceof SidecoreError) throw error;
      throw new SidecoreError('FILTER_FAILED', `${command} of the filter ${ready.use}: ${messageOf(error)}`);
    }
  }

  /** After what was asked for before. */
  #inTurn<T>(change: () => Promise<T>): Promise<T> {
    const result = this.#last.then(() => {
      if (this.#stopped) throw new SidecoreError('DEVICE_BUSY', `${this.label}: the daemon is being stopped`);
      return change();
    });
    this.#last = result.catch(() => {});
    return result;
  }

  /** Loads a filter's module anew, and checks its options. Nothing has changed. */
  async #load(filter: WrittenFilter, base: string): Promise<Ready> {
    this.#requirePlace(filter);
    const loaded = await this.#maker.loadAside(filter.use, base);
    return readyFilter(loaded, filter, base);
  }

  #requirePlace({ quarantine }: WrittenFilter): void {
    if (!quarantine || this.#device.isQuarantined) return;
    throw new SidecoreError(
      'DEVICE_BUSY',
      `${this.label} has no sidecore of its own, and cannot get one while it runs`,
      'Write the filter with `quarantine: true` into the configuration, and start the daemon anew.',
    );
  }

  #replace(old: Opened, ready: Ready, waitMsMax: number | undefined): Promise<void> {
    return this.#change((now) => now.map((filter) => (filter === old ? ({ ready, old } as never) : filter)), waitMsMax);
  }

  async #change(
    plan: Parameters<FilteredDevice<Opened, Ready>['changeFilters']>[0],
    waitMsMax: number | undefined,
  ): Promise<void> {
    await this.#device.changeFilters(plan, waitMsMax);
    this.#watches.follow(this.#device.filters);
  }

  #done(what: string): ListedDevice {
    this.#log.info(`${this.label} ${what}`);
    return this.list();
  }

  #placeOf({ at, before, after }: FilterPosition, now: readonly Opened[], added: Ready, base: string): number {
    if (before !== undefined) return now.indexOf(this.#device.findFilter(before, base));
    if (after !== undefined) return now.indexOf(this.#device.findFilter(after, base)) + 1;
    if (at === undefined)
      return this.#maker.defaultPlace(
        now.map(({ ready }) => ready),
        added,
      );
    if (at <= now.length) return at;
    throw new SidecoreError(
      'CONFIG_INVALID',
      `${this.label} has ${now.length} filters`,
      `Name a place up to ${now.length}.`,
    );
  }

  /** One of its files was saved. What is wrong with them is logged, and all stays as it is. Returns whether it could be loaded. */
  async #reload(old: Opened): Promise<boolean> {
    if (!this.#device.filters.includes(old)) return true;
    const { ready } = old;
    try {
      const anew = await this.#load(written(ready), ready.base);
      if (anew.module.text === ready.module.text && !old.memory.out) {
        if (this.#broken.delete(old))
          this.#log.info(`${this.label}: filter ${ready.use} was saved, and is again what runs`);
        return true;
      }
      await this.#replace(old, anew, undefined);
      this.#log.info(`${this.label}: filter ${ready.use} was saved, and takes its own place`);
      return true;
    } catch (error) {
      this.#broken.add(old);
      const { code, message } =
        error instanceof SidecoreError ? error : { code: 'FILTER_INVALID', message: String(error) };
      const stays = old.memory.out ? 'it is out of service still' : 'it goes on as it was';
      this.#log.error({ code }, `${this.label}: filter ${ready.use} was saved, and ${stays}: ${message} [${code}]`);
      return false;
    }
  }
}

function written({ written, use }: AnyReadyFilter): WrittenFilter {
  if (written !== undefined) return written;
  throw new Error(`${use} was made of no configuration`);
}
