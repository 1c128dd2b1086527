import { ChainControl, FilterMemory } from '../filter/memory.js';
import type { FilteredDeviceSpec } from '../filter/spec.js';
import type { DeviceSpec, QueueSpec } from '../virtio/queue-spec.js';

/** A queue of a core, and with it its device's filters. */
interface Served {
  readonly spec: QueueSpec;
}

/** A filter that is to blame. */
export interface Culprit {
  /** Which, and what it has done. */
  readonly text: string;
  readonly device: DeviceSpec;
}

/** Which filter, if any, is to blame for the end of a sidecore's thread. */
export class FilterBlame {
  #ended: { readonly filter: number; readonly text: string } | undefined;

  /** The thread is ended, and not for a filter. */
  excuse(): void {
    this.#ended = { filter: 0, text: '' };
  }

  /** The thread is ended because a filter, as `CoreState.filter` names it, has kept it for so long. */
  accuse(filter: number, ms: number): void {
    const when = filter < 0 ? ' while it was made' : '';
    this.#ended = { filter, text: `has kept its sidecore for ${Math.floor(ms)} ms${when}` };
  }

  /**
   * Takes the filter to blame out of service, before another thread serves its device: the one that the thread was ended for, or, if
   * it has ended by itself, the one that was at work.
   *
   * @param filter - that was at work, as `CoreState.filter` says it
   * @param reason - why the thread has ended
   * @returns undefined if it was none
   */
  settle(filter: number, served: Iterable<Served>, reason: string): Culprit | undefined {
    const text = `was at work when its sidecore died: ${reason.split('\n', 1)[0]}`;
    const fault = this.#ended ?? { filter, text };
    this.#ended = undefined;
    return condemn(Math.abs(fault.filter), served, fault.text);
  }
}

/** Undefined if no device has the filter. */
function condemn(id: number, served: Iterable<Served>, text: string): Culprit | undefined {
  for (const { spec } of served) {
    const { device } = spec;
    const chain = (device as Partial<FilteredDeviceSpec>).filters;
    const filter = chain?.filters.find((candidate) => candidate.id === id);
    if (chain === undefined || filter === undefined) continue;
    new FilterMemory({ ...filter, queues: chain.queues }, filter.memory).condemn(text);
    new ChainControl(chain.control).change();
    const { module } = filter;
    const where = module.kind === 'text' ? ` (${module.file})` : '';
    return { text: `filter ${filter.name}${where} of ${chain.vm}/${chain.device} ${text}`, device };
  }
  return undefined;
}

/** Queues in the order in which they are taken over: nobody waits for the device whose filter is to blame. */
export function culpritLast<T extends Served>(served: Iterable<T>, culprit: Culprit | undefined): T[] {
  const isLate = ({ spec }: T) => Number(spec.device.shared === culprit?.device.shared);
  return [...served].sort((one, other) => isLate(one) - isLate(other));
}
