import { ChainControl, FilterMemory } from '../filter/memory.js';
import type { FilteredDeviceSpec } from '../filter/spec.js';
import type { QueueSpec } from '../virtio/queue-spec.js';

/** A queue of a core, and with it its device's filters. */
interface Served {
  readonly spec: QueueSpec;
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
   * @returns which, and what it has done; undefined if it was none
   */
  settle(filter: number, served: Iterable<Served>, reason: string): string | undefined {
    const text = `was at work when its sidecore died: ${reason.split('\n', 1)[0]}`;
    const fault = this.#ended ?? { filter, text };
    this.#ended = undefined;
    const name = condemn(Math.abs(fault.filter), served, fault.text);
    return name === undefined ? undefined : `${name} ${fault.text}`;
  }
}

/** Returns how a person knows the filter; undefined if no device has it. */
function condemn(id: number, served: Iterable<Served>, text: string): string | undefined {
  for (const { spec } of served) {
    const chain = (spec.device as Partial<FilteredDeviceSpec>).filters;
    const filter = chain?.filters.find((candidate) => candidate.id === id);
    if (chain === undefined || filter === undefined) continue;
    new FilterMemory({ ...filter, queues: chain.queues }, filter.memory).condemn(text);
    new ChainControl(chain.control).change();
    const { module } = filter;
    const where = module.kind === 'text' ? ` (${module.file})` : '';
    return `filter ${filter.name}${where} of ${chain.vm}/${chain.device}`;
  }
  return undefined;
}
