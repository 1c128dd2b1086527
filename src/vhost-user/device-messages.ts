import { SidecoreError } from '../errors.js';
import { type ConfigMessage, decode, encode } from './codec.js';
import type { SessionSetup } from './session.js';

/** What a front end says to the device rather than to its rings: configuration space, and what concerns network cards. */
export class DeviceMessages {
  readonly #setup: SessionSetup;
  readonly #report: (error: unknown) => void;

  /** @param report - told of a fault that the front end is not told of by an error */
  constructor(setup: SessionSetup, report: (error: unknown) => void) {
    this.#setup = setup;
    this.#report = report;
  }

  /** Reads configuration space; an empty reply says that there is no such part of it. */
  getConfig(payload: Buffer): Buffer {
    try {
      const { offset, flags, bytes } = decode.config(payload);
      return encode.config({ offset, flags, bytes: this.#setup.device.readConfig(offset, bytes.length) });
    } catch (error) {
      this.#report(error);
      return Buffer.alloc(0);
    }
  }

  /** Flags are 0 for a write by the driver, which Cloud Hypervisor says with 1. vhost-user, SET_CONFIG */
  setConfig({ offset, flags, bytes }: ConfigMessage): void {
    if (flags > 1 || !this.#setup.device.writeConfig(offset, bytes)) {
      throw new SidecoreError('CONFIG_SPACE_INVALID', `configuration space cannot be written at ${offset}`);
    }
  }

  /** Has the switch learn where the guest is now, as a VMM asks for after a migration. vhost-user, SEND_RARP */
  async sendRarp(mac: Uint8Array): Promise<void> {
    const { device, server, spec } = this.#setup;
    const frame = device.network?.announcement(mac);
    if (frame === undefined)
      throw new SidecoreError('NETWORK_MESSAGE_INVALID', 'SEND_RARP names no address of a station');
    await server.inject(spec, frame);
  }

  /** Takes over the largest payload that the VMM tells the guest of. vhost-user, NET_SET_MTU */
  setMtu(mtu: bigint): void {
    if (this.#setup.device.network?.setMtu(Number(mtu)) !== true)
      throw new SidecoreError('NETWORK_MESSAGE_INVALID', `an MTU of ${mtu} is not possible`);
  }
}
