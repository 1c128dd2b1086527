import type { GuestMemory } from '../guest-memory/guest-memory.js';
import {
  BATCH_BYTES_MAX,
  DEVICE_REQUESTS_IN_FLIGHT_MAX,
  DISCARD_SECTORS_MAX,
  PUBLISH_REQUESTS,
  QUEUE_REQUESTS_IN_FLIGHT_MIN,
  RANGES_MAX,
  REQUEST_BYTES_MAX,
  SECURE_ERASE_SECTORS_MAX,
  WRITE_ZEROES_SECTORS_MAX,
} from '../limits.js';
import type { CallLine } from '../virtio/call-line.js';
import type { DeviceQueue, QueueHost } from '../virtio/device-queue.js';
import { REQUEST_MALFORMED } from '../virtio/queue-faults.js';
import { QueueCounter, type QueueState } from '../virtio/queue-state.js';
import { Pop, type Virtqueue } from '../virtio/virtqueue.js';
import { type BlockBackend, PENDING } from './backends/backend.js';
import type { BlockDeviceState } from './device.js';
import { BLOCK_FEATURES, RequestType, SECTOR_BYTES, SERIAL_BYTES, Status } from './features.js';
import type { BlockRequest, RequestPool } from './request.js';

/** Request header: type, reserved, sector. VIRTIO 1.3, 5.2.6 */
const HEADER_BYTES = 16;
/** One range of DISCARD and its kin: sector (8 bytes), number of sectors (4), flags (4). VIRTIO 1.3, 5.2.6 */
const RANGE_BYTES = 16;
const RANGE_UNMAP = 1;

const DISCARD = Number(BLOCK_FEATURES.DISCARD);
const WRITE_ZEROES = Number(BLOCK_FEATURES.WRITE_ZEROES);
const SECURE_ERASE = Number(BLOCK_FEATURES.SECURE_ERASE);

/** What a block queue needs of the sidecore that serves it. */
export interface BlockQueueHost extends QueueHost {
  readonly pool: RequestPool;
}

/**
 * One virtqueue of a block device, on the sidecore that serves it: takes chains, reads them as requests, checks them
 * against the standard, hands them to the back end, and gives them back.
 */
export class BlockQueue implements DeviceQueue {
  readonly passive = false;
  readonly ring: Virtqueue;
  readonly state: QueueState;
  readonly backend: BlockBackend;
  /** Requests taken and not yet in the used ring. */
  inFlight = 0;
  /** Set while the queue has completions that are not published. The sidecore's. */
  dirty = false;
  /** No more chains are taken: the queue is being stopped, or has a fault. */
  closed = false;
  readonly #memory: GuestMemory;
  readonly #device: BlockDeviceState;
  readonly #readOnly: boolean;
  readonly #host: BlockQueueHost;
  readonly #calls: CallLine;
  readonly #inFlightMax: number;
  readonly #header = new Uint32Array(HEADER_BYTES / 4);
  readonly #headerBytes = Buffer.from(this.#header.buffer);
  readonly #ranges = new Uint32Array((RANGES_MAX * RANGE_BYTES) / 4);
  readonly #rangeBytes = Buffer.from(this.#ranges.buffer);
  readonly #counters: Float64Array;
  /** Chains of `ring.unfinished` that were taken again. */
  #retaken = 0;

  constructor(parts: {
    ring: Virtqueue;
    memory: GuestMemory;
    state: QueueState;
    device: BlockDeviceState;
    readOnly: boolean;
    /** Queues of the device. */
    queues: number;
    backend: BlockBackend;
    host: BlockQueueHost;
    calls: CallLine;
  }) {
    this.ring = parts.ring;
    this.state = parts.state;
    this.#memory = parts.memory;
    this.#device = parts.device;
    this.#readOnly = parts.readOnly;
    this.backend = parts.backend;
    this.#host = parts.host;
    this.#calls = parts.calls;
    const share = Math.floor(DEVICE_REQUESTS_IN_FLIGHT_MAX / parts.queues);
    this.#inFlightMax = Math.max(QUEUE_REQUESTS_IN_FLIGHT_MIN, share);
    this.#counters = parts.state.counters;
  }

  /**
   * Does again what a sidecore that died had taken. Call once, before the first `serve`. The driver gets a call, for it may
   * wait for one that the dead sidecore owed it: it had shown completions, and died before it could call.
   */
  retakeUnfinished(): void {
    this.#calls.call();
    this.#retake();
  }

