/** A ring of a replay's guest, in memory that its VMM shares, with the driver's end and event counters. */
import assert from 'node:assert/strict';
import { setImmediate as turn } from 'node:timers/promises';
import { type GuestRam, SplitDriver } from '../../src/guest/index.js';
import { createEventFd, drain, signal } from '../../src/host/eventfd.js';
import { close } from '../../src/host/libc.js';
import { DESCRIPTOR_BYTES, DescriptorFlag, RING_LAYOUTS } from '../../src/virtio/ring-layout.js';
import type { DriverStep, Mac } from '../replays/replay.js';
import type { ReplayMemory } from './replay-memory.js';

/** Nothing takes this long but what does not come. */
const LOST_MS = 20_000;
export const PAGE_BYTES = 4096;

/** A part of a chain. */
export interface Element {
  readonly address: number;
  readonly length: number;
  readonly writable?: boolean;
}

/** What a front end knows of one ring, as far as its guest's driver is concerned. */
export interface LiveRing {
  readonly ring: ReplayRing | undefined;
  readonly armed: boolean;
  readonly enabled: boolean;
  /** Where the device calls. */
  readonly calledAt: number | undefined;
}

/** The driver of a kind of device. */
export interface ReplayDriver {
  /** A ring is there, new and empty, before the device is told of it. */
  prepare(ring: ReplayRing): void;
  /** All rings are forgotten. */
  reset(): void;
  act(step: DriverStep, rings: readonly LiveRing[]): Promise<void>;
  /** Of a card: the others in its network hear where this address is. */
  hearAnnouncement?(mac: Mac): Promise<void>;
}

export function isUp({ armed, enabled }: LiveRing): boolean {
  return armed && enabled;
}

/** Looks again and again until something holds, with others having their turn in between; `act` is done before each look. */
export async function lookUntil(holds: () => boolean, what: () => string, act?: () => Promise<void>): Promise<void> {
  for (const deadline = Date.now() + LOST_MS; ; await turn()) {
    await act?.();
    if (holds()) return;
    if (Date.now() > deadline) assert.fail(what());
  }
}

export class ReplayRing {
  readonly index: number;
  readonly kickFd = createEventFd();
  readonly callFd = createEventFd();
  readonly errFd = createEventFd();
  readonly driver: SplitDriver;
  readonly indirect: boolean;
  /** Chains that came back since the ring was new, as a ring index. */
  done = 0;
  /** Guest physical address of its three parts. */
  readonly #parts: number;
  readonly #memory: ReplayMemory;
  readonly #view: Buffer;

  /** Makes an empty ring in the middle of the largest region. */
  constructor(index: number, size: number, memory: ReplayMemory, options: { eventIdx: boolean; indirect: boolean }) {
    const bytes = RING_LAYOUTS.split.bytes(size);
    const parts = bytes.descriptors + bytes.driverArea + bytes.deviceArea;
    const room = Math.ceil((parts + 3 * PAGE_BYTES) / PAGE_BYTES) * PAGE_BYTES;
    const largest = memory.regions.reduce((best, region) => (region.size > best.size ? region : best));
    this.index = index;
    this.indirect = options.indirect;
    this.#memory = memory;
    this.#parts = largest.guestAddress + Math.floor(largest.size / 2 / PAGE_BYTES) * PAGE_BYTES + index * room;
    this.#view = memory.view(this.#parts, room).fill(0);
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
    this.driver = new SplitDriver(ram as GuestRam, size, options.eventIdx);
  }

  /** User addresses of the ring's parts, as SET_VRING_ADDR wants them. */
  get addresses(): { descriptors: bigint; available: bigint; used: bigint } {
    const user = (offset: number) => BigInt(this.#memory.userAddress(this.#parts + offset));
    const { descriptors, available, used } = this.driver;
    return { descriptors: user(descriptors), available: user(available), used: user(used) };
  }

  get availIndex(): number {
    return this.#view.readUInt16LE(this.driver.available + 2);
  }

  get usedIndex(): number {
    return this.#view.readUInt16LE(this.driver.used + 2);
  }

  /** Writes a chain from descriptor `head` on and adds it; with `table`, a guest physical address, its descriptors are there. */
  add(head: number, elements: readonly Element[], table?: number): void {
    const ring = this.#view.subarray(this.driver.descriptors);
    const place = table === undefined ? ring : this.#memory.view(table, elements.length * DESCRIPTOR_BYTES);
    const first = table === undefined ? head : 0;
    for (const [i, element] of elements.entries()) {
      const next = i < elements.length - 1 ? DescriptorFlag.NEXT : 0;
      const flags = next | (element.writable ? DescriptorFlag.WRITE : 0);
      describe(place, first + i, element, flags, next === 0 ? 0 : first + i + 1);
    }
    if (table !== undefined) {
      const whole = { address: table, length: elements.length * DESCRIPTOR_BYTES };
      describe(ring, head, whole, DescriptorFlag.INDIRECT, 0);
    }
    this.driver.add(head);
  }

  /** Shows the device what was added, with a kick if it wants one. */
  publish(): void {
    if (this.driver.publish()) signal(this.kickFd);
  }

  /** The next head that came back, or -1. */
  take(): number {
    const head = this.driver.take();
    if (head >= 0) this.done = (this.done + 1) & 0xffff;
    return head;
  }

  /**
   * Has `act` make the device give something back, and sleeps until it calls at this descriptor. From then on the driver polls
   * again.
   */
  async sleepOver(calledAt: number, act: () => void | Promise<void>): Promise<void> {
    drain(calledAt);
    const ready = this.driver.requestCalls();
    await act();
    if (!ready)
      await lookUntil(
        () => drain(calledAt) > 0,
        () => `ring ${this.index}: no call`,
      );
    this.driver.suppressCalls();
  }

  close(): void {
    for (const fd of [this.kickFd, this.callFd, this.errFd]) close(fd);
  }
}

/** Writes one descriptor of a table. VIRTIO 1.3, 2.7.5 */
function describe(table: Buffer, index: number, { address, length }: Element, flags: number, next: number): void {
  const at = index * DESCRIPTOR_BYTES;
  table.writeBigUInt64LE(BigInt(address), at);
  table.writeUInt32LE(length, at + 8);
  table.writeUInt16LE(flags, at + 12);
  table.writeUInt16LE(next, at + 14);
}
