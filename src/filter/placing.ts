import type { BlockFilter } from './contract.js';
import type { FaultPolicy } from './spec.js';

/** Of a filter of a disk, what says where it may be. */
export interface PlacedFilter {
  readonly definition: Pick<BlockFilter, 'name' | 'last' | 'sameBytes' | 'failsClosed'>;
  readonly onFault: FaultPolicy;
}

/** What is wrong with one filter among others, and with which key of it. */
export interface PlaceFault {
  readonly index: number;
  readonly key: 'use' | 'on_fault';
  readonly text: string;
  readonly remedy: string;
}

/** Whether what a filter gives on is what the back end has: it is next, or those between change nothing. */
export const isNextToBackend = (filters: readonly PlacedFilter[], index: number): boolean =>
  filters.slice(index + 1).every(({ definition }) => definition.sameBytes);

/** What is wrong with the places of a disk's filters, nearest to the guest first, and with what they do when they fail. */
export function placeFaults(filters: readonly PlacedFilter[]): PlaceFault[] {
  return filters.flatMap(({ definition: { name, last, failsClosed }, onFault }, index) => {
    const faults: PlaceFault[] = [];
    if (last && !isNextToBackend(filters, index))
      faults.push({
        index,
        key: 'use',
        text: `the filter ${name} has to be the last`,
        remedy: 'It needs the image as the back end has it: move it to the end of `filters`.',
      });
    if (failsClosed && onFault === 'open')
      faults.push({
        index,
        key: 'on_fault',
        text: `the filter ${name} cannot have on_fault: open`,
        remedy: 'Data that had not gone through it would be lost: leave `closed`.',
      });
    return faults;
  });
}

/** Where a new filter comes if nothing is said: the last place that is allowed; behind all if none is. */
export function defaultPlace(filters: readonly PlacedFilter[], added: PlacedFilter): number {
  for (let at = filters.length; at >= 0; at--) {
    if (placeFaults(filters.toSpliced(at, 0, added)).every(({ key }) => key !== 'use')) return at;
  }
  return filters.length;
}
