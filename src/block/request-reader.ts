import type { GuestMemory } from '../guest-memory/guest-memory.js';
import { RANGES_MAX } from '../limits.js';
import type { BlockDeviceState } from './device.js';
import { SECTOR_BYTES, SERIAL_BYTES, Status } from './features.js';
import type { BlockRequest } from './request.js';

/** One range of DISCARD and its kin: sector (8 bytes), number of sectors (4), flags (4). VIRTIO 1.3, 5.2.6 */
const RANGE_BYTES = 16;
export const RANGE_UNMAP = 1;

/**
 * Copies `byteCount` bytes from the segments at `from` and takes them off; the chain has that many. Returns the first
 * segment that has bytes left.
 */
export function gather(
  memory: GuestMemory,
  request: BlockRequest,
  from: number,
  target: Buffer,
  byteCount: number,
): number {
  const { segments } = request.chain;
  let at = 0;
  let i = from;
  while (at < byteCount) {
    const offset = segments.offset[i]!;
    const length = segments.length[i]!;
    const piece = Math.min(length, byteCount - at);
    at += memory.bytes[segments.window[i]!]!.copy(target, at, offset, offset + piece);
    segments.offset[i] = offset + piece;
    segments.length[i] = length - piece;
    if (piece === length) i++;
  }
  return i;
}

/** Reads what the less frequent requests of a device have for data, and checks it against the standard. */
export class RequestReader {
  readonly #memory: GuestMemory;
  readonly #device: BlockDeviceState;
  readonly #readOnly: boolean;
  readonly #ranges = new Uint32Array((RANGES_MAX * RANGE_BYTES) / 4);
  readonly #rangeBytes = Buffer.from(this.#ranges.buffer);

  constructor(memory: GuestMemory, device: BlockDeviceState, readOnly: boolean) {
    this.#memory = memory;
    this.#device = device;
    this.#readOnly = readOnly;
  }

  /** Answers GET_ID. Returns its status. */
  giveId(request: BlockRequest): number {
    const { segments } = request.chain;
    const serial = this.#device.serial;
    if (request.dataBytes < SERIAL_BYTES) return Status.IOERR;
    let at = 0;
    for (let i = request.first; i < request.end && at < SERIAL_BYTES; i++) {
      const memory = this.#memory.bytes[segments.window[i]!]!;
      for (let j = 0; j < segments.length[i]! && at < SERIAL_BYTES; j++)
        memory[segments.offset[i]! + j] = serial[at++]!;
    }
    return Status.OK;
  }

  /**
   * Reads and checks the ranges of a request: undefined if they are good, or the status that the standard asks for.
   * VIRTIO 1.3, 5.2.6.2
   */
  ranges(request: BlockRequest, feature: number, sectorsMax: number, flagsAllowed: number): number | undefined {
    const { dataBytes } = request;
    if ((this.#device.features & feature) === 0) return Status.UNSUPP;
    if (this.#readOnly || request.chain.writableBytes !== 1) return Status.IOERR;
    if (dataBytes === 0 || dataBytes % RANGE_BYTES !== 0 || dataBytes > RANGES_MAX * RANGE_BYTES) return Status.IOERR;
    gather(this.#memory, request, request.first, this.#rangeBytes, dataBytes);
    const count = dataBytes / RANGE_BYTES;
    const ranges = this.#ranges;
    // A flag that is unknown here counts before anything else that is wrong with any range.
    let outside = false;
    for (let i = 0, word = 0; i < count; i++, word += 4) {
      const sector = ranges[word + 1]! * 2 ** 32 + ranges[word]!;
      const sectors = ranges[word + 2]!;
      const flags = ranges[word + 3]!;
      if ((flags & ~flagsAllowed) !== 0) return Status.UNSUPP;
      if (sectors > sectorsMax || sector + sectors > this.#device.capacitySectors) outside = true;
      request.rangeSector[i] = sector;
      request.rangeSectors[i] = sectors;
      request.costBytes += sectors * SECTOR_BYTES;
      request.rangeUnmap[i] = flags & RANGE_UNMAP;
    }
    request.rangeCount = count;
    request.durable = this.#device.writeThrough;
    return outside ? Status.IOERR : undefined;
  }
}
