import { CONFIG_SPACE_BYTES_MAX } from '../limits.js';
import type { VirtioDevice } from '../virtio/device.js';
import { RING_FEATURES } from '../virtio/features.js';
import type { DeviceSpec } from '../virtio/queue-spec.js';
import { writeMac } from './ethernet.js';
import { LinkStatus, NET_FEATURES, OFFLOAD_FEATURES } from './features.js';
import { PORT_COUNTER_BYTES } from './port.js';
import type { PortVlans } from './vlan.js';

/** Device configuration, byte offsets. VIRTIO 1.3, 5.1.4 */
export const NetConfigOffset = { MAC: 0, STATUS: 6, MAX_QUEUE_PAIRS: 8, MTU: 10, SPEED: 12, DUPLEX: 16 } as const;

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
    writeMac(Buffer.from(this.shared), NetConfigOffset.MAC, options.mac.high, options.mac.low);
    const config = this.#config;
    config.setUint16(NetConfigOffset.STATUS, LinkStatus.UP, true);
    config.setUint16(NetConfigOffset.MAX_QUEUE_PAIRS, options.queuePairs, true);
    config.setUint16(NetConfigOffset.MTU, options.mtu, true);
    config.setUint32(NetConfigOffset.SPEED, options.speedMbps, true);
    config.setUint8(NetConfigOffset.DUPLEX, DUPLEX_FULL);
  }

  /** Two for each pair: one to receive, one to send. VIRTIO 1.3, 5.1.2 */
  get queueCount(): number {
    return 2 * this.options.queuePairs;
  }

  /** Plugs or unplugs the cable, for the guest. The caller tells the front end. */
  setLink(up: boolean): void {
    this.#config.setUint16(NetConfigOffset.STATUS, up ? LinkStatus.UP : 0, true);
    this.#state.linkUp = up;
  }

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
    this.#state.negotiate(features);
  }

  reset(): void {
    this.negotiate(0n);
  }
}

function offer({ queuePairs, offloads }: NetDeviceOptions): bigint {
  const { MAC, MTU, STATUS, MRG_RXBUF, MQ, SPEED_DUPLEX } = NET_FEATURES;
  const { INDIRECT_DESC, EVENT_IDX, VERSION_1, VHOST_USER_PROTOCOL_FEATURES } = RING_FEATURES;
  let features = MAC | MTU | STATUS | MRG_RXBUF | SPEED_DUPLEX;
  features |= INDIRECT_DESC | EVENT_IDX | VERSION_1 | VHOST_USER_PROTOCOL_FEATURES;
  if (queuePairs > 1) features |= MQ;
  if (offloads) features |= OFFLOAD_FEATURES;
  return features;
}

/** What the sidecores read of a network card: a few words of shared memory behind its configuration space. */
export class NetDeviceState {
  static readonly BYTES = 16 + PORT_COUNTER_BYTES;
  /** By `PortCounter`. */
  readonly counters: Float64Array;
  /** Negotiated features in two halves, and whether the link is down. */
  readonly #words: Int32Array;

  constructor(shared: SharedArrayBuffer) {
    this.#words = new Int32Array(shared, CONFIG_SPACE_BYTES_MAX, 3);
    this.counters = new Float64Array(shared, CONFIG_SPACE_BYTES_MAX + 16);
  }

  negotiate(features: bigint): void {
    this.#words[0] = Number(BigInt.asIntN(32, features));
    this.#words[1] = Number(BigInt.asIntN(32, features >> 32n));
  }

  /** Negotiated. */
  get features(): bigint {
    return BigInt.asUintN(32, BigInt(this.#words[0]!)) | (BigInt.asUintN(32, BigInt(this.#words[1]!)) << 32n);
  }

  get linkUp(): boolean {
    return this.#words[2] === 0;
  }

  set linkUp(up: boolean) {
    this.#words[2] = up ? 0 : 1;
  }
}
