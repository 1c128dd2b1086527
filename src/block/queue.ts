import type { GuestMemory } from '../guest-memory/guest-memory.js';
import {
  DESCRIPTOR_WORK_BYTES,
  DEVICE_REQUESTS_IN_FLIGHT_MAX,
  DISCARD_SECTORS_MAX,
  PIECE_BYTES,
  PUBLISH_REQUESTS,
  QUEUE_REQUESTS_IN_FLIGHT_MIN,
  REQUEST_BYTES_MAX,
  SECURE_ERASE_SECTORS_MAX,
  WRITE_ZEROES_SECTORS_MAX,
} from '../limits.js';
import type { CallLine } from '../virtio/call-line.js';
import type { DeviceQueue, QueueHost } from '../virtio/device-queue.js';
import { REQUEST_MALFORMED } from '../virtio/queue-faults.js';
import { QueueCounter, type QueueState } from '../virtio/queue-state.js';
import { Pop, type Virtqueue } from '../virtio/virtqueue.js';
import { type BlockBackend, MORE, PENDING } from './backends/backend.js';
import type { BlockDeviceState } from './device.js';
import { BLOCK_FEATURES, RequestType, SECTOR_BYTES, SERIAL_BYTES, Status } from './features.js';
import type { BlockRequest, RequestPool } from './request.js';
import { gather, RANGE_UNMAP, RequestReader } from './request-reader.js';

/** Request header: type, reserved, sector. VIRTIO 1.3, 5.2.6 */
const HEADER_BYTES = 16;