  /** Goes on with that as far as the pool has requests; the rest has its turn before anything new. */
  #retake(): void {
    const { unfinished } = this.ring;
    while (this.#retaken < unfinished.length && !this.closed) {
      const request = this.#host.pool.take(0);
      if (request === undefined) return;
      this.#counters[QueueCounter.RETAKEN]!++;
      const result = this.ring.retake(unfinished[this.#retaken++]!, request.chain);
      if (result < 0) return this.#refuse(request, result);
      this.#start(request);
    }
  }

  /** Takes up to `limit` chains and starts them. Returns how many. */
  serve(limit: number): number {
    const { ring } = this;
    const { pool } = this.#host;
    let taken = 0;
    let bytes = 0;
    if (this.#retaken < ring.unfinished.length) this.#retake();
    if (ring.waiting() === 0) return 0;
    while (taken < limit && bytes < BATCH_BYTES_MAX && this.inFlight < this.#inFlightMax && !this.closed) {
      const request = pool.take(this.inFlight);
      if (request === undefined) break;
      const head = ring.pop(request.chain);
      if (head < 0) {
        if (head === Pop.EMPTY) pool.giveBack(request);
        else this.#refuse(request, head);
        break;
      }
      taken++;
      this.#start(request);
      bytes += request.costBytes;
      if (taken % PUBLISH_REQUESTS === 0) this.#show();
    }
    if (taken > 0) {
      this.#counters[QueueCounter.REQUESTS]! += taken;
      this.#counters[QueueCounter.BATCHES]!++;
    }
    return taken;
  }

  /** Ends a request: writes its status, puts it into the used ring, unpublished. */
  complete(request: BlockRequest, status: number): void {
    this.#memory.bytes[request.statusWindow]![request.statusOffset] = status;
    // So many bytes from the first writable one on are written, which leaves the status byte out where others stay before it.
    let written = request.chain.writableBytes === 1 ? 1 : 0;
    if (status !== Status.OK) this.#counters[QueueCounter.ERRORS]!++;
    else if (request.type === RequestType.IN) {
      written = request.dataBytes + 1;
      this.#counters[QueueCounter.BYTES_READ]! += request.dataBytes;
    } else if (request.type === RequestType.GET_ID) {
      // Without the status byte, if there is a gap before it.
      written = request.dataBytes === SERIAL_BYTES ? SERIAL_BYTES + 1 : SERIAL_BYTES;
    } else if (request.type === RequestType.OUT) this.#counters[QueueCounter.BYTES_WRITTEN]! += request.dataBytes;
    this.ring.push(request.chain.head, written);
    this.inFlight--;
    this.#host.pool.giveBack(request);
    if (!this.dirty) {
      this.dirty = true;
      this.#host.markDirty(this);
    }
  }

  /** Shows the driver all completions of this turn, and calls it if it wants to be called. */
  publish(): void {
    this.dirty = false;
    this.#show();
  }

  #show(): void {
    this.#calls.publish(this.inFlight > 0 || this.ring.waiting() > 0);
  }

  start(): void {}

  close(): void {
    this.#calls.end();
    this.backend.close();
  }

  #start(request: BlockRequest): void {
    request.queue = this;
    request.memory = this.#memory;
    this.inFlight++;
    if (!this.#parse(request)) {
      this.inFlight--;
      return this.#refuse(request, REQUEST_MALFORMED);
    }
    const status = this.#submit(request);
    if (status !== PENDING) this.complete(request, status);
  }

