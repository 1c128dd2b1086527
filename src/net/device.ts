import { CONFIG_SPACE_BYTES_MAX, MTU_MAX, MTU_MIN } from '../limits.js';
import type { VirtioDevice } from '../virtio/device.js';
import { RING_FEATURES } from '../virtio/features.js';
import type { DeviceSpec } from '../virtio/queue-spec.js';
import { NetDeviceState } from './device-state.js';
import { writeMac } from './ethernet.js';
import { CONTROL_FEATURES, LinkStatus, NET_FEATURES, OFFLOAD_FEATURES } from './features.js';
import { NetConfigOffset } from './net-config.js';
import { rarpFrame } from './rarp.js';
import type { PortVlans } from './vlan.js';

const DUPLEX_FULL = 1;

/** What all queues of a network card have in common. Plain data. */
export interface NetDeviceSpec extends DeviceSpec {
  readonly kind: 'net';
  /** Memory of its `NetDeviceState`. */
  readonly shared: SharedArrayBuffer;
  /** The switch that the card is plugged into, and its port there. */
  readonly switchId: number;
  readonly port: number;
  readonly queuePairs: number;
  readonly vlans: PortVlans;
  readonly mac: { readonly high: number; readonly low: number };
}

/** How a network card is presented to its guest. */
export interface NetDeviceOptions {
  readonly mac: { readonly high: number; readonly low: number };
  /** Largest payload of a frame, bytes. */
  readonly mtu: number;
  readonly queuePairs: number;
  /** Told to the guest, Mbit/s; nothing is limited by it. */
  readonly speedMbps: number;
  /** Whether checksums and segmentation may be left to us and to the guest. */
  readonly offloads: boolean;
}

/**
 * A virtio network card as its guest sees it: features and configuration space, and in shared memory what the sidecores read
 * of it.
 */
export class NetDevice implements VirtioDevice {
  readonly shared = new SharedArrayBuffer(CONFIG_SPACE_BYTES_MAX + NetDeviceState.BYTES);
  readonly offeredFeatures: bigint;
  readonly options: NetDeviceOptions;
  readonly #config = new DataView(this.shared, 0, CONFIG_SPACE_BYTES_MAX);
  readonly #state = new NetDeviceState(this.shared);

  constructor(options: NetDeviceOptions) {
    this.options = options;
    this.offeredFeatures = offer(options);
    this.#state.reset(options.mac.high, options.mac.low);
    writeMac(Buffer.from(this.shared), NetConfigOffset.MAC, options.mac.high, options.mac.low);
    const config = this.#config;
    this.#state.status = LinkStatus.UP;
    config.setUint16(NetConfigOffset.MAX_QUEUE_PAIRS, options.queuePairs, true);
    config.setUint16(NetConfigOffset.MTU, options.mtu, true);
    config.setUint32(NetConfigOffset.SPEED, options.speedMbps, true);
    config.setUint8(NetConfigOffset.DUPLEX, DUPLEX_FULL);
  }

  /** Two for each pair, to receive and to send, and one for control. VIRTIO 1.3, 5.1.2 */
  get queueCount(): number {
    return 2 * this.options.queuePairs + 1;
  }

  /**
   * Plugs or unplugs the cable, for the guest. The caller tells the front end. A guest that can is asked to announce itself when the
   * link is back: it may be behind another port than before. VIRTIO 1.3, 5.1.6.5.4
   */
  setLink(up: boolean): void {
    // What the guest has not read yet of an announcement stays.
    if (up === this.#state.linkUp) return;
    const announces = (this.#state.features & NET_FEATURES.GUEST_ANNOUNCE) !== 0n;
    const status = LinkStatus.UP | (announces && !this.#state.linkUp ? LinkStatus.ANNOUNCE : 0);
    this.#state.status = up ? status : 0;
    this.#state.linkUp = up;
  }

  get linkUp(): boolean {
    return this.#state.linkUp;
  }

  /** Largest payload of a frame, bytes, as the guest is told. */
  get mtu(): number {
    return this.#config.getUint16(NetConfigOffset.MTU, true);
  }

  readonly network = {
    setMtu: (mtu: number): boolean => {
      if (!(mtu >= MTU_MIN && mtu <= MTU_MAX)) return false;
      this.#config.setUint16(NetConfigOffset.MTU, mtu, true);
      return true;
    },
    announcement: rarpFrame,
    /** What the front end has set goes with it. */
    endSession: (): void => this.#config.setUint16(NetConfigOffset.MTU, this.options.mtu, true),
  };

  readConfig(offset: number, length: number): Buffer {
    const bytes = Buffer.alloc(length);
    Buffer.from(this.shared, 0, CONFIG_SPACE_BYTES_MAX).copy(bytes, 0, offset, offset + length);
    return bytes;
  }

  /** Nothing here may be written: the MAC address is set by the control queue. VIRTIO 1.3, 5.1.4.1 */
  writeConfig(): boolean {
    return false;
  }

  negotiate(features: bigint): void {
    this.#state.features = features;
  }

  /** The driver's own address and all that it has said by the control queue are forgotten. */
  reset(): void {
    const { mac } = this.options;
    writeMac(Buffer.from(this.shared), NetConfigOffset.MAC, mac.high, mac.low);
    this.#state.reset(mac.high, mac.low);
  }
}

function offer({ queuePairs, offloads }: NetDeviceOptions): bigint {
  const { MAC, MTU, STATUS, MRG_RXBUF, MQ, SPEED_DUPLEX, GUEST_ANNOUNCE } = NET_FEATURES;
  const { INDIRECT_DESC, EVENT_IDX, VERSION_1, RING_PACKED, IN_ORDER, VHOST_USER_PROTOCOL_FEATURES } = RING_FEATURES;
  let features = MAC | MTU | STATUS | MRG_RXBUF | SPEED_DUPLEX | GUEST_ANNOUNCE | CONTROL_FEATURES;
  features |= INDIRECT_DESC | EVENT_IDX | VERSION_1 | RING_PACKED | IN_ORDER | VHOST_USER_PROTOCOL_FEATURES;
  if (queuePairs > 1) features |= MQ;
  if (offloads) features |= OFFLOAD_FEATURES;
  return features;
}
