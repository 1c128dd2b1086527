import type { AnyOpenedFilter } from './filtered-device.js';
import { SourceWatch } from './source-watch.js';

/** One filter whose files are watched. */
interface Watched<Opened> {
  filter: Opened;
  readonly watch: SourceWatch;
}

/** The files of those filters of a device that are loaded anew when they are saved. */
export class FilterWatches<Opened extends AnyOpenedFilter> {
  readonly #reload: (filter: Opened) => Promise<boolean>;
  readonly #onFault: (text: string) => void;
  #all: Watched<Opened>[] = [];

  /**
   * @param reload - loads a filter anew; false if its files cannot be used as they are
   * @param onFault - something cannot be watched, and why
   */
  constructor(reload: (filter: Opened) => Promise<boolean>, onFault: (text: string) => void) {
    this.#reload = reload;
    this.#onFault = onFault;
  }

  /** Watches the files of those among a device's filters that ask for it, and no others. */
  follow(filters: readonly Opened[]): void {
    const before = this.#all;
    this.#all = filters
      .filter(({ ready }) => ready.written?.watch && ready.sources !== undefined)
      .map((filter) => {
        const { id, replaces } = filter.spec;
        const known = before.find(({ filter: { spec } }) => spec.id === id || spec.id === replaces);
        if (known?.filter === filter) return known;
        const watched = known ?? this.#begin(filter);
        watched.filter = filter;
        const { files, readAt } = filter.ready.sources!;
        watched.watch.watch(files, readAt);
        return watched;
      });
    for (const watched of before) if (!this.#all.includes(watched)) watched.watch.close();
  }

  close(): void {
    this.follow([]);
  }

  #begin(filter: Opened): Watched<Opened> {
    const saved = async () => {
      const isGood = await this.#reload(watched.filter).catch(() => true);
      watched.watch.watchOthers(!isGood);
    };
    const watched: Watched<Opened> = { filter, watch: new SourceWatch(() => void saved(), this.#onFault) };
    return watched;
  }
}
