import { isDeepStrictEqual } from 'node:util';
import type { BackendAbilities, OpenDisk } from '../block/backends/backend.js';
import { type BackendSpec, openDisk } from '../block/backends/index.js';
import { checkBlockFilter, disksOf, offered, sharedBytesOf } from './ask-definition.js';
import type { BlockFilter, ManagedDisk } from './contract.js';
import type { FilterGroups } from './filter-groups.js';
import { FilterHolds } from './filter-holds.js';
import { Opened, type Ready } from './opened.js';
import type { FilterSpec } from './spec.js';

/** A block filter as its configuration has it, loaded. */
export interface ReadyFilter extends Ready<BlockFilter> {
  readonly deferNsMax: number;
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

/** One filter of a disk, on the main thread. */
export class OpenedFilter extends Opened<BlockFilter, ReadyFilter> {
  readonly spec: FilterSpec;
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
    const { definition, options, base, deferNsMax } = ready;
    const { vm, device, queues, groups, connected, log } = place;
    const { image, spec } = backend ?? {};
    const found = checkBlockFilter(ready, { vm, device, queues, below, image, log });
    super(ready, queues, groups, sharedBytesOf(ready, below, queues), old);
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
    try {
      this.#openDisks(below, old);
      const opened = [...this.#disks].map(([key, disk]) => [key, disk.opened] as const);
      const disks = Object.fromEntries<ManagedDisk>(opened);
      const { shared, group } = this;
      const setup = { vm, device, queues, options, base, found, below, image, backend: spec, disks, shared, group };
      this.spec = {
        ...this.manage(() => definition.manage?.({ ...setup, hold, connected, log }), old?.spec.id),
        hasHelper: definition.helper !== undefined,
        deferNsMax,
        disks: Object.fromEntries(
          opened.map(([key, disk]) => [key, { backend: disk.spec, sizeBytes: disk.abilities.sizeBytes }]),
        ),
        belowBytes: below.sizeBytes,
      };
      this.offer(below);
    } catch (error) {
      super.close().catch(() => {});
      // What it has asked for in `manage` does not begin any more.
      void this.#holds.close();
      this.#closeDisks(old);
      throw error;
    }
  }

  /** What the device offers with it, over what is below. */
  offer(below: BackendAbilities): BackendAbilities {
    return offered(this.ready, below, this.spec.prepared);
  }

  /**
   * No sidecore uses it any more.
   *
   * @param next - what has taken its place, with its disks perhaps
   */
  override async close(next?: OpenedFilter): Promise<void> {
    try {
      await super.close();
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
