import { assert } from '../errors.js';
import { type KnownPorts, portsOf } from '../filter/frame-ports.js';
import type { ReadyFrameFilter } from '../filter/opened-frame-filter.js';
import type { PortAddress } from '../net/port.js';
import type { Config } from './config-schema.js';

/** All ports of a daemon by their labels: each has a number, cards first. */
export class PortBook implements KnownPorts {
  readonly #cards = new Map<string, PortAddress>();
  readonly #others = new Map<string, PortAddress>();
  readonly #filtersOf: (card: string) => readonly ReadyFrameFilter[];

  /** @param filtersOf - those that a card has now, by its label; none of what is no card */
  constructor({ vms, networks }: Config, filtersOf: (card: string) => readonly ReadyFrameFilter[]) {
    this.#filtersOf = filtersOf;
    const names = Object.keys(networks);
    let number = 0;
    for (const [vm, { nics }] of Object.entries(vms))
      for (const [name, nic] of Object.entries(nics))
        this.#cards.set(`${vm}/${name}`, { number: number++, network: names.indexOf(nic.network) });
    for (const [network, { ports }] of Object.entries(networks))
      for (const name of Object.keys(ports))
        this.#others.set(`${network}/${name}`, { number: number++, network: names.indexOf(network) });
  }

  card(label: string): PortAddress {
    return known(this.#cards.get(label));
  }

  /** One that is no card. */
  other(label: string): PortAddress {
    return known(this.#others.get(label));
  }

  find(label: string): PortAddress | undefined {
    return this.#cards.get(label) ?? this.#others.get(label);
  }

  copiesOf(label: string): readonly string[] {
    return this.#filtersOf(label).flatMap((filter) => Object.values(portsOf(filter)));
  }
}

function known(address: PortAddress | undefined): PortAddress {
  assert(address !== undefined, 'the port is configured');
  return address;
}
