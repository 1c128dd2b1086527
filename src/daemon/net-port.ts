import type { Logger } from 'pino';
import { parseMac } from '../net/ethernet.js';
import { PORT_COUNTER_BYTES, PortCounter, type PortCounterName } from '../net/port.js';
import type { CommonPortSpec, PortSpec } from '../net/ports/port-spec.js';
import { type PortConfig, portVlans } from './config.js';
import type { Core } from './core.js';

/** One configured port of a network that is no guest's card, while the daemon runs. */
export class ServedPort {
  /** NETWORK/PORT. */
  readonly label: string;
  readonly network: string;
  readonly name: string;
  readonly #config: PortConfig;
  readonly #core: Core;
  readonly #log: Logger;
  readonly #spec: PortSpec;

  /**
   * Opens what the port leads to; throws one clear error if it cannot.
   *
   * @param place - its network's number, its own number among all ports, and the core that serves it
   */
  constructor(
    network: string,
    name: string,
    config: PortConfig,
    place: { readonly switchId: number; readonly number: number; readonly core: Core; readonly log: Logger },
  ) {
    this.label = `${network}/${name}`;
    this.network = network;
    this.name = name;
    this.#config = config;
    this.#core = place.core;
    this.#log = place.log;
    const shared = new SharedArrayBuffer(PORT_COUNTER_BYTES);
    this.#spec = specOf(config, { number: place.number, switchId: place.switchId, vlans: portVlans(config), shared });
  }

  async start(): Promise<void> {
    await this.#core.plug(this.#spec);
    this.#log.info(`${this.label}: ${this.#config.type} port`);
  }

  /** Counters, for `status`. */
  status() {
    const counters = new Float64Array(this.#spec.shared);
    const named = Object.entries(PortCounter).map(([name, slot]) => [name.toLowerCase(), counters[slot]!]);
    return {
      type: this.#config.type,
      core: this.#core.options.index,
      ...(Object.fromEntries(named) as Record<Lowercase<PortCounterName>, number>),
    };
  }
}

function specOf(config: PortConfig, common: CommonPortSpec): PortSpec {
  switch (config.type) {
    case 'generator': {
      const { frame_bytes: frameBytes, send, mac, destination } = config;
      return {
        ...common,
        kind: 'generator',
        frameBytes,
        send,
        mac: parseMac(mac!)!,
        destination: parseMac(destination!)!,
      };
    }
    case 'tap':
      throw new Error('no tap yet');
  }
}
