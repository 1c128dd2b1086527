import { signal } from '../host/eventfd.js';
import { Crossing, Presence } from '../net/crossing.js';
import { Networks } from '../net/networks.js';
import { CoreState } from './core-state.js';
import type { CoreSetup } from './messages.js';

/** Makes a sidecore's networks, with the ways to those of the others. */
export function joinNetworks({ index, neighbours }: Pick<CoreSetup, 'index' | 'neighbours'>): Networks {
  const presence = new Presence(neighbours.presence, neighbours.networks);
  const crossings = neighbours.others.map((other) => {
    const state = new CoreState(other.state);
    return new Crossing(other, presence, () => {
      if (state.asleep) signal(other.bellFd);
    });
  });
  return new Networks(index, presence, crossings);
}
