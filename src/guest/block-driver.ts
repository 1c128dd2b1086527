import { ConfigOffset } from '../block/device.js';
import { BLOCK_FEATURES, RequestType, SECTOR_BYTES } from '../block/features.js';
import { createEventFd, signal } from '../host/eventfd.js';
import { close } from '../host/libc.js';
import { RING_FEATURES } from '../virtio/features.js';
import { DESCRIPTOR_BYTES, DESCRIPTOR_WORDS, DescriptorFlag } from '../virtio/ring-layout.js';
import { FrontEnd } from './front-end.js';
import { PackedDriver } from './packed-driver.js';
import { GuestRam } from './ram.js';
import { SplitDriver } from './split-driver.js';

/** How a built-in guest drives its disk. */
export interface BlockDriverOptions {
  readonly socket: string;
  /** Requests in flight at most, each queue. */
  readonly depth: number;
  /** Largest request, bytes. */
  readonly requestBytes: number;
  readonly queues?: number;
  /** Uses indirect descriptors, as Linux does, where the back end has them. */
  readonly indirect?: boolean;
  readonly eventIdx?: boolean;
  /** Uses packed rings, where the back end has them. */
  readonly packed?: boolean;
}

const HEADER_BYTES = 16;
/** A chain is header, data, status. */
const CHAIN = 3;
const STATUS_BYTES = 1;

/** What a queue of the built-in guest is made like. */
export interface BlockDriverQueueOptions {
  readonly depth: number;
  readonly requestBytes: number;
  readonly indirect: boolean;
  readonly eventIdx: boolean;
  readonly packed?: boolean;
}

const isRead = (type: number) => type === RequestType.IN || type === RequestType.GET_ID;

/** One request queue of the built-in guest: a fixed number of slots, each with its descriptors and its memory. */
export class BlockDriverQueue {
  readonly ring: SplitDriver | PackedDriver;
  readonly kickFd = createEventFd();
  readonly callFd = createEventFd();
  /** Kicks sent. */
  kicks = 0;
  readonly #ram: GuestRam;
  readonly #indirect: boolean;
  /** Per slot, guest physical: header, data, status byte, descriptors. */
  readonly #header: Uint32Array;
  readonly #data: Uint32Array;
  readonly #status: Uint32Array;
  readonly #chain: Uint32Array;

  constructor(ram: GuestRam, options: BlockDriverQueueOptions) {
    const { depth, requestBytes, indirect, eventIdx, packed = false } = options;
    this.#ram = ram;
    this.#indirect = indirect;
    const descriptors = Math.max(2, indirect ? depth : depth * CHAIN);
    this.ring = packed
      ? new PackedDriver(ram, descriptors, eventIdx)
      : new SplitDriver(ram, 2 ** Math.ceil(Math.log2(descriptors)), eventIdx);
    this.#header = new Uint32Array(depth);
    this.#data = new Uint32Array(depth);
    this.#status = new Uint32Array(depth);
    this.#chain = new Uint32Array(depth);
    for (let slot = 0; slot < depth; slot++) {
      this.#header[slot] = ram.allocate(HEADER_BYTES);
      this.#status[slot] = ram.allocate(STATUS_BYTES);
      this.#chain[slot] = indirect
        ? ram.allocate(CHAIN * DESCRIPTOR_BYTES)
        : this.ring.table + slot * CHAIN * DESCRIPTOR_BYTES;
    }
    for (let slot = 0; slot < depth; slot++) {
      this.#data[slot] = ram.allocate(requestBytes, 4096);
      this.#describe(slot);
    }
  }

  /** Makes a request available; the device sees it at the next `publish`. */
  submit(slot: number, type: number, sector: number, byteLength: number): void {
    const { words } = this.#ram;
    const header = this.#header[slot]! >>> 2;
    words[header] = type;
    words[header + 2] = sector;
    words[header + 3] = sector / 2 ** 32;
    const chain = this.#chain[slot]! >>> 2;
    const first = this.#indirect ? 0 : slot * CHAIN;
    if (this.#indirect && this.ring.packed) {
      this.#fillPackedTable(slot, type, byteLength);
    } else if (byteLength === 0) {
      words[chain + 3] = DescriptorFlag.NEXT | ((first + 2) << 16);
    } else {
      const write = isRead(type) ? DescriptorFlag.WRITE : 0;
      words[chain + 3] = DescriptorFlag.NEXT | ((first + 1) << 16);
      words[chain + 6] = byteLength;
      words[chain + 7] = DescriptorFlag.NEXT | write | ((first + 2) << 16);
    }
    this.#ram.bytes[this.#status[slot]!] = 0xff;
    this.ring.add(this.#indirect ? slot : slot * CHAIN);
  }

  /** Shows the device all requests submitted, with a kick if it wants one. */
  publish(): void {
    if (!this.ring.publish()) return;
    this.kicks++;
    signal(this.kickFd);
  }

  /** The slot of the next completed request, or -1. */
  take(): number {
    const head = this.ring.take();
    return this.#indirect || head < 0 ? head : (head / CHAIN) | 0;
  }

  /** Status byte of a completed request. */
  status(slot: number): number {
    return this.#ram.bytes[this.#status[slot]!]!;
  }

  /** Where a slot's data are in guest memory. */
  dataAddress(slot: number): number {
    return this.#data[slot]!;
  }

  close(): void {
    close(this.kickFd);
    close(this.callFd);
  }

  /**
   * A packed ring's table is as long as its chain: a request without data leaves the middle one out. Its descriptors have no flag
   * but WRITE. VIRTIO 1.3, 2.8.7
   */
  #fillPackedTable(slot: number, type: number, byteLength: number): void {
    const { words } = this.#ram;
    const chain = this.#chain[slot]! >>> 2;
    const count = byteLength === 0 ? CHAIN - 1 : CHAIN;
    words[(this.ring.table >>> 2) + slot * DESCRIPTOR_WORDS + 2] = count * DESCRIPTOR_BYTES;
    words[chain + 3] = 0;
    words[chain + 4] = this.#data[slot]!;
    words[chain + 6] = byteLength;
    words[chain + 7] = (isRead(type) ? DescriptorFlag.WRITE : 0) << 16;
    const status = chain + (count - 1) * DESCRIPTOR_WORDS;
    words[status] = this.#status[slot]!;
    words[status + 2] = STATUS_BYTES;
    words[status + 3] = DescriptorFlag.WRITE << 16;
  }

