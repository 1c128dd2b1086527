import { SidecoreError } from '../errors.js';
import { checkFrameFilter, frameSharedBytesOf } from './ask-definition.js';
import type { FilterGroups } from './filter-groups.js';
import type { FrameFilter } from './frame-contract.js';
import { type KnownPorts, portFaults, portsOf } from './frame-ports.js';
import type { FrameFilterSpec } from './frame-spec.js';
import { Opened, type Ready } from './opened.js';

/** A frame filter as its configuration has it, loaded. */
export type ReadyFrameFilter = Ready<FrameFilter>;

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
export class OpenedFrameFilter extends Opened<FrameFilter, ReadyFrameFilter> {
  readonly spec: FrameFilterSpec;

  /**
   * Makes its side on this thread. Throws what is wrong.
   *
   * @param old - whose place it takes: what both have alike stays as it is
   */
  constructor(ready: ReadyFrameFilter, place: FrameFilterPlace, old?: OpenedFrameFilter) {
    const { definition, options, base } = ready;
    const { vm, device, mac, groups, ports, log } = place;
    checkFrameFilter(ready, { vm, device, log });
    const copies = portsOf(ready);
    for (const { text } of portFaults(`${vm}/${device}`, copies, ports))
      throw new SidecoreError(
        'CONFIG_INVALID',
        `${vm}/${device}: ${ready.use}: ${text}`,
        'docs/frame-filters.md says which ports may get copies.',
      );
    super(ready, 1, groups, frameSharedBytesOf(ready), old);
    const { shared, group } = this;
    const setup = { vm, device, mac, options, shared, group, base, log };
    this.spec = {
      ...this.manage(() => definition.manage?.(setup), old?.spec.id),
      ports: Object.fromEntries(Object.entries(copies).map(([key, label]) => [key, ports.find(label)!])),
    };
  }
}
