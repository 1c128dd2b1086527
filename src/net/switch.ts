import type { Frame } from './frame.js';
import type { MacTable } from './mac-table.js';
import { type Port, PortCounter } from './port.js';

/** Slots of the address table that are looked through in one tick. */
const SWEEP_SLOTS = 256;

/** VLAN of frames on ports that have none. */
const NO_VLAN = 0;

/**
 * A learning switch, as one sidecore sees it: ports, and behind which of them an address was seen last. A frame to an address
 * that is known goes to one port, all others to every port but its own. IEEE 802.1Q, 8
 */
export class Switch {
  readonly #table: MacTable;
  readonly #ports: (Port | undefined)[] = [];
  /** Coarse time, s. */
  #nowS = 0;

  constructor(table: MacTable) {
    this.#table = table;
  }

  /** Moves the time along, and forgets some of what is old by now. */
  tick(nowS: number): void {
    this.#nowS = nowS;
    this.#table.sweep(SWEEP_SLOTS, nowS);
  }

  plug(port: Port): void {
    this.#ports[port.number] = port;
  }

  unplug(port: Port): void {
    this.#ports[port.number] = undefined;
    this.#table.flushPort(port.number);
  }

  forward(frame: Frame, from: Port): void {
    const { sourceHigh, sourceLow, destinationHigh, destinationLow } = frame;
    this.#table.learn(NO_VLAN, sourceHigh, sourceLow, from.number, this.#nowS);
    // The lowest bit of the first byte says "group". IEEE 802.3, 3.2.3
    const known =
      (destinationHigh & 0x100) !== 0 ? -1 : this.#table.lookup(NO_VLAN, destinationHigh, destinationLow, this.#nowS);
    const to = known < 0 ? undefined : this.#ports[known];
    if (to === undefined) this.#flood(frame, from);
    else if (to === from) from.counters[PortCounter.DROPPED_SAME_PORT]!++;
    else to.deliver(frame);
  }

  #flood(frame: Frame, from: Port): void {
    for (let i = 0; i < this.#ports.length; i++) {
      const port = this.#ports[i];
      if (port !== undefined && port !== from) port.deliver(frame);
    }
  }
}
