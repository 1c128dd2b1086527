import { randomInt } from 'node:crypto';
import { nowNs } from '../host/clock.js';
import type { FrameCapture } from './capture/frame-capture.js';
import { type NetDeviceSpec, NetDeviceState } from './device.js';
import { GuestPort } from './guest-port.js';
import { MacTable } from './mac-table.js';
import { Switch } from './switch.js';

/** Calls between two readings of the clock, which makes the switches' time coarse: some milliseconds to a second. */
const TICK_CALLS = 2 ** 13;

/** The switches of one sidecore, and the guests' cards that are plugged into them. Made when first asked for. */
export class Networks {
  readonly #switches = new Map<number, Switch>();
  readonly #ports = new Map<number, GuestPort>();
  /** By number of the port, which need not be there yet. */
  readonly #captures = new Map<number, FrameCapture>();
  #untilTick = 1;

  switch(id: number): Switch {
    let found = this.#switches.get(id);
    if (found === undefined) {
      found = new Switch(new MacTable({ secrets: randomPair() }));
      this.#switches.set(id, found);
    }
    return found;
  }

  /** To be called now and then while there is work: addresses age, and those that are old are forgotten little by little. */
  keepHouse(): void {
    if (--this.#untilTick > 0) return;
    this.#untilTick = TICK_CALLS;
    const nowS = Math.floor(nowNs() / 1e9);
    for (const network of this.#switches.values()) network.tick(nowS);
  }

  /** The port of a card; a card is plugged in when the first of its queues is served. */
  port({ port: number, switchId, shared, vlans, mac }: NetDeviceSpec): GuestPort {
    let port = this.#ports.get(number);
    if (port === undefined) {
      port = new GuestPort(number, new NetDeviceState(shared), vlans);
      port.capture = this.#captures.get(number);
      this.#ports.set(number, port);
      const network = this.switch(switchId);
      network.plug(port);
      network.expect(mac.high, mac.low, port);
    }
    return port;
  }

  /** Has what passes a port recorded from now on, or not any more. */
  capture(number: number, capture: FrameCapture | undefined): void {
    if (capture === undefined) this.#captures.delete(number);
    else this.#captures.set(number, capture);
    const port = this.#ports.get(number);
    if (port !== undefined) port.capture = capture;
  }
}

const randomPair = (): [number, number] => [randomInt(2 ** 32), randomInt(2 ** 32)];
