import { assert } from '../errors.js';
import {
  CHAIN_SEGMENTS_MAX,
  CONFIG_SPACE_BYTES_MAX,
  DATA_SEGMENTS_MAX,
  DISCARD_SECTORS_MAX,
  RANGES_MAX,
  SECURE_ERASE_SECTORS_MAX,
  SEGMENT_BYTES_MAX,
  WRITE_ZEROES_SECTORS_MAX,
} from '../limits.js';
import type { VirtioDevice } from '../virtio/device.js';
import { RING_FEATURES } from '../virtio/features.js';
import type { DeviceSpec } from '../virtio/queue-spec.js';
import type { BackendAbilities } from './backends/backend.js';
import type { BackendSpec } from './backends/index.js';
import { BLOCK_FEATURES, SECTOR_BYTES, SERIAL_BYTES } from './features.js';

/** Device configuration, byte offsets. VIRTIO 1.3, 5.2.4 */
export const ConfigOffset = {
  CAPACITY: 0,
  SIZE_MAX: 8,
  SEG_MAX: 12,
  BLK_SIZE: 20,
  PHYSICAL_BLOCK_EXP: 24,
  ALIGNMENT_OFFSET: 25,
  MIN_IO_SIZE: 26,
  OPT_IO_SIZE: 28,
  WRITEBACK: 32,
  NUM_QUEUES: 34,
  MAX_DISCARD_SECTORS: 36,
  MAX_DISCARD_SEG: 40,
  DISCARD_SECTOR_ALIGNMENT: 44,
  MAX_WRITE_ZEROES_SECTORS: 48,
  MAX_WRITE_ZEROES_SEG: 52,
  WRITE_ZEROES_MAY_UNMAP: 56,
  MAX_SECURE_ERASE_SECTORS: 60,
  MAX_SECURE_ERASE_SEG: 64,
  SECURE_ERASE_SECTOR_ALIGNMENT: 68,
} as const;

/** Bytes of the device configuration that have a meaning. VIRTIO 1.3, 5.2.4 (the zoned part included, as zeros). */
export const CONFIG_BYTES = 96;

/** What all queues of a disk have in common. Plain data. */
export interface BlockDeviceSpec extends DeviceSpec {
  readonly kind: 'block';
  /** Memory of its `BlockDeviceState`. */
  readonly shared: SharedArrayBuffer;
  readonly readOnly: boolean;
  readonly queues: number;
  readonly backend: BackendSpec;
}

/** How a disk is presented to its guest. */
export interface BlockDeviceOptions {
  readonly abilities: BackendAbilities;
  readonly readOnly: boolean;
  /** Logical block size told to the guest: 512 or 4096. */
  readonly blockBytes: number;
  /** Virtqueues offered. */
  readonly queues: number;
  /** Serial number, at most 20 bytes. */
  readonly serial: string;
  /** Whether completed writes may be lost until a flush, as the guest is told at first. */
  readonly writeback: boolean;
}

assert(DATA_SEGMENTS_MAX + 2 <= CHAIN_SEGMENTS_MAX, 'a full request fits a chain');
assert(((SEGMENT_BYTES_MAX * DATA_SEGMENTS_MAX) / SECTOR_BYTES) % 2 ** 16 !== 0, 'SeaBIOS can read');

/**
 * A virtio block device as its guest sees it: features, configuration space, and the state that all of its queues share.
 * That state lies in shared memory, so that the queues of one device may be served by different sidecores.
 */
export class BlockDevice implements VirtioDevice {
  /** Crosses to the sidecores as it is. */
  readonly shared: SharedArrayBuffer;
  #offeredFeatures: bigint;
  readonly options: BlockDeviceOptions;
  readonly #config: DataView;
  readonly #state: BlockDeviceState;

