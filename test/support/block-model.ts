/** A block device as the standard describes it, on a plain buffer. VIRTIO 1.3, 5.2.6 */
import {
  DISCARD_SECTORS_MAX,
  RANGES_MAX,
  SECURE_ERASE_SECTORS_MAX,
  WRITE_ZEROES_SECTORS_MAX,
} from '../../src/limits.js';

const OK = 0;
const IOERR = 1;
const UNSUPP = 2;

/** Feature bit and largest range of the commands that have ranges, by type. */
const RANGED: Record<number, { feature: bigint; sectorsMax: number; flags: number }> = {
  11: { feature: 1n << 13n, sectorsMax: DISCARD_SECTORS_MAX, flags: 0 },
  13: { feature: 1n << 14n, sectorsMax: WRITE_ZEROES_SECTORS_MAX, flags: 1 },
  14: { feature: 1n << 16n, sectorsMax: SECURE_ERASE_SECTORS_MAX, flags: 0 },
};

export interface ModelAnswer {
  readonly status: number;
  /** The data that the driver finds; what it had before where the model does not say. */
  readonly data?: Buffer;
}

export class BlockModel {
  readonly disk: Buffer;
  readonly #features: bigint;
  readonly #readOnly: boolean;
  readonly #serial: string;

  constructor(bytes: number, features: bigint, readOnly: boolean, serial: string) {
    this.disk = Buffer.alloc(bytes);
    this.#features = features;
    this.#readOnly = readOnly;
    this.#serial = serial;
  }

  /** Carries a request out: its readable bytes, and how many bytes of data the device may write. */
  answer(readable: Buffer, dataBytes: number): ModelAnswer {
    const type = readable.readUInt32LE(0);
    const sector = readable.readBigUInt64LE(8);
    const data = readable.subarray(16);
    switch (type) {
      case 0:
        if (data.length > 0 || !this.#holds(sector, dataBytes)) return { status: IOERR };
        return { status: OK, data: Buffer.from(this.#slice(sector, dataBytes)) };
      case 1:
        if (this.#readOnly || dataBytes > 0 || !this.#holds(sector, data.length)) return { status: IOERR };
        data.copy(this.#slice(sector, data.length));
        return { status: OK };
      case 4:
        return { status: OK };
      case 8:
        if (dataBytes < 20) return { status: IOERR };
        return { status: OK, data: Buffer.from(this.#serial.padEnd(20, '\0')) };
      case 11:
      case 13:
      case 14:
        return { status: this.#ranged(type, data, dataBytes) };
      default:
        return { status: UNSUPP };
    }
  }

  #ranged(type: number, data: Buffer, dataBytes: number): number {
    const { feature, sectorsMax, flags } = RANGED[type]!;
    if ((this.#features & feature) === 0n) return UNSUPP;
    if (this.#readOnly || dataBytes > 0) return IOERR;
    if (data.length === 0 || data.length % 16 !== 0 || data.length > 16 * RANGES_MAX) return IOERR;
    const list = Array.from({ length: data.length / 16 }, (_, i) => ({
      sector: data.readBigUInt64LE(16 * i),
      sectors: data.readUInt32LE(16 * i + 8),
      flags: data.readUInt32LE(16 * i + 12),
    }));
    // Any unknown flag is UNSUPP, whatever else is wrong.
    if (list.some((range) => (range.flags & ~flags) !== 0)) return UNSUPP;
    for (const { sector, sectors } of list) {
      if (sectors > sectorsMax || !this.#holds(sector, sectors * 512)) return IOERR;
    }
    // What was discarded may read as anything by the standard, and as zeros by our own contract of back ends.
    for (const { sector, sectors } of list) this.#slice(sector, sectors * 512).fill(0);
    return OK;
  }

  #holds(sector: bigint, bytes: number): boolean {
    return bytes % 512 === 0 && sector * 512n + BigInt(bytes) <= BigInt(this.disk.length);
  }

  #slice(sector: bigint, bytes: number): Buffer {
    const from = Number(sector) * 512;
    return this.disk.subarray(from, from + bytes);
  }
}
