import { isDeepStrictEqual } from 'node:util';
import { messageOf, SidecoreError } from '../errors.js';
import { checkFrameFilter, frameSharedBytesOf } from './ask-definition.js';
import { callDefinition } from './definition-call.js';
import type { FilterGroups } from './filter-groups.js';
import type { FrameFilter, FrameFilterManager } from './frame-contract.js';
import { type KnownPorts, portFaults, portsOf } from './frame-ports.js';
import type { FrameFilterSpec } from './frame-spec.js';
import type { LoadedFilter } from './load.js';
import { FilterMemory } from './memory.js';
import { nextFilterId } from './opened-filter.js';
import type { FaultPolicy, WrittenFilter } from './spec.js';

/** A frame filter as its configuration has it, loaded. */
export interface ReadyFrameFilter extends LoadedFilter<FrameFilter> {
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

/** Which card a filter is on. */
export interface FrameFilterPlace {
  readonly vm: string;
  readonly device: string;
  readonly mac: { readonly high: number; readonly low: number };
  readonly groups: FilterGroups;
  readonly ports: KnownPorts;
  log(text: string): void;
}

/** One filter of a card, on the main thread. */
export class OpenedFrameFilter {
  readonly ready: ReadyFrameFilter;
  readonly memory: FilterMemory;
  readonly spec: FrameFilterSpec;
  /** What was reported of its last fault, as a person reads it; null if there was none. */
  lastFault: string | null = null;
  readonly #manager: FrameFilterManager;

  /**
   * Makes its side on this thread. Throws what is wrong.
   *
   * @param old - whose place it takes: what both have alike stays as it is
   */
  constructor(ready: ReadyFrameFilter, place: FrameFilterPlace, old?: OpenedFrameFilter) {
    this.ready = ready;
    const { definition, options, base, module, onFault, timeNsMax } = ready;
    const { name, counters = [], histograms = [], defers = false } = definition;
    const { vm, device, mac, groups, ports, log } = place;
    checkFrameFilter(ready, { vm, device, log });
    const copies = portsOf(ready);
    for (const { text } of portFaults(`${vm}/${device}`, copies, ports))
      throw new SidecoreError(
        'CONFIG_INVALID',
        `${vm}/${device}: ${ready.use}: ${text}`,
        'docs/frame-filters.md says which ports may get copies.',
      );
    const shape = { counters, histograms, queues: 1, timeNsMax };
    const same = old?.spec.name === name ? old : undefined;
    const keepsMemory = same !== undefined && !same.memory.out && same.#hasShape(shape);
    this.memory = keepsMemory ? same.memory : new FilterMemory(shape);
    const bytes = frameSharedBytesOf(ready);
    const shared = same?.spec.shared.byteLength === bytes ? same.spec.shared : new SharedArrayBuffer(bytes);
    const member = callDefinition(ready, 'group', () => definition.group?.(options));
    const group = groups.memoryOf(name, member, definition.groupBytes ?? 0);
    const setup = { vm, device, mac, options, shared, group, base, log };
    this.#manager = callDefinition(ready, 'manage', () => definition.manage?.(setup)) ?? {};
    this.spec = {
      id: nextFilterId(),
      replaces: old?.spec.id,
      name,
      counters,
      histograms,
      defers,
      module,
      options,
      prepared: callDefinition(ready, 'manage', () => structuredClone(this.#manager.prepared)),
      onFault,
      timeNsMax,
      memory: this.memory.buffer,
      shared,
      group,
      ports: Object.fromEntries(Object.entries(copies).map(([key, label]) => [key, ports.find(label)!])),
    };
  }

  get commands(): NonNullable<FrameFilterManager['commands']> {
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

  #hasShape({ counters, histograms }: { counters: readonly string[]; histograms: readonly string[] }): boolean {
    return isDeepStrictEqual([counters, histograms], [this.spec.counters, this.spec.histograms]);
  }
}
