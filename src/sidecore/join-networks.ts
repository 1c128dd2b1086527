import { signal } from '../host/eventfd.js';
import { Crossing } from '../net/crossing.js';
import { Directory } from '../net/directory.js';
import { Networks } from '../net/networks.js';
import { CoreState } from './core-state.js';
import type { CoreSetup } from './messages.js';

/** Makes a sidecore's networks, with the ways to those of the others. */
export function joinNetworks(setup: Pick<CoreSetup, 'index' | 'neighbours' | 'state'>): Networks {
  const { index, neighbours, state: ownState } = setup;
  const directory = new Directory(neighbours.directory, neighbours.networks);
  const { crossings, arrived } = new CoreState(ownState);
  const ways = neighbours.others.map((other) => {
    const state = new CoreState(other.state);
    const wake = () => {
      if (state.asleep) signal(other.bellFd);
    };
    return new Crossing(other, directory, wake, crossings, arrived);
  });
  return new Networks(index, directory, ways);
}