/** Descriptors of a request that its own work includes; each other counts as so many bytes. */
const DESCRIPTORS_FREE = 4;

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
  /** Changes only while the queue is settled. */
  backend: BlockBackend;
  /** Requests taken and not yet in the used ring. */
  inFlight = 0;
  /** Nothing new is taken, for as long as it is so. */
  held = false;
  /** Set while the queue has completions that are not published. The sidecore's. */
  dirty = false;
  /** No more chains are taken: the queue is being stopped, or has a fault. */
  closed = false;
  servedBytes = 0;
  readonly #memory: GuestMemory;
  readonly #device: BlockDeviceState;
  readonly #readOnly: boolean;
  readonly #host: BlockQueueHost;
  readonly #reader: RequestReader;
  readonly #calls: CallLine;
  readonly #inFlightMax: number;
  readonly #header = new Uint32Array(HEADER_BYTES / 4);
  readonly #headerBytes = Buffer.from(this.#header.buffer);
  readonly #counters: Float64Array;
  /** Chains of `ring.unfinished`, and how many of them were taken again. */
  readonly #unfinished: number;
  #retaken = 0;
  /** A long request that is being done piece by piece, and what is left of it, bytes; nothing new is begun meanwhile. */
  #begun: BlockRequest | undefined = undefined;
  #begunBytes = 0;
  /** Bytes after which a request is divided. */
  #pieceBytes = PIECE_BYTES;

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
    this.#reader = new RequestReader(parts.memory, parts.device, parts.readOnly);
    this.#calls = parts.calls;
    const share = Math.floor(DEVICE_REQUESTS_IN_FLIGHT_MAX / parts.queues);
    this.#inFlightMax = Math.max(QUEUE_REQUESTS_IN_FLIGHT_MIN, share);
    this.#counters = parts.state.counters;
    this.#unfinished = parts.ring.unfinished.length;
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
    while (this.#retaken < this.#unfinished && !this.closed && this.#begun === undefined) {
      if (this.servedBytes >= this.#pieceBytes) return;
      const request = this.#host.pool.take(0);
      if (request === undefined) return;
      this.#counters[QueueCounter.RETAKEN]!++;
      const result = this.ring.retake(unfinished[this.#retaken++]!, request.chain);
      if (result < 0) return this.#refuse(request, result);
      this.#start(request);
    }
  }

  pending(): number {
    if (this.#begun !== undefined) return 1 + this.ring.waiting();
    if (this.#retaken < this.#unfinished) return this.#unfinished - this.#retaken;
    if (this.held) return 0;
    return this.inFlight >= this.#inFlightMax ? 0 : this.ring.waiting();
  }

  serve(limit: number, bytesMax: number): number {
    const { ring } = this;
    const { pool } = this.#host;
    let taken = 0;
    let proceeded = 0;
    this.servedBytes = 0;
    this.#pieceBytes = bytesMax;
    if (this.#begun !== undefined) proceeded = this.#proceed(this.#begun);
    const before = this.#retaken;
    if (before < this.#unfinished) this.#retake();
    proceeded += this.#retaken - before;
    const most = this.held ? 0 : limit;
    while (taken < most && this.servedBytes < bytesMax && this.inFlight < this.#inFlightMax && !this.closed) {
      if (this.#begun !== undefined) break;
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
      if (taken % PUBLISH_REQUESTS === 0) this.#show();
    }
    if (taken > 0) this.#counters[QueueCounter.REQUESTS]! += taken;
    return taken + proceeded;
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

  /** Nothing of it is in flight, or waits to be done again. */
  get settled(): boolean {
    return this.inFlight === 0 && this.#retaken === this.#unfinished;
  }

  /** A kick does not end a hold. */
  start(): void {
    if (!this.held) this.backend.resume?.();
  }

  quiesce(): boolean {
    return this.backend.quiesce?.() ?? true;
  }

  hurry(): void {
    this.backend.hurry?.();
  }

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
    request.pieceBytes = this.#pieceBytes;
    const status = this.#submit(request);
    const { descriptors } = request.chain;
    if (descriptors > DESCRIPTORS_FREE) this.servedBytes += (descriptors - DESCRIPTORS_FREE) * DESCRIPTOR_WORK_BYTES;
    if (status === MORE) return this.#pause(request, request.costBytes);
    // What was refused has cost nothing, however much it asked for.
    if (status === Status.OK || status === PENDING) this.servedBytes += request.costBytes;
    if (status !== PENDING) this.complete(request, status);
  }

  /** A piece of a request is done, of which so many bytes were left. */
  #pause(request: BlockRequest, leftBytes: number): void {
    this.servedBytes += this.#pieceBytes;
    this.#begun = request;
    this.#begunBytes = leftBytes - this.#pieceBytes;
  }

  /** Goes on with a long request. Returns one, for that is something done. */
  #proceed(request: BlockRequest): number {
    request.pieceBytes = this.#pieceBytes;
    const status = this.backend.proceed!(request);
    if (status === MORE) this.#pause(request, this.#begunBytes);
    else {
      this.servedBytes += this.#begunBytes;
      this.#begun = undefined;
      if (status !== PENDING) this.complete(request, status);
    }
    return 1;
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
    const first = gather(this.#memory, request, 0, this.#headerBytes, HEADER_BYTES);
    const header = this.#header;
    request.type = header[0]!;
    request.sector = header[3]! * 2 ** 32 + header[2]!;
    return first;
  }

  /** Checks a request against the standard and hands it to the back end. Returns its status, `PENDING` or `MORE`. */
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
        return this.#reader.giveId(request);
      case RequestType.DISCARD:
        return this.#reader.ranges(request, DISCARD, DISCARD_SECTORS_MAX, 0) ?? this.backend.discard(request);
      case RequestType.WRITE_ZEROES:
        return (
          this.#reader.ranges(request, WRITE_ZEROES, WRITE_ZEROES_SECTORS_MAX, RANGE_UNMAP) ??
          this.backend.writeZeroes(request)
        );
      case RequestType.SECURE_ERASE:
        return (
          this.#reader.ranges(request, SECURE_ERASE, SECURE_ERASE_SECTORS_MAX, 0) ?? this.backend.secureErase(request)
        );
      default:
        return Status.UNSUPP;
    }
  }

  #withinDisk(request: BlockRequest): boolean {
    const { dataBytes } = request;
    if (dataBytes > REQUEST_BYTES_MAX) return false;
    return dataBytes % SECTOR_BYTES === 0 && request.sector + dataBytes / SECTOR_BYTES <= this.#device.capacitySectors;
  }
}
