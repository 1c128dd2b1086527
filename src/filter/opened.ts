import { isDeepStrictEqual } from 'node:util';
import { messageOf, SidecoreError } from '../errors.js';
import type { BlockFilter, BlockFilterManager, FilterCommand } from './contract.js';
import { callDefinition } from './definition-call.js';
import type { FilterGroups } from './filter-groups.js';
import type { LoadedFilter } from './load.js';
import { FilterMemory } from './memory.js';
import type { AnyFilterSpec, FaultPolicy, WrittenFilter } from './spec.js';

/** What definitions of all kinds have. */
type AnyDefinition = Pick<BlockFilter, 'name' | 'counters' | 'histograms' | 'defers' | 'group' | 'groupBytes'>;

/** A filter as its configuration has it, loaded. */
export interface Ready<Definition> extends LoadedFilter<Definition> {
  /** As it is called in the configuration. */
  readonly use: string;
  /** As its own schema gives them. */
  readonly options: unknown;
  readonly onFault: FaultPolicy;
  readonly timeNsMax: number;
  /** Folder of the configuration, or where it was asked for. */
  readonly base: string;
  /** Missing only in tests. */
  readonly written?: WrittenFilter;
}

let lastId = 0;

/** One filter of a device of any kind, on the main thread: its memory, and its side on this thread. */
export abstract class Opened<Definition extends AnyDefinition, OwnReady extends Ready<Definition>> {
  readonly ready: OwnReady;
  readonly memory: FilterMemory;
  abstract readonly spec: AnyFilterSpec;
  /** What was reported of its last fault, as a person reads it; null if there was none. */
  lastFault: string | null = null;
  protected readonly shared: SharedArrayBuffer;
  protected readonly group: SharedArrayBuffer;
  #manager: BlockFilterManager = {};

  /**
   * Throws what is wrong.
   *
   * @param old - whose place it takes: what both have alike stays as it is
   */
  constructor(
    ready: OwnReady,
    queues: number,
    groups: FilterGroups,
    sharedBytes: number,
    old: Opened<Definition, OwnReady> | undefined,
  ) {
    this.ready = ready;
    const { definition, options, timeNsMax } = ready;
    const { name, counters = [], histograms = [], groupBytes = 0 } = definition;
    const same = old?.spec.name === name ? old : undefined;
    const isAlike =
      same !== undefined &&
      !same.memory.out &&
      isDeepStrictEqual([counters, histograms], [same.spec.counters, same.spec.histograms]);
    this.memory = isAlike ? same.memory : new FilterMemory({ counters, histograms, queues, timeNsMax });
    this.shared = same?.shared.byteLength === sharedBytes ? same.shared : new SharedArrayBuffer(sharedBytes);
    const member = callDefinition(ready, 'group', () => definition.group?.(options));
    this.group = groups.memoryOf(name, member, groupBytes);
  }

  /** Makes its side on this thread. Returns what sidecores are told. */
  protected manage(make: () => BlockFilterManager | undefined, replaces: number | undefined): AnyFilterSpec {
    const { definition, module, options, onFault, timeNsMax } = this.ready;
    const { name, counters = [], histograms = [], defers = false } = definition;
    this.#manager = callDefinition(this.ready, 'manage', make) ?? {};
    const prepared = this.#plain(this.#manager.prepared);
    const told = { name, counters, histograms, defers, module, options, prepared, onFault, timeNsMax };
    const { memory, shared, group } = this;
    return { id: ++lastId, replaces, ...told, memory: memory.buffer, shared, group };
  }

  #plain(prepared: unknown): unknown {
    try {
      return structuredClone(prepared);
    } catch (error) {
      const text = `manage() of the filter ${this.ready.use} has prepared what is no plain data: ${messageOf(error)}`;
      throw new SidecoreError('FILTER_INVALID', text);
    }
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

  /** No sidecore uses it any more. */
  async close(): Promise<void> {
    await this.#manager.close?.();
  }
}
