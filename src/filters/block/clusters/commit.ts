import { close, fdatasync, openSync, readSync, write } from 'node:fs';
import { promisify } from 'node:util';
import type { FilterHelper, FilterHelperContext } from '../../../filter/index.js';
import { viewBytes } from '../../../host/memory-view.js';
import { MAP_PAGE_BYTES } from './cluster-map.js';
import { dirtyPages, liveAt, pagesOf, type Shape, sharedWords, stableAt, Word } from './layout.js';

const sync = promisify(fdatasync);
const writeAt = promisify(write);

/** What a filter with stores tells its helpers. Plain data. */
export interface StoreSpec {
  readonly shape: Shape;
  /** Where the file of bitmaps is mapped. */
  readonly mapAddress: number;
  readonly mapPath: string;
  readonly dataPath: string;
}

/** A helper's answers. */
export const COMMITTED = 1;
const NOT_COMMITTED = 0;

interface Page {
  readonly at: number;
  readonly bits: Buffer;
}

/**
 * Makes what stores have durable: first their data, then the bits that say so; never a bit whose data are not. Those who ask while it is at
 * it share the next round.
 */
class Committer {
  users = 0;
  readonly #spec: StoreSpec;
  readonly #shared: SharedArrayBuffer;
  readonly #words: Int32Array;
  readonly #data: number;
  readonly #map: number;
  #closed = false;
  #running: Promise<number> | undefined;
  #next: Promise<number> | undefined;

  constructor(spec: StoreSpec, shared: SharedArrayBuffer) {
    this.#spec = spec;
    this.#shared = shared;
    this.#words = sharedWords(shared);
    this.#data = openSync(spec.dataPath, 'r+');
    this.#map = openSync(spec.mapPath, 'r+');
    Atomics.store(this.#words, Word.ROUNDS_ENDED, Atomics.load(this.#words, Word.ROUNDS));
    // What was set before, and by whom it should have been made durable, is not known.
    this.#noteDifferences();
  }

  commit(): Promise<number> {
    if (this.#running === undefined) {
      this.#running = this.#round().finally(() => {
        this.#running = undefined;
      });
      return this.#running;
    }
    this.#next ??= this.#running.then(() => {
      this.#next = undefined;
      return this.commit();
    });
    return this.#next;
  }

  /** What waits for another round is not done: who had asked is gone, and another may have taken this one's place. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.#running?.catch(() => {});
    close(this.#data);
    close(this.#map);
  }

  async #round(): Promise<number> {
    const words = this.#words;
    if (this.#closed || Atomics.load(words, Word.BROKEN) === 1) return NOT_COMMITTED;
    Atomics.add(words, Word.ROUNDS, 1);
    const changes = Atomics.load(words, Word.CHANGES);
    try {
      const pages = this.#takeDirty();
      await sync(this.#data);
      for (const { at, bits } of pages) await writeAt(this.#map, bits, 0, MAP_PAGE_BYTES, at);
      await sync(this.#map);
    } catch (error) {
      // The kernel may have forgotten what it could not write: nothing is known to be durable any more.
      Atomics.store(words, Word.BROKEN, 1);
      throw error;
    } finally {
      Atomics.add(words, Word.ROUNDS_ENDED, 1);
    }
    Atomics.store(words, Word.COMMITTED, changes);
    return COMMITTED;
  }

  /** The bits as they are now, of pages that have changed; with those that are durable already. */
  #takeDirty(): Page[] {
    const { shape } = this.#spec;
    const pages: Page[] = [];
    for (let slot = 0; slot < shape.slots; slot++) {
      const dirty = dirtyPages(shape, this.#shared, slot);
      for (let page = dirty.indexOf(1); page >= 0; page = dirty.indexOf(1, page + 1)) {
        if (Atomics.exchange(dirty, page, 0) === 0) continue;
        const bits = Buffer.from(this.#live(slot, page));
        pages.push({ at: stableAt(shape, slot) + page * MAP_PAGE_BYTES, bits });
      }
    }
    return pages;
  }

  #noteDifferences(): void {
    const { shape } = this.#spec;
    // By system calls: where the file is memory (tmpfs), a look through the mapping takes room, and ends the process if there is none.
    const [live, stable] = [Buffer.alloc(MAP_PAGE_BYTES), Buffer.alloc(MAP_PAGE_BYTES)];
    for (let slot = 0; slot < shape.slots; slot++) {
      const dirty = dirtyPages(shape, this.#shared, slot);
      for (let page = 0; page < pagesOf(shape); page++) {
        readSync(this.#map, live, 0, MAP_PAGE_BYTES, liveAt(shape, slot) + page * MAP_PAGE_BYTES);
        readSync(this.#map, stable, 0, MAP_PAGE_BYTES, stableAt(shape, slot) + page * MAP_PAGE_BYTES);
        if (live.equals(stable)) continue;
        Atomics.store(dirty, page, 1);
        Atomics.add(this.#words, Word.CHANGES, 1);
      }
    }
  }

  #live(slot: number, page: number): Buffer {
    const { shape, mapAddress } = this.#spec;
    return viewBytes(mapAddress + liveAt(shape, slot) + page * MAP_PAGE_BYTES, MAP_PAGE_BYTES);
  }
}

/** Of all queues that helpers on this thread are for, by the file of bitmaps. */
const committers = new Map<string, Committer>();

/** The helper of a filter with stores: whatever it is asked, it makes durable what they have. */
export function committingHelper(context: Pick<FilterHelperContext, 'prepared' | 'shared'>): FilterHelper {
  const { shared } = context;
  const { store } = context.prepared as { readonly store: StoreSpec };
  let committer = committers.get(store.mapPath);
  if (committer === undefined) committers.set(store.mapPath, (committer = new Committer(store, shared)));
  const own = committer;
  own.users++;
  return {
    handle: () => own.commit(),
    close() {
      if (--own.users > 0) return;
      committers.delete(store.mapPath);
      void own.close();
    },
  };
}