  /** Writes the parts of a slot's descriptors that never change. */
  #describe(slot: number): void {
    const { words } = this.#ram;
    const put = (at: number, address: number, length: number, flags: number, next: number) => {
      const word = at >>> 2;
      words[word] = address;
      words[word + 1] = 0;
      words[word + 2] = length;
      words[word + 3] = flags | (next << 16);
    };
    const chain = this.#chain[slot]!;
    const first = this.#indirect ? 0 : slot * CHAIN;
    put(chain, this.#header[slot]!, HEADER_BYTES, DescriptorFlag.NEXT, first + 1);
    put(chain + DESCRIPTOR_BYTES, this.#data[slot]!, 0, DescriptorFlag.NEXT, first + 2);
    put(chain + 2 * DESCRIPTOR_BYTES, this.#status[slot]!, STATUS_BYTES, DescriptorFlag.WRITE, 0);
    if (!this.#indirect) return;
    const head = this.ring.table + slot * DESCRIPTOR_BYTES;
    put(head, chain, CHAIN * DESCRIPTOR_BYTES, DescriptorFlag.INDIRECT, 0);
  }
}

/** A built-in guest with one virtio-blk disk: memory of its own, a real vhost-user socket, a polling driver. */
export class BlockDriver {
  readonly ram: GuestRam;
  readonly frontEnd: FrontEnd;
  readonly queues: readonly BlockDriverQueue[];
  /** Bytes. */
  readonly capacity: number;

  private constructor(ram: GuestRam, frontEnd: FrontEnd, queues: readonly BlockDriverQueue[], capacity: number) {
    this.ram = ram;
    this.frontEnd = frontEnd;
    this.queues = queues;
    this.capacity = capacity;
  }

  /** Connects to a back end and brings all queues up. */
  static async connect(options: BlockDriverOptions): Promise<BlockDriver> {
    const { socket, depth, requestBytes, queues: queueCount = 1, indirect = false, eventIdx = true } = options;
    const { packed = false } = options;
    const frontEnd = await FrontEnd.connect(socket);
    let wanted = RING_FEATURES.VERSION_1 | BLOCK_FEATURES.FLUSH | BLOCK_FEATURES.BLK_SIZE | BLOCK_FEATURES.SEG_MAX;
    wanted |= BLOCK_FEATURES.DISCARD | BLOCK_FEATURES.WRITE_ZEROES | BLOCK_FEATURES.MQ | BLOCK_FEATURES.RO;
    if (indirect) wanted |= RING_FEATURES.INDIRECT_DESC;
    if (eventIdx) wanted |= RING_FEATURES.EVENT_IDX;
    if (packed) wanted |= RING_FEATURES.RING_PACKED;
    await frontEnd.negotiate(wanted);
    const has = (feature: bigint) => (frontEnd.features & feature) !== 0n;

    const perQueue = depth * (Math.ceil(requestBytes / 4096) * 4096 + 512) + 64 * 1024 + depth * CHAIN * 128;
    const ram = new GuestRam(queueCount * perQueue + 2 ** 20);
    const queueOptions = {
      depth,
      requestBytes,
      indirect: has(RING_FEATURES.INDIRECT_DESC),
      eventIdx: has(RING_FEATURES.EVENT_IDX),
      packed: has(RING_FEATURES.RING_PACKED),
    };
    const queues = Array.from({ length: queueCount }, () => new BlockDriverQueue(ram, queueOptions));
    const user = ram.userAddress;
    await frontEnd.shareMemory(
      [{ guestAddress: 0n, size: BigInt(ram.byteLength), userAddress: BigInt(user), mmapOffset: 0n }],
      [ram.fd],
    );
    const config = await frontEnd.readConfig(ConfigOffset.CAPACITY, 8);
    for (const [index, { ring, kickFd, callFd }] of queues.entries()) {
      await frontEnd.startRing({
        index,
        size: ring.size,
        base: ring.base,
        descriptors: user + ring.descriptors,
        available: user + ring.available,
        used: user + ring.used,
        kickFd,
        callFd,
      });
    }
    return new BlockDriver(ram, frontEnd, queues, Number(config.readBigUInt64LE(0)) * SECTOR_BYTES);
  }

  /** Leaves: the back end sees the connection end. */
  close(): void {
    this.frontEnd.close();
    for (const queue of this.queues) queue.close();
    this.ram.close();
  }
}
