import { type FSWatcher, statSync, watch } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { FILTER_FOLDERS_MAX, FILTER_SAVE_MS, FILTER_SAVE_MS_MAX } from '../limits.js';

/** What modules can import, by its name. */
const SOURCE = /\.(?:[cm]?[jt]s|[jt]sx|json|css|txt)$/;

/**
 * Says when files are saved, whether they are written in place or replaced by a rename, as many editors do: so their folders are
 * watched. Packages' files (`node_modules`) are not.
 */
export class SourceWatch {
  readonly #onSaved: () => void;
  readonly #onFault: (text: string) => void;
  /** By folder: its names that count; undefined for all of them. */
  #names = new Map<string, Set<string>>();
  readonly #watchers = new Map<string, FSWatcher>();
  #others = false;
  #timer: NodeJS.Timeout | undefined;
  /** When the first of some saves was, ms of `performance.now()`; undefined if none waits to be told. */
  #firstAt: number | undefined;

  /**
   * @param onSaved - called `FILTER_SAVE_MS` after the last of some saves, at most `FILTER_SAVE_MS_MAX` after the first
   * @param onFault - something cannot be watched, and why
   */
  constructor(onSaved: () => void, onFault: (text: string) => void) {
    this.#onSaved = onSaved;
    this.#onFault = onFault;
  }

  /**
   * Watches these from now on, and not what it watched before.
   *
   * @param files - absolute
   * @param readAt - when they were read, ms since 1970: one that was saved since then counts as saved now
   */
  watch(files: readonly string[], readAt: number): void {
    const own = files.filter((file) => !file.includes('/node_modules/'));
    const names = new Map<string, Set<string>>();
    for (const file of own) {
      const folder = dirname(file);
      names.set(folder, (names.get(folder) ?? new Set()).add(basename(file)));
    }
    this.#others = false;
    this.#names = names;
    for (const [folder, watcher] of this.#watchers) {
      if (names.has(folder)) continue;
      watcher.close();
      this.#watchers.delete(folder);
    }
    for (const folder of names.keys()) this.#open(folder);
    if (own.some((file) => savedAt(file) > readAt)) this.#saved();
  }

  /**
   * Whether other sources in those folders count, too: while it is not known what is amiss, any that is saved may mend it. Never all that
   * lies there, which may be an image that is written all the time.
   */
  watchOthers(others: boolean): void {
    this.#others = others;
  }

  close(): void {
    clearTimeout(this.#timer);
    for (const watcher of this.#watchers.values()) watcher.close();
    this.#watchers.clear();
  }

  #open(folder: string): void {
    if (this.#watchers.has(folder)) return;
    const fault = (why: string) => this.#onFault(`${folder} cannot be watched: ${why}`);
    if (this.#watchers.size >= FILTER_FOLDERS_MAX) return fault(`${FILTER_FOLDERS_MAX} folders are the limit`);
    try {
      const watcher = watch(folder, { persistent: false }, (_event, name) => this.#look(folder, name));
      watcher.on('error', (error) => fault(error.message));
      this.#watchers.set(folder, watcher);
    } catch (error) {
      fault((error as Error).message);
    }
  }

  #look(folder: string, name: string | null): void {
    if (name === null || this.#names.get(folder)?.has(name) || (this.#others && mayBeImported(folder, name)))
      this.#saved();
  }

  #saved(): void {
    const now = performance.now();
    this.#firstAt ??= now;
    clearTimeout(this.#timer);
    const waitMs = Math.min(FILTER_SAVE_MS, this.#firstAt + FILTER_SAVE_MS_MAX - now);
    this.#timer = setTimeout(() => this.#tell(), Math.max(0, waitMs)).unref();
  }

  #tell(): void {
    this.#firstAt = undefined;
    this.#onSaved();
  }
}

/** A source, or a folder of some. */
function mayBeImported(folder: string, name: string): boolean {
  if (SOURCE.test(name)) return true;
  return !name.includes('.') && statSync(join(folder, name), { throwIfNoEntry: false })?.isDirectory() === true;
}

/** When a file was written last, or put where it is, ms since 1970; zero if it is not there. */
function savedAt(file: string): number {
  const stats = statSync(file, { throwIfNoEntry: false });
  return stats === undefined ? 0 : Math.max(stats.mtimeMs, stats.ctimeMs);
}
