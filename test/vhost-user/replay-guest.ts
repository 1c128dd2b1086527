/** The guest of a replay: memory laid out as its VMM lays it out, and a driver on rings that lie in it. */
import assert from 'node:assert/strict';
import { setImmediate as turn } from 'node:timers/promises';
import { type GuestRam, RequestType, SECTOR_BYTES, SplitDriver, Status } from '../../src/guest/index.js';
import { createEventFd, drain, signal } from '../../src/host/eventfd.js';
import { close } from '../../src/host/libc.js';
import { createSealedMemory, type MemoryMap, mapFile, unmap } from '../../src/host/memory-map.js';
import { viewBytes } from '../../src/host/memory-view.js';
import { DESCRIPTOR_BYTES, DescriptorFlag, RING_LAYOUTS } from '../../src/virtio/ring-layout.js';
import type { MemorySeal, Region } from '../replays/replay.js';
import { openMemory } from './descriptors.js';

const COMPLETION_TIMEOUT_MS = 20_000;
const PAGE = 4096;
/** Room for one request: header, indirect table and status in one place, data in another. */
const SLOT_BYTES = 16 * 1024;
const DATA_BYTES = 8192;
/** Requests in flight on a ring. */
const DEPTH = 8;
const HEADER_BYTES = 16;
const STATUS_AT = 64;
const TABLE_AT = 128;
const DATA_AT = PAGE;

/** Memory files of a VMM, by name, and the regions that it shows its back end at the moment. */
export class ReplayMemory {
  regions: readonly Region[] = [];
  readonly #seal: MemorySeal;
  readonly #files = new Map<string, { fd: number; map: MemoryMap }>();
  readonly #lengths = new Map<string, number>();

  /** @param all - every region that will ever be shown: the files are as long as they ask for */
  constructor(seal: MemorySeal, all: readonly Region[]) {
    this.#seal = seal;
    for (const { file, mmapOffset, size } of all) {
      this.#lengths.set(file, Math.max(this.#lengths.get(file) ?? 0, mmapOffset + size));
    }
  }

  file(name: string): { fd: number; map: MemoryMap } {
    let file = this.#files.get(name);
    if (file === undefined) {
      const length = this.#lengths.get(name)!;
      const fd = this.#seal === 'sealed' ? createSealedMemory(name, length) : openMemory(length, false);
      file = { fd, map: mapFile(fd, 0, length) };
      this.#files.set(name, file);
    }
    return file;
  }

  /** Where this is in our address space, and how much follows it in the same region. */
  #find(guestAddress: number): { address: number; left: number; region: Region } {
    const region = this.regions.find(
      (one) => guestAddress >= one.guestAddress && guestAddress < one.guestAddress + one.size,
    );
    assert.ok(region !== undefined, `0x${guestAddress.toString(16)} is guest memory`);
    const offset = guestAddress - region.guestAddress;
    return {
      address: this.file(region.file).map.address + region.mmapOffset + offset,
      left: region.size - offset,
      region,
    };
  }

  userAddress(guestAddress: number): number {
    const { region } = this.#find(guestAddress);
    return region.userAddress + guestAddress - region.guestAddress;
  }

  /** A view of memory within one region. */
  view(guestAddress: number, byteLength: number): Buffer {
    const { address, left } = this.#find(guestAddress);
    assert.ok(byteLength <= left, 'it lies in one region');
    return viewBytes(address, byteLength);
  }

  /** Calls back for each region's part of a stretch of memory. */
  eachPart(guestAddress: number, byteLength: number, part: (view: Buffer, at: number) => void): void {
    for (let at = 0; at < byteLength; ) {
      const length = Math.min(byteLength - at, this.#find(guestAddress + at).left);
      part(this.view(guestAddress + at, length), at);
      at += length;
    }
  }

  close(): void {
    for (const { fd, map } of this.#files.values()) {
      unmap(map);
      close(fd);
    }
  }
}

