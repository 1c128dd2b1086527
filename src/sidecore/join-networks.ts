import { FrameChain } from '../filter/frame-chain.js';
import { createFrameChain, createFrameHost } from '../filter/frame-create.js';
import type { FilteredNetSpec } from '../filter/frame-spec.js';
import { NET_FILTERS } from '../filters/net/index.js';
import { signal } from '../host/eventfd.js';
import { Crossing } from '../net/crossing.js';
import { Directory } from '../net/directory.js';
import { type FilterMaker, Networks } from '../net/networks.js';
import { CoreState } from './core-state.js';
import type { CoreSetup } from './messages.js';

/** Makes a sidecore's networks, with the ways to those of the others. */
export function joinNetworks(setup: Pick<CoreSetup, 'index' | 'neighbours' | 'state'>): Networks {
  const { index, neighbours, state: ownState } = setup;
  const directory = new Directory(neighbours.directory, neighbours.networks);
  const { crossings, arrived, marks } = new CoreState(ownState);
  const ways = neighbours.others.map((other) => {
    const state = new CoreState(other.state);
    const wake = () => {
      if (state.asleep) signal(other.bellFd);
    };
    return new Crossing(other, directory, wake, crossings, arrived);
  });
  return new Networks(index, directory, ways, filterMaker(marks));
}

/**
 * Makes the filters of cards on one sidecore.
 *
 * @param mark - see `FrameTools`
 */
function filterMaker(mark?: Int32Array): FilterMaker {
  const host = createFrameHost(mark);
  return (spec, port, network, before, networks) => {
    const { filters } = spec as FilteredNetSpec;
    const chain = before instanceof FrameChain ? before : undefined;
    if (filters === undefined || filters.filters.length === 0) {
      chain?.close();
      return undefined;
    }
    return createFrameChain(filters, { port, network, networks, host, builtIns: NET_FILTERS }, chain);
  };
}
