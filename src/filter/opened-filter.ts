import { isDeepStrictEqual } from 'node:util';
import type { BackendAbilities, OpenDisk } from '../block/backends/backend.js';
import { type BackendSpec, openDisk } from '../block/backends/index.js';
import { messageOf, SidecoreError } from '../errors.js';
import { checkBlockFilter, disksOf, offered, sharedBytesOf } from './ask-definition.js';
import type { BlockFilterManager, FilterCommand, ManagedDisk } from './contract.js';
import { callDefinition } from './definition-call.js';
import type { FilterGroups } from './filter-groups.js';
import { FilterHolds } from './filter-holds.js';
import type { LoadedFilter } from './load.js';
import { FilterMemory } from './memory.js';
import type { FaultPolicy, FilterSpec, WrittenFilter } from './spec.js';

/** A filter as its configuration has it, loaded. */
export interface ReadyFilter extends LoadedFilter {
  /** As it is called in the configuration. */
  readonly use: string;
  /** As its own schema gives them. */
  readonly options: unknown;
  readonly onFault: FaultPolicy;
  readonly deferNsMax: number;
  readonly timeNsMax: number;
  /** Folder of the configuration, or where it was asked for. */
  readonly base: string;
  /** Missing only in tests. */
  readonly written?: WrittenFilter;
}

/** Where a filter is. */
export interface FilterPlace {
  readonly vm: string;
  readonly device: string;
  readonly queues: number;
  readonly groups: FilterGroups;
  /** @param holder - who holds it, for those who wait */
  hold<T>(during: () => Promise<T>, holder: string): Promise<T>;
  connected(): boolean;
  log(text: string): void;
}

/** The same for a filter that is among others there. */
export interface ChainPlace extends FilterPlace {
  /** Has all look which of them are in service. */
  changed(): void;
}

interface OwnDisk {
  readonly options: unknown;
  readonly opened: OpenDisk<BackendSpec>;
}

let lastId = 0;

/** A number that no filter of the daemon has had. */
export const nextFilterId = (): number => ++lastId;

/** One filter of a device, on the main thread. */
export class OpenedFilter {
  readonly ready: ReadyFilter;
  readonly memory: FilterMemory;
  readonly spec: FilterSpec;
  /** What was reported of its last fault, as a person reads it; null if there was none. */
  lastFault: string | null = null;
  readonly #manager: BlockFilterManager;
  readonly #holds: FilterHolds;
  readonly #disks = new Map<string, OwnDisk>();

  /**
   * Opens its disks, and makes its side on this thread. Throws what is wrong, and leaves nothing open.
   *
   * @param below - what is below it
   * @param backend - if that is next
   * @param old - whose place it takes: what both have alike stays as it is
   */
  constructor(
    ready: ReadyFilter,
    place: ChainPlace,
    below: BackendAbilities,
    backend: Pick<OpenDisk<BackendSpec>, 'image' | 'spec'> | undefined,
    old?: OpenedFilter,
  ) {
    this.ready = ready;
    const { definition, options } = ready;
    const { name, counters = [], histograms = [], defers = false } = definition;
    const { vm, device, queues, groups, connected, log } = place;
    const { image, spec } = backend ?? {};
    const found = checkBlockFilter(ready, { vm, device, queues, below, image, log });
    const isSame = old?.spec.name === name;
    const shape = { counters, histograms, queues, timeNsMax: ready.timeNsMax };
    this.memory = isSame && !old.memory.out && old.hasShape(shape) ? old.memory : new FilterMemory(shape);
    const sharedBytes = sharedBytesOf(ready, below, queues);
    const sharedOld = isSame ? old.spec.shared : undefined;
    const shared = sharedOld?.byteLength === sharedBytes ? sharedOld : new SharedArrayBuffer(sharedBytes);
    const group = groups.memoryOf(
      name,
      callDefinition(ready, 'group', () => definition.group?.(options)),
      definition.groupBytes ?? 0,
    );
    this.#holds = new FilterHolds({
      label: `${vm}/${device}`,
      use: ready.use,
      hold: place.hold,
      fail: (text) => {
        this.memory.condemn(text);
        place.changed();
      },
    });
    const hold: FilterHolds['hold'] = (during, secondsMax) => this.#holds.hold(during, secondsMax);
    let manager: BlockFilterManager | undefined;
    try {
      this.#openDisks(below, old);
      const disks = Object.fromEntries([...this.#disks].map(([key, { opened }]) => [key, opened as ManagedDisk]));
      const { base } = ready;
      const setup = { vm, device, queues, options, base, found, below, image, backend: spec, disks, shared, group };
      manager = callDefinition(ready, 'manage', () => definition.manage?.({ ...setup, hold, connected, log })) ?? {};
      this.#manager = manager;
      const { prepared } = manager;
      this.spec = {
        id: nextFilterId(),
        replaces: old?.spec.id,
        name,
        counters,
        histograms,
        defers,
        hasHelper: definition.helper !== undefined,
        module: ready.module,
        options,
        prepared: plain(ready, prepared),
        onFault: ready.onFault,
        deferNsMax: ready.deferNsMax,
        timeNsMax: ready.timeNsMax,
        memory: this.memory.buffer,
        shared,
        group,
        disks: Object.fromEntries(
          [...this.#disks].map(([key, { opened }]) => [
            key,
            { backend: opened.spec, sizeBytes: opened.abilities.sizeBytes },
          ]),
        ),
        belowBytes: below.sizeBytes,
      };
      this.offer(below);
    } catch (error) {
      Promise.resolve(manager?.close?.()).catch(() => {});
      this.#closeDisks(old);
      throw error;
    }
  }

  hasShape({ counters, histograms }: { counters: readonly string[]; histograms: readonly string[] }): boolean {
    return isDeepStrictEqual([counters, histograms], [this.spec.counters, this.spec.histograms]);
  }

  /** What the device offers with it, over what is below. */
  offer(below: BackendAbilities): BackendAbilities {
    return offered(this.ready, below, this.#manager.prepared);
  }

  get commands(): Readonly<Record<string, FilterCommand>> {
    return this.#manager.commands ?? {};
  }

  /** What it says of itself; null if it says nothing. */
  status(): unknown {
    try {
      return structuredClone(this.#manager.status?.() ?? null);
    } catch (error) {
      return { error: messageOf(error) };
    }
  }

  /**
   * No sidecore uses it any more.
   *
   * @param next - what has taken its place, with its disks perhaps
   */
  async close(next?: OpenedFilter): Promise<void> {
    try {
      await this.#manager.close?.();
    } finally {
      await this.#holds.close();
      this.#closeDisks(next);
    }
  }

  #openDisks(below: BackendAbilities, old: OpenedFilter | undefined): void {
    for (const [key, disk] of Object.entries(disksOf(this.ready, below))) {
      const same = old === undefined ? undefined : old.#disks.get(key);
      const opened = same && isDeepStrictEqual(same.options, disk) ? same.opened : openDisk(disk);
      this.#disks.set(key, { options: disk, opened });
    }
  }

  /** Those that another has not. */
  #closeDisks(other: OpenedFilter | undefined): void {
    const others = other === undefined ? [] : [...other.#disks.values()];
    const kept = new Set(others.map(({ opened }) => opened));
    for (const { opened } of this.#disks.values()) if (!kept.has(opened)) opened.close();
  }
}

function plain({ use }: ReadyFilter, prepared: unknown): unknown {
  try {
    return structuredClone(prepared);
  } catch (error) {
    const text = `manage() of the filter ${use} has prepared what is no plain data: ${messageOf(error)}`;
    throw new SidecoreError('FILTER_INVALID', text);
  }
}