/** One ring of a replay's guest, with its event counters. */
export class ReplayRing {
  readonly index: number;
  readonly kickFd = createEventFd();
  readonly callFd = createEventFd();
  readonly errFd = createEventFd();
  /** Requests done since the ring was new, as a ring index. */
  done = 0;
  /** Guest physical address of its three parts. */
  readonly #parts: number;
  readonly #memory: ReplayMemory;
  readonly #view: Buffer;
  readonly #driver: SplitDriver;
  readonly #indirect: boolean;

  /** Makes an empty ring in the middle of the largest region. */
  constructor(index: number, size: number, memory: ReplayMemory, options: { eventIdx: boolean; indirect: boolean }) {
    const bytes = RING_LAYOUTS.split.bytes(size);
    const room = Math.ceil((bytes.descriptors + bytes.driverArea + bytes.deviceArea + 3 * PAGE) / PAGE) * PAGE;
    const largest = memory.regions.reduce((best, region) => (region.size > best.size ? region : best));
    this.index = index;
    this.#memory = memory;
    this.#parts = largest.guestAddress + Math.floor(largest.size / 2 / PAGE) * PAGE + index * room;
    this.#view = memory.view(this.#parts, room).fill(0);
    this.#indirect = options.indirect;
    let next = 0;
    const ram: Pick<GuestRam, 'words16' | 'words32' | 'allocate'> = {
      words16: (at, byteLength) => new Uint16Array(this.#view.buffer, this.#view.byteOffset + at, byteLength >>> 1),
      words32: (at, byteLength) => new Uint32Array(this.#view.buffer, this.#view.byteOffset + at, byteLength >>> 2),
      allocate: (byteLength, alignment = 64) => {
        const at = Math.ceil(next / alignment) * alignment;
        next = at + byteLength;
        return at;
      },
    };
    // Of a guest's memory the driver uses no more than this.
    this.#driver = new SplitDriver(ram as GuestRam, size, options.eventIdx);
  }

  /** User addresses of the ring's parts, as SET_VRING_ADDR wants them. */
  get addresses(): { descriptors: bigint; available: bigint; used: bigint } {
    const user = (offset: number) => BigInt(this.#memory.userAddress(this.#parts + offset));
    const { descriptors, available, used } = this.#driver;
    return { descriptors: user(descriptors), available: user(available), used: user(used) };
  }

  get availIndex(): number {
    return this.#view.readUInt16LE(this.#driver.available + 2);
  }

  get usedIndex(): number {
    return this.#view.readUInt16LE(this.#driver.used + 2);
  }

  /**
   * Writes all over guest memory's regions, and reads back. At the end it sleeps until it is called, if `called` says on
   * which descriptor.
   */
  async writeAndRead(generation: number, called: number | undefined): Promise<void> {
    const pattern = (slot: number) => ((generation & 0xffff) << 12) | (this.index << 8) | (slot + 1);
    const sector = (slot: number) => ((this.index * DEPTH + slot) * DATA_BYTES) / SECTOR_BYTES;
    for (const type of [RequestType.OUT, RequestType.IN]) {
      for (let slot = 0; slot < DEPTH; slot++) {
        const data = Buffer.alloc(DATA_BYTES);
        if (type === RequestType.OUT)
          for (let at = 0; at < DATA_BYTES; at += 4) data.writeUInt32LE(pattern(slot) + at, at);
        this.#memory.eachPart(this.#data(slot), DATA_BYTES, (view, at) =>
          view.set(data.subarray(at, at + view.length)),
        );
        this.#submit(slot, type, sector(slot));
      }
      const sleeps = type === RequestType.IN && called !== undefined;
      if (sleeps) drain(called);
      const ready = sleeps && this.#driver.requestCalls();
      if (this.#driver.publish()) signal(this.kickFd);
      await this.#complete(sleeps && !ready ? called : undefined);
      this.#driver.suppressCalls();
    }
    for (let slot = 0; slot < DEPTH; slot++) {
      this.#memory.eachPart(this.#data(slot), DATA_BYTES, (view, at) => {
        for (let i = 0; i < view.length; i += 4) {
          assert.equal(
            view.readUInt32LE(i),
            pattern(slot) + at + i,
            `ring ${this.index}, slot ${slot}, byte ${at + i}`,
          );
        }
      });
    }
  }

  close(): void {
    for (const fd of [this.kickFd, this.callFd, this.errFd]) close(fd);
  }

  /** A page near the end of one region or another. */
  #control(slot: number): number {
    const { regions } = this.#memory;
    const region = regions[(slot + this.index) % regions.length]!;
    return region.guestAddress + region.size - (this.index * DEPTH + slot + 1) * SLOT_BYTES;
  }

