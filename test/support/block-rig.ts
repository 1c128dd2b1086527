/** Queues of a block device with a disk in memory, driven by descriptors in a guest's memory; no thread, no socket. */
import assert from 'node:assert/strict';
import type { BackendAbilities, BlockBackend } from '../../src/block/backends/backend.js';
import { MemoryBackend } from '../../src/block/backends/memory/backend.js';
import { BlockDevice, BlockDeviceState } from '../../src/block/device.js';
import { SECTOR_BYTES } from '../../src/block/features.js';
import { BlockQueue, type BlockQueueHost } from '../../src/block/queue.js';
import { RequestPool } from '../../src/block/request.js';
import { type MemoryMap, mapAnonymous, PAGE_BYTES, unmap } from '../../src/host/memory-map.js';
import { viewBytes } from '../../src/host/memory-view.js';
import { BATCH_BYTES_MAX, BATCH_REQUESTS_MAX } from '../../src/limits.js';
import { CallDesk } from '../../src/scheduler/call-desk.js';
import type { CallPolicy } from '../../src/scheduler/call-wait.js';
import { CallLine } from '../../src/virtio/call-line.js';
import { QueueState } from '../../src/virtio/queue-state.js';
import type { Virtqueue } from '../../src/virtio/virtqueue.js';
import type { DriverSide, Element, Used } from '../conformance/virtqueue-layout.js';
import { createSplitRing } from '../conformance/virtqueue-split.js';
import { CANARY, TestMemory } from './guest-memory.js';

/** Guest physical addresses of two regions that touch, and what a window is: small, so that requests cross them. */
export const RAM = { guestAddress: 0x4_0000, size: 2 ** 17 };
export const MORE_RAM = { guestAddress: 0x6_0000, size: 2 ** 17 };
export const RAM_END = MORE_RAM.guestAddress + MORE_RAM.size;
const WINDOW_BYTES = 2 ** 15;

export interface BlockRigOptions {
  readonly sectors?: number;
  readonly readOnly?: boolean;
  /** What the driver acknowledges; everything offered if left out. */
  readonly features?: bigint;
  readonly queues?: number;
  readonly ringSize?: number;
  readonly eventIdx?: boolean;
  /** Where the first queue's ring lies in guest memory; all others are elsewhere. */
  readonly ringAt?: number;
  /** Event counter for calls. */
  readonly callFd?: number;
  /** Whether calls may wait for more; they do not if it is left out. */
  readonly policy?: CallPolicy;
  /** Requests that all queues share: how many, or those of another rig. */
  readonly pool?: number | RequestPool;
  /** In place of a disk in memory. */
  readonly backend?: BlockBackend;
}

/** One queue with its ring. */
export interface RigQueue {
  queue: BlockQueue;
  readonly ring: Virtqueue;
  readonly driver: DriverSide;
  readonly state: QueueState;
  /** The queue as another thread takes it over. */
  takeOver(): BlockQueue;
}

export class BlockRig implements BlockQueueHost {
  readonly memory = new TestMemory([RAM, MORE_RAM], WINDOW_BYTES);
  readonly device: BlockDevice;
  readonly pool: RequestPool;
  readonly queues: readonly RigQueue[];
  /** The disk's bytes. */
  readonly disk: Buffer;
  readonly dirty: BlockQueue[] = [];
  /** Where its calls wait, if they may. */
  readonly waiting = new CallDesk((into, slot) => {
    into[slot] = this.nowNs;
  });
  nowNs = 1;
  readonly #diskMap: MemoryMap;
  readonly #around: readonly Buffer[];
  readonly #canary: Buffer;
  readonly #releases: (() => void)[] = [];