  /** Stops the queue for a chain that cannot be answered. */
  #refuse(request: BlockRequest, fault: number): void {
    this.#host.pool.giveBack(request);
    this.#fail(fault);
  }

  #fail(fault: number): void {
    this.closed = true;
    this.state.fault = fault;
  }

  /** Finds header, data and status byte in the chain, whatever its framing. VIRTIO 1.3, 2.7.4 and 5.2.6 */
  #parse(request: BlockRequest): boolean {
    const { chain } = request;
    const { segments } = chain;
    if (chain.readableBytes < HEADER_BYTES || chain.writableBytes < 1) return false;

    const last = segments.count - 1;
    const lastLength = segments.length[last]! - 1;
    request.statusWindow = segments.window[last]!;
    request.statusOffset = segments.offset[last]! + lastLength;
    segments.length[last] = lastLength;
    const writableEnd = lastLength === 0 ? last : last + 1;

    const first = this.#readHeader(request);
    const isRead = request.type === RequestType.IN || request.type === RequestType.GET_ID;
    request.first = isRead ? chain.readableCount : first;
    request.end = isRead ? writableEnd : chain.readableCount;
    request.dataBytes = isRead ? chain.writableBytes - 1 : chain.readableBytes - HEADER_BYTES;
    request.costBytes = request.dataBytes;
    return true;
  }

  /** Takes the header off the front of the chain; returns the first segment that has bytes left. */
  #readHeader(request: BlockRequest): number {
    const { segments } = request.chain;
    const offset = segments.offset[0]!;
    if (segments.length[0] === HEADER_BYTES && (offset & 3) === 0) {
      const words = this.#memory.words[segments.window[0]!]!;
      const word = offset >>> 2;
      request.type = words[word]!;
      request.sector = words[word + 3]! * 2 ** 32 + words[word + 2]!;
      return 1;
    }
    const first = this.#gather(request, 0, this.#headerBytes, HEADER_BYTES);
    const header = this.#header;
    request.type = header[0]!;
    request.sector = header[3]! * 2 ** 32 + header[2]!;
    return first;
  }

  /**
   * Copies `byteCount` bytes from the segments at `from` and takes them off; the chain has that many. Returns the first
   * segment that has bytes left.
   */
  #gather(request: BlockRequest, from: number, target: Buffer, byteCount: number): number {
    const { segments } = request.chain;
    let at = 0;
    let i = from;
    while (at < byteCount) {
      const offset = segments.offset[i]!;
      const length = segments.length[i]!;
      const piece = Math.min(length, byteCount - at);
      at += this.#memory.bytes[segments.window[i]!]!.copy(target, at, offset, offset + piece);
      segments.offset[i] = offset + piece;
      segments.length[i] = length - piece;
      if (piece === length) i++;
    }
    return i;
  }

  /** Checks a request against the standard and hands it to the back end. Returns its status or `PENDING`. */
  #submit(request: BlockRequest): number {
    switch (request.type) {
      case RequestType.IN:
        // Data to read from in a request that asks for data is a driver's mistake.
        if (request.chain.readableBytes !== HEADER_BYTES || !this.#withinDisk(request)) return Status.IOERR;
        return request.dataBytes === 0 ? Status.OK : this.backend.read(request);
      case RequestType.OUT:
        if (this.#readOnly || request.chain.writableBytes !== 1 || !this.#withinDisk(request)) return Status.IOERR;
        request.durable = this.#device.writeThrough;
        return request.dataBytes === 0 ? Status.OK : this.backend.write(request);
      case RequestType.FLUSH:
        this.#counters[QueueCounter.FLUSHES]!++;
        return this.#readOnly ? Status.OK : this.backend.flush(request);
      case RequestType.GET_ID:
        return this.#getId(request);
      case RequestType.DISCARD:
        return this.#ranged(request, DISCARD, DISCARD_SECTORS_MAX, 0) ?? this.backend.discard(request);
      case RequestType.WRITE_ZEROES:
        return (
          this.#ranged(request, WRITE_ZEROES, WRITE_ZEROES_SECTORS_MAX, RANGE_UNMAP) ??
          this.backend.writeZeroes(request)
        );
      case RequestType.SECURE_ERASE:
        return this.#ranged(request, SECURE_ERASE, SECURE_ERASE_SECTORS_MAX, 0) ?? this.backend.secureErase(request);
      default:
        return Status.UNSUPP;
    }
  }

  #withinDisk(request: BlockRequest): boolean {
    const { dataBytes } = request;
    if (dataBytes > REQUEST_BYTES_MAX) return false;
    return dataBytes % SECTOR_BYTES === 0 && request.sector + dataBytes / SECTOR_BYTES <= this.#device.capacitySectors;
  }

  #getId(request: BlockRequest): number {
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
  #ranged(request: BlockRequest, feature: number, sectorsMax: number, flagsAllowed: number): number | undefined {
    const { dataBytes } = request;
    if ((this.#device.features & feature) === 0) return Status.UNSUPP;
    if (this.#readOnly || request.chain.writableBytes !== 1) return Status.IOERR;
    if (dataBytes === 0 || dataBytes % RANGE_BYTES !== 0 || dataBytes > RANGES_MAX * RANGE_BYTES) return Status.IOERR;
    this.#gather(request, request.first, this.#rangeBytes, dataBytes);
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