  constructor(options: BlockDeviceOptions) {
    const { abilities } = options;
    this.options = options;
    this.shared = new SharedArrayBuffer(CONFIG_SPACE_BYTES_MAX + BlockDeviceState.BYTES);
    this.#config = new DataView(this.shared, 0, CONFIG_SPACE_BYTES_MAX);
    this.#state = new BlockDeviceState(this.shared);
    this.#offeredFeatures = offer(options);
    this.#state.setSerial(options.serial);

    const config = this.#config;
    config.setUint32(ConfigOffset.SIZE_MAX, SEGMENT_BYTES_MAX, true);
    config.setUint32(ConfigOffset.SEG_MAX, DATA_SEGMENTS_MAX, true);
    config.setUint32(ConfigOffset.BLK_SIZE, options.blockBytes, true);
    const physical = Math.max(abilities.physicalBlockBytes, options.blockBytes);
    config.setUint8(ConfigOffset.PHYSICAL_BLOCK_EXP, Math.log2(physical / options.blockBytes));
    config.setUint16(ConfigOffset.MIN_IO_SIZE, physical / options.blockBytes, true);
    config.setUint32(ConfigOffset.OPT_IO_SIZE, 0, true);
    config.setUint8(ConfigOffset.WRITEBACK, options.writeback ? 1 : 0);
    config.setUint16(ConfigOffset.NUM_QUEUES, options.queues, true);
    const alignment = physical / SECTOR_BYTES;
    if (this.#offers(BLOCK_FEATURES.DISCARD)) {
      config.setUint32(ConfigOffset.MAX_DISCARD_SECTORS, DISCARD_SECTORS_MAX, true);
      config.setUint32(ConfigOffset.MAX_DISCARD_SEG, RANGES_MAX, true);
      config.setUint32(ConfigOffset.DISCARD_SECTOR_ALIGNMENT, alignment, true);
    }
    if (this.#offers(BLOCK_FEATURES.WRITE_ZEROES)) {
      config.setUint32(ConfigOffset.MAX_WRITE_ZEROES_SECTORS, WRITE_ZEROES_SECTORS_MAX, true);
      config.setUint32(ConfigOffset.MAX_WRITE_ZEROES_SEG, RANGES_MAX, true);
      config.setUint8(ConfigOffset.WRITE_ZEROES_MAY_UNMAP, abilities.discard ? 1 : 0);
    }
    if (this.#offers(BLOCK_FEATURES.SECURE_ERASE)) {
      config.setUint32(ConfigOffset.MAX_SECURE_ERASE_SECTORS, SECURE_ERASE_SECTORS_MAX, true);
      config.setUint32(ConfigOffset.MAX_SECURE_ERASE_SEG, RANGES_MAX, true);
      config.setUint32(ConfigOffset.SECURE_ERASE_SECTOR_ALIGNMENT, alignment, true);
    }
    this.resize(abilities.sizeBytes);
  }

  get offeredFeatures(): bigint {
    return this.#offeredFeatures;
  }

  /** Whether drivers from now on may ask that requests complete in their order. */
  offerInOrder(offered: boolean): void {
    const { IN_ORDER } = RING_FEATURES;
    this.#offeredFeatures = offered ? this.#offeredFeatures | IN_ORDER : this.#offeredFeatures & ~IN_ORDER;
  }

  /** Sets the capacity. The caller tells the front end. */
  resize(sizeBytes: number): void {
    const sectors = Math.floor(sizeBytes / SECTOR_BYTES);
    this.#state.capacitySectors = sectors;
    this.#config.setBigUint64(ConfigOffset.CAPACITY, BigInt(sectors), true);
  }

  get queueCount(): number {
    return this.options.queues;
  }

  get capacityBytes(): number {
    return this.#state.capacitySectors * SECTOR_BYTES;
  }

  /** Reads configuration space. Bytes beyond what is defined are zeros. */
  readConfig(offset: number, length: number): Buffer {
    const bytes = Buffer.alloc(length);
    const defined = Buffer.from(this.shared, 0, CONFIG_SPACE_BYTES_MAX);
    defined.copy(bytes, 0, offset, Math.min(offset + length, CONFIG_SPACE_BYTES_MAX));
    return bytes;
  }

  /**
   * Writes configuration space. Only the cache mode may be written, and only with CONFIG_WCE; false for anything else.
   * VIRTIO 1.3, 5.2.5
   */
  writeConfig(offset: number, bytes: Uint8Array): boolean {
    if (offset !== ConfigOffset.WRITEBACK || bytes.length !== 1 || bytes[0]! > 1) return false;
    // Before features are set the driver may have acknowledged it already, and the VMM not said so.
    const { features } = this.#state;
    if (features !== 0 && (features & Number(BLOCK_FEATURES.CONFIG_WCE)) === 0) return false;
    this.#config.setUint8(ConfigOffset.WRITEBACK, bytes[0]!);
    this.#state.updateWriteThrough(this.#config.getUint8(ConfigOffset.WRITEBACK) === 1);
    return true;
  }