  constructor(options: BlockRigOptions = {}) {
    const {
      sectors = 256,
      readOnly = false,
      queues = 1,
      ringSize = 256,
      eventIdx = false,
      callFd = -1,
      pool = 8,
      ringAt,
    } = options;
    const diskBytes = sectors * SECTOR_BYTES;
    const pages = Math.ceil(diskBytes / PAGE_BYTES) * PAGE_BYTES;
    this.#diskMap = mapAnonymous(pages + 2 * PAGE_BYTES);
    const address = this.#diskMap.address + PAGE_BYTES;
    this.disk = viewBytes(address, diskBytes);
    this.#around = [
      viewBytes(this.#diskMap.address, PAGE_BYTES),
      viewBytes(address + diskBytes, pages - diskBytes + PAGE_BYTES),
    ];
    for (const canary of this.#around) canary.fill(CANARY);
    this.#canary = Buffer.concat(this.#around);
    const abilities: BackendAbilities = {
      sizeBytes: diskBytes,
      readOnly,
      discard: true,
      writeZeroes: true,
      secureErase: true,
      inOrder: false,
      physicalBlockBytes: 4096,
    };
    this.device = new BlockDevice({
      abilities,
      readOnly,
      blockBytes: 512,
      queues,
      serial: 'a serial number',
      writeback: true,
    });
    const features = options.features ?? this.device.offeredFeatures;
    this.device.negotiate(features);
    this.pool = typeof pool === 'number' ? new RequestPool(pool) : pool;
    this.queues = Array.from({ length: queues }, (_, index) => {
      const setup = { size: ringSize, eventIdx, indirect: true, start: 65_530 };
      const at = index === 0 && ringAt !== undefined ? this.memory.pieces(ringAt, 1)![0]!.host : undefined;
      const { driver, device, release } = createSplitRing(setup, at);
      this.#releases.push(release);
      const state = QueueState.create(ringSize);
      const open = (ring: Virtqueue) =>
        new BlockQueue({
          ring,
          memory: this.memory.guest,
          state,
          device: new BlockDeviceState(this.device.shared),
          readOnly,
          queues: 1,
          backend: options.backend ?? new MemoryBackend(address, diskBytes),
          host: this,
          calls: new CallLine({ ring, state, callFd, host: this.waiting, policy: options.policy }),
        });
      const ring = device(this.memory.guest, state.inflight, false);
      const takeOver = () => open(device(this.memory.guest, state.inflight, true));
      return { queue: open(ring), ring, driver, state, takeOver };
    });
  }

  markDirty(queue: BlockQueue): void {
    assert.ok(!this.dirty.includes(queue), 'a queue is marked twice');
    this.dirty.push(queue);
  }

  /** A turn of a sidecore: a batch from each queue, and everything that is complete published. */
  turn(): void {
    for (const { queue } of this.queues) queue.serve(BATCH_REQUESTS_MAX, BATCH_BYTES_MAX);
    this.publish();
  }

  publish(): void {
    for (const queue of this.dirty.splice(0)) queue.publish();
  }

  /** Sends one chain through a queue: what was given back, or undefined if it was not. */
  pass(elements: readonly Element[], index = 0): Used | undefined {
    const { driver } = this.queues[index]!;
    driver.add(elements);
    driver.publish();
    this.turn();
    return driver.take();
  }

  /** How many requests the pool has left. */
  get free(): number {
    const requests = [];
    for (let request = this.pool.take(0); request !== undefined; request = this.pool.take(0)) requests.push(request);
    for (const request of requests.reverse()) this.pool.giveBack(request);
    return requests.length;
  }

  /** Fails if memory was written that belongs to no guest and no disk. */
  checkCanaries(): void {
    this.memory.checkCanaries();
    const around = Buffer.concat(this.#around);
    assert.equal(around.compare(this.#canary), 0, 'memory around the disk was written');
  }

  release(): void {
    this.checkCanaries();
    this.memory.release();
    for (const release of this.#releases) release();
    unmap(this.#diskMap);
  }
}

/** A request header. VIRTIO 1.3, 5.2.6 */
export function header(type: number, sector: number | bigint): Buffer {
  const bytes = Buffer.alloc(16);
  bytes.writeUInt32LE(type, 0);
  bytes.writeUInt32LE(0x5a5a5a5a, 4);
  bytes.writeBigUInt64LE(BigInt(sector), 8);
  return bytes;
}

/** One range of DISCARD and its kin. VIRTIO 1.3, 5.2.6 */
export interface RangeField {
  readonly sector: number | bigint;
  readonly sectors: number;
  readonly flags?: number;
}

export function ranges(list: readonly RangeField[]): Buffer {
  return Buffer.concat(
    list.map(({ sector, sectors, flags = 0 }) => {
      const bytes = Buffer.alloc(16);
      bytes.writeBigUInt64LE(BigInt(sector), 0);
      bytes.writeUInt32LE(sectors, 8);
      bytes.writeUInt32LE(flags, 12);
      return bytes;
    }),
  );
}

/** What came of a request. */
export interface Answer {
  readonly status: number;
  /** Bytes that the used ring says were written. */
  readonly written: number;
  /** All device-writable bytes but the status. */
  readonly data: Buffer;
}

/** How a request is cut into descriptors. */
export interface Framing {
  /** Bytes of each descriptor, readable and writable; what is left over is one more. Zero is an empty descriptor. */
  readonly readable: readonly number[];
  readonly writable: readonly number[];
  /** Bytes left free before each descriptor's memory, in turn. */
  readonly gaps: readonly number[];
  /** Descriptors before the one that refers to a table with the rest; undefined if there is no table. */
  readonly direct?: number;
}

/** Bytes that a guest's memory holds before the device writes to it. */
const STALE = 0xee;

/** Sends a request: its readable bytes, and room for `dataBytes` and the status. Undefined if it is not answered. */
export function send(
  rig: BlockRig,
  readable: Buffer,
  dataBytes: number,
  framing?: Framing,
  index = 0,
): Answer | undefined {
  const { memory } = rig;
  const cuts = framing ?? { readable: [16], writable: [dataBytes], gaps: [64] };
  let at = RAM.guestAddress;
  let nextGap = 0;
  const lay = (bytes: Buffer, lengths: readonly number[], writable: boolean): Element[] => {
    const elements: Element[] = [];
    let from = 0;
    for (const wanted of [...lengths, bytes.length]) {
      const length = Math.min(wanted, bytes.length - from);
      at += cuts.gaps[nextGap++ % cuts.gaps.length]!;
      memory.write(at, bytes.subarray(from, from + length));
      elements.push({ address: at, length, writable });
      at += length;
      from += length;
    }
    return elements;
  };
  const readables = lay(readable, cuts.readable, false);
  const writables = lay(Buffer.alloc(dataBytes + 1, STALE), cuts.writable, true);
  let elements = [...readables, ...writables];
  if (cuts.direct !== undefined) {
    const table = rig.queues[index]!.driver.table(elements.slice(cuts.direct));
    at += cuts.gaps[nextGap++ % cuts.gaps.length]!;
    memory.write(at, table);
    elements = [...elements.slice(0, cuts.direct), { address: at, length: table.length, indirect: true }];
  }
  const used = rig.pass(elements, index);
  const written = Buffer.concat(writables.map(({ address, length }) => memory.read(Number(address), length)));
  if (used === undefined) {
    assert.ok(
      written.every((byte) => byte === STALE),
      'a request that is not answered was carried out',
    );
    return undefined;
  }
  return { status: written.at(-1)!, written: used.written, data: written.subarray(0, -1) };
}
