import type { Logger } from 'pino';
import { close } from '../host/libc.js';
import { openTap } from '../host/tap.js';
import { macHigh, macLow, parseMac, writeMac } from '../net/ethernet.js';
import { NET_HEADER_BYTES } from '../net/features.js';
import { PORT_COUNTER_BYTES, type PortAddress, PortCounter, type PortCounterName } from '../net/port.js';
import type { CommonPortSpec, PortSpec } from '../net/ports/port-spec.js';
import { tapOffloads } from '../net/ports/tap/offloads.js';
import { groupId, userId } from './accounts.js';
import { type PortConfig, portVlans, type TapConfig } from './config.js';
import type { Core } from './core.js';

/** One configured port of a network that is no guest's card, while the daemon runs. */
export class NetPort {
  /** NETWORK/PORT. */
  readonly label: string;
  readonly network: string;
  readonly name: string;
  readonly #config: PortConfig;
  readonly #core: Core;
  readonly #log: Logger;
  readonly #spec: PortSpec;
  #lossTold = false;

  /**
   * Opens what the port leads to; throws one clear error if it cannot.
   *
   * @param place - its address, and the core that serves it
   */
  constructor(
    network: string,
    name: string,
    config: PortConfig,
    place: { readonly address: PortAddress; readonly core: Core; readonly log: Logger },
  ) {
    this.label = `${network}/${name}`;
    this.network = network;
    this.name = name;
    this.#config = config;
    this.#core = place.core;
    this.#log = place.log;
    const shared = new SharedArrayBuffer(PORT_COUNTER_BYTES);
    const { number, network: switchId } = place.address;
    this.#spec = specOf(config, { number, switchId, vlans: portVlans(config), shared });
  }

  async start(): Promise<void> {
    await this.#core.plug(this.#spec);
    const config = this.#config;
    const what = config.type === 'tap' ? `TAP device ${config.device}` : config.type;
    this.#log.info(`${this.label}: ${what}`);
  }

  /** To be called now and then: tells the operator, once, that what the port leads to is gone. */
  reportLoss(): void {
    const config = this.#config;
    if (this.#lossTold || config.type !== 'tap') return;
    if (new Float64Array(this.#spec.shared)[PortCounter.QUEUES_LOST] === 0) return;
    this.#lossTold = true;
    this.#log.warn(
      `${this.label}: TAP device ${config.device} is gone, somebody has deleted it; frames for it are lost. To have it made again, start the daemon anew.`,
    );
  }

  /** Lets go of what the port leads to, when no core serves it any more. */
  close(): void {
    if (this.#spec.kind === 'tap') for (const fd of this.#spec.fds) close(fd);
  }

  /** Counters, for `status`. */
  status() {
    const counters = new Float64Array(this.#spec.shared);
    const named = Object.entries(PortCounter).map(([name, slot]) => [name.toLowerCase(), counters[slot]!]);
    const { vlan = null, trunk = null } = this.#config;
    return {
      type: this.#config.type,
      device: this.#config.type === 'tap' ? this.#config.device : null,
      vlan,
      trunk,
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
      return tapSpec(config, common);
  }
}

/** Opens the device. */
function tapSpec(config: TapConfig, common: CommonPortSpec): PortSpec {
  const { device, queues, mac, mtu, owner, group, bridge } = config;
  const tap = openTap({
    device,
    queues,
    headerBytes: NET_HEADER_BYTES,
    address: mac === undefined ? undefined : bytesOf(mac),
    mtu,
    uid: userId(owner, 'owner'),
    gid: groupId(group, 'group'),
    bridge,
  });
  const own = { high: macHigh(tap.address, 0), low: macLow(tap.address, 0) };
  return { ...common, kind: 'tap', fds: tap.fds, offloads: tapOffloads(tap.offloads), mac: own };
}

function bytesOf(mac: string): Uint8Array {
  const bytes = Buffer.alloc(6);
  const { high, low } = parseMac(mac)!;
  writeMac(bytes, 0, high, low);
  return bytes;
}