  /**
   * Takes over what the driver acknowledged. One that can choose the cache mode and cannot flush starts with write-through.
   * VIRTIO 1.3, 5.2.5.2
   */
  negotiate(features: bigint): void {
    const { CONFIG_WCE, FLUSH } = BLOCK_FEATURES;
    if ((features & (CONFIG_WCE | FLUSH)) === CONFIG_WCE) this.#config.setUint8(ConfigOffset.WRITEBACK, 0);
    this.#state.negotiate(features, this.#config.getUint8(ConfigOffset.WRITEBACK) === 1);
  }

  /** Back to how the device was before any driver. */
  reset(): void {
    this.#config.setUint8(ConfigOffset.WRITEBACK, this.options.writeback ? 1 : 0);
    this.negotiate(0n);
  }

  #offers(feature: bigint): boolean {
    return (this.offeredFeatures & feature) !== 0n;
  }
}

function offer({ abilities, readOnly, queues }: BlockDeviceOptions): bigint {
  const { SIZE_MAX, SEG_MAX, RO, BLK_SIZE, FLUSH, TOPOLOGY, CONFIG_WCE, MQ } = BLOCK_FEATURES;
  const { INDIRECT_DESC, EVENT_IDX, VERSION_1, RING_PACKED, VHOST_USER_PROTOCOL_FEATURES } = RING_FEATURES;
  let features = SIZE_MAX | SEG_MAX | BLK_SIZE | FLUSH | TOPOLOGY | CONFIG_WCE;
  features |= INDIRECT_DESC | EVENT_IDX | VERSION_1 | RING_PACKED | VHOST_USER_PROTOCOL_FEATURES;
  if (queues > 1) features |= MQ;
  if (abilities.inOrder) features |= RING_FEATURES.IN_ORDER;
  if (readOnly) return features | RO;
  if (abilities.discard) features |= BLOCK_FEATURES.DISCARD;
  if (abilities.writeZeroes) features |= BLOCK_FEATURES.WRITE_ZEROES;
  if (abilities.secureErase) features |= BLOCK_FEATURES.SECURE_ERASE;
  return features;
}

/** What the sidecores read of a device, per request: a few words of shared memory behind its configuration space. */
export class BlockDeviceState {
  static readonly BYTES = 64;
  readonly #words: Int32Array;
  readonly #numbers: Float64Array;
  readonly #serial: Uint8Array;

  constructor(shared: SharedArrayBuffer) {
    this.#numbers = new Float64Array(shared, CONFIG_SPACE_BYTES_MAX, 1);
    this.#words = new Int32Array(shared, CONFIG_SPACE_BYTES_MAX + 8, 2);
    this.#serial = new Uint8Array(shared, CONFIG_SPACE_BYTES_MAX + 16, SERIAL_BYTES);
  }

  get capacitySectors(): number {
    return this.#numbers[0]!;
  }

  set capacitySectors(sectors: number) {
    this.#numbers[0] = sectors;
  }

  /** Whether a write must be durable when it completes. VIRTIO 1.3, 5.2.6.2 */
  get writeThrough(): boolean {
    return this.#words[0] === 1;
  }

  /** The negotiated features that concern requests: the lower 32 bits. */
  get features(): number {
    return this.#words[1]!;
  }

  /** The serial number, padded with zeros. */
  get serial(): Uint8Array {
    return this.#serial;
  }

  setSerial(serial: string): void {
    this.#serial.fill(0);
    this.#serial.set(Buffer.from(serial).subarray(0, SERIAL_BYTES));
  }

  /** With CONFIG_WCE the driver's choice counts, else the configuration's; a driver that knows neither gets write-through. */
  negotiate(features: bigint, writeback: boolean): void {
    this.#words[1] = Number(BigInt.asIntN(32, features));
    this.updateWriteThrough(writeback);
  }

  updateWriteThrough(writeback: boolean): void {
    const negotiated = (feature: bigint) => (this.features & Number(feature)) !== 0;
    const volatile = writeback && (negotiated(BLOCK_FEATURES.CONFIG_WCE) || negotiated(BLOCK_FEATURES.FLUSH));
    this.#words[0] = volatile ? 0 : 1;
  }
}