  /** Where the data are: across the border of two regions where there is one, or near the header. */
  #data(slot: number): number {
    const { regions } = this.#memory;
    const borders = regions.filter((one) =>
      regions.some((other) => other.guestAddress === one.guestAddress + one.size),
    );
    const border = borders[slot % Math.max(1, borders.length)];
    if (slot < borders.length && this.index === 0 && border !== undefined) {
      return border.guestAddress + border.size - PAGE;
    }
    return this.#control(slot) + DATA_AT;
  }

  #submit(slot: number, type: number, sector: number): void {
    const control = this.#control(slot);
    const view = this.#memory.view(control, PAGE);
    view.writeUInt32LE(type, 0);
    view.writeUInt32LE(0, 4);
    view.writeBigUInt64LE(BigInt(sector), 8);
    view.writeUInt8(0xff, STATUS_AT);
    const indirect = this.#indirect && slot % 2 === 1;
    const first = indirect ? 0 : slot * 3;
    const table = indirect
      ? view.subarray(TABLE_AT)
      : this.#view.subarray(this.#driver.descriptors + first * DESCRIPTOR_BYTES);
    const write = type === RequestType.IN ? DescriptorFlag.WRITE : 0;
    describe(table, 0, control, HEADER_BYTES, DescriptorFlag.NEXT, first + 1);
    describe(table, 1, this.#data(slot), DATA_BYTES, DescriptorFlag.NEXT | write, first + 2);
    describe(table, 2, control + STATUS_AT, 1, DescriptorFlag.WRITE, 0);
    const head = slot * 3;
    if (indirect) {
      const ring = this.#view.subarray(this.#driver.descriptors);
      describe(ring, head, control + TABLE_AT, 3 * DESCRIPTOR_BYTES, DescriptorFlag.INDIRECT, 0);
    }
    this.#driver.add(head);
  }

  /** Waits for all requests, polling, or asleep until the descriptor is signalled. */
  async #complete(called: number | undefined): Promise<void> {
    const deadline = Date.now() + COMPLETION_TIMEOUT_MS;
    let awake = called === undefined;
    for (let count = 0; count < DEPTH; ) {
      if (Date.now() > deadline)
        assert.fail(`ring ${this.index}: ${awake ? `${count} of ${DEPTH} requests came back` : 'no call'}`);
      // One call may stand for several completions, the rest is found by looking.
      awake ||= drain(called!) > 0;
      const head = awake ? this.#driver.take() : -1;
      if (head < 0) {
        await turn();
        continue;
      }
      count++;
      this.done = (this.done + 1) & 0xffff;
      const control = this.#control(head / 3);
      assert.equal(
        this.#memory.view(control, PAGE).readUInt8(STATUS_AT),
        Status.OK,
        `ring ${this.index}: status of ${head}`,
      );
    }
  }
}

/** Writes one descriptor of a table. VIRTIO 1.3, 2.7.5 */
function describe(table: Buffer, index: number, address: number, length: number, flags: number, next: number): void {
  const at = index * DESCRIPTOR_BYTES;
  table.writeBigUInt64LE(BigInt(address), at);
  table.writeUInt32LE(length, at + 8);
  table.writeUInt16LE(flags, at + 12);
  table.writeUInt16LE(next, at + 14);
}
