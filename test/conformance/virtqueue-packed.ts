/**
 * The driver's end of a packed ring, written from the standard alone: no offset and no flag comes from the code under test.
 * VIRTIO 1.3, 2.8
 */
import assert from 'node:assert/strict';
import { mapAnonymous, unmap } from '../../src/host/memory-map.js';
import { viewBytes } from '../../src/host/memory-view.js';
import { CHAIN_SEGMENTS_MAX } from '../../src/limits.js';
import { ChainLog } from '../../src/virtio/chain-log.js';
import { PackedRing } from '../../src/virtio/packed-ring.js';
import type { RingLayout } from '../../src/virtio/ring-layout.js';
import { Pop } from '../../src/virtio/virtqueue.js';
import type { Random } from '../support/seed.js';
import type {
  Corruption,
  DriverSide,
  Element,
  RingSetup,
  RingUnderTest,
  Used,
  VirtqueueLayout,
} from './virtqueue-layout.js';
import { finish } from './virtqueue-split.js';

const F_NEXT = 1;
const F_WRITE = 2;
const F_INDIRECT = 4;
const F_AVAIL = 1 << 7;
const F_USED = 1 << 15;
const EVENTS_ENABLE = 0;
const EVENTS_DISABLE = 1;
const EVENTS_DESC = 2;
const PAD = 64;

interface Place {
  offset: number;
  wrap: 0 | 1;
}

/** A driver that trusts nothing that the device says. */
export class PackedDriverSide implements DriverSide {
  readonly size: number;
  readonly eventIdx: boolean;
  readonly view: DataView;
  /** Where the event suppression structures are in `view`. */
  readonly driverEvent: number;
  readonly deviceEvent: number;
  nextAvail: Place;
  nextUsed: Place;
  /** Descriptors between `nextUsed` and `nextAvail`. */
  #out = 0;
  /** Where the first descriptor that is not published is, its flags, and how many there are. */
  #first: { place: Place; flags: number } | undefined;
  #unpublished = 0;
  readonly #freeIds: number[] = [];
  readonly #lengths = new Map<number, number>();

  constructor(view: DataView, { size, eventIdx, start }: RingSetup) {
    this.view = view;
    this.size = size;
    this.eventIdx = eventIdx;
    this.driverEvent = 16 * size + PAD;
    this.deviceEvent = this.driverEvent + PAD;
    const turns = start % (2 * size);
    const place: Place = turns < size ? { offset: turns, wrap: 1 } : { offset: turns - size, wrap: 0 };
    this.nextAvail = { ...place };
    this.nextUsed = { ...place };
    // What went before: used descriptors of this lap, and of the lap before that.
    for (let i = 0; i < size; i++) {
      const wrap = i < place.offset ? place.wrap : 1 - place.wrap;
      view.setUint16(16 * i + 14, wrap === 1 ? F_AVAIL | F_USED : 0, true);
    }
    // Ids that say nothing about where their descriptors are.
    for (let i = 0; i < size; i++) this.#freeIds.push((i * 7 + 3) % size);
    if (new Set(this.#freeIds).size < size) this.#freeIds.splice(0, size, ...Array.from({ length: size }, (_, i) => i));
  }

  get free(): number {
    return this.size - this.#out;
  }

  add(elements: readonly Element[]): number {
    assert.ok(elements.length > 0 && elements.length <= this.free, 'the ring has no room');
    const id = this.#freeIds.pop()!;
    elements.forEach((element, i) => {
      const last = i === elements.length - 1;
      // The id counts in the last descriptor only.
      this.put(element, flagsOf(element, !last), last ? id : (id ^ 0x5555) & 0xffff);
    });
    this.#lengths.set(id, elements.length);
    this.#out += elements.length;
    return id;
  }

  /** Writes the next descriptor, whatever it is. The first one's flags are kept back until all are published. */
  put({ address, length }: Element, flags: number, id: number): void {
    const { view } = this;
    const place = { ...this.nextAvail };
    const at = 16 * place.offset;
    const whole = flags | (place.wrap === 1 ? F_AVAIL : F_USED);
    view.setBigUint64(at, BigInt(address), true);
    view.setUint32(at + 8, length, true);
    view.setUint16(at + 12, id, true);
    if (this.#first === undefined) this.#first = { place, flags: whole };
    else view.setUint16(at + 14, whole, true);
    this.#advance(this.nextAvail, 1);
    this.#unpublished++;
  }

  publish(): boolean {
    return finish(this.publishInSteps());
  }

  *publishInSteps(): Generator<void, boolean> {
    const first = this.#first;
    const count = this.#unpublished;
    if (first !== undefined) this.view.setUint16(16 * first.place.offset + 14, first.flags, true);
    this.#first = undefined;
    this.#unpublished = 0;
    yield;
    if (first === undefined) return false;
    const event = this.view.getUint32(this.deviceEvent, true);
    return this.#triggers(event, first.place, count);
  }

  /** Whether an event structure asks for word of `count` descriptors from `from` on. 2.8.10 */
  #triggers(event: number, from: Place, count: number): boolean {
    const flags = (event >>> 16) & 3;
    assert.notEqual(flags, 3, 'the value 3 is reserved');
    assert.ok(flags !== EVENTS_DESC || this.eventIdx, 'event for a descriptor without EVENT_IDX');
    if (flags !== EVENTS_DESC) return flags === EVENTS_ENABLE;
    const wanted: Place = { offset: event & 0x7fff, wrap: ((event >>> 15) & 1) as 0 | 1 };
    const place = { ...from };
    for (let i = 0; i < count; i++, this.#advance(place, 1)) {
      if (place.offset === wanted.offset && place.wrap === wanted.wrap) return true;
    }
    return false;
  }

  #usedAt({ offset, wrap }: Place): boolean {
    const flags = this.view.getUint16(16 * offset + 14, true);
    return (flags & (F_AVAIL | F_USED)) === (wrap === 1 ? F_AVAIL | F_USED : 0);
  }

  take(): Used | undefined {
    if (!this.#usedAt(this.nextUsed)) return undefined;
    const at = 16 * this.nextUsed.offset;
    const id = this.view.getUint16(at + 12, true);
    const length = this.#lengths.get(id);
    assert.ok(length !== undefined, `id ${id} is given back, which the device does not have`);
    this.#lengths.delete(id);
    this.#freeIds.push(id);
    this.#out -= length;
    const written = (this.view.getUint16(at + 14, true) & F_WRITE) !== 0 ? this.view.getUint32(at + 8, true) : 0;
    this.#advance(this.nextUsed, length);
    return { head: id, written };
  }

  suppressCalls(): void {
    this.view.setUint16(this.driverEvent + 2, EVENTS_DISABLE, true);
  }

  requestCalls(skip = 0): boolean {
    return finish(this.requestCallsInSteps(skip));
  }

  *requestCallsInSteps(skip = 0): Generator<void, boolean> {
    const place = { ...this.nextUsed };
    this.#advance(place, skip);
    if (this.eventIdx) {
      this.view.setUint16(this.driverEvent, place.offset | (place.wrap << 15), true);
      yield;
    }
    this.view.setUint16(this.driverEvent + 2, this.eventIdx ? EVENTS_DESC : EVENTS_ENABLE, true);
    yield;
    return this.#usedBeyond(skip);
  }

  /** Whether more than `skip` descriptors have been given back. */
  #usedBeyond(skip: number): boolean {
    const place = { ...this.nextUsed };
    for (let passed = 0; passed <= skip && passed < this.size; ) {
      if (!this.#usedAt(place)) return false;
      const length = this.#lengths.get(this.view.getUint16(16 * place.offset + 12, true))!;
      passed += length;
      this.#advance(place, length);
    }
    return true;
  }

  #advance(place: Place, by: number): void {
    for (place.offset += by; place.offset >= this.size; place.wrap = place.wrap === 1 ? 0 : 1) {
      place.offset -= this.size;
    }
  }

  table(elements: readonly Element[]): Buffer {
    const bytes = Buffer.alloc(16 * elements.length);
    elements.forEach((element, i) => {
      bytes.writeBigUInt64LE(BigInt(element.address), 16 * i);
      bytes.writeUInt32LE(element.length, 16 * i + 8);
      // "Buffer ID is also reserved and is ignored by the device." 2.8.7
      bytes.writeUInt16LE(0xbeef, 16 * i + 12);
      bytes.writeUInt16LE(flagsOf(element, false), 16 * i + 14);
    });
    return bytes;
  }

  scribble(random: Random, element: () => Element): void {
    const { size } = this;
    const first = random.below(size);
    for (let left = random.below(size + 1), id = first; left > 0; left--, id++) {
      const flags = random.chance(0.9) ? random.pick([0, F_WRITE]) : random.below(8);
      this.put(element(), flags, random.chance(0.98) ? id % size : random.below(2 * size));
    }
    this.publish();
  }

  corruptions(good: Element): Corruption[] {
    const { size } = this;
    const corruptions: Corruption[] = [];
    const add = (name: string, faults: readonly number[], apply: () => void) => {
      const publish = () => {
        apply();
        this.publish();
      };
      corruptions.push({ name, faults, apply: publish });
    };
    for (const id of [size, size + 1, 0x7fff, 0xffff]) {
      if (id >= size) add(`buffer id ${id}`, [Pop.HEAD_OUT_OF_RANGE], () => this.put(good, 0, id));
    }
    const empty = { ...good, length: 0 };
    for (const element of [good, empty]) {
      // As long as any chain may be comes before as long as a larger ring.
      const fault = size > CHAIN_SEGMENTS_MAX ? Pop.SEGMENTS_EXCEEDED : Pop.CHAIN_TOO_LONG;
      add(`a chain without end, of ${element.length} bytes each`, [fault], () => {
        for (let i = 0; i < size; i++) this.put(element, F_NEXT, 0);
      });
    }
    if (size === 1) return corruptions;
    add('the same buffer id twice', [Pop.HEAD_IN_FLIGHT], () => {
      this.put(good, 0, 1);
      this.put(good, 0, 1);
    });
    const collision = size > CHAIN_SEGMENTS_MAX ? Pop.SEGMENTS_EXCEEDED : Pop.AVAIL_INDEX_INVALID;
    add('a chain that runs into one in flight', [collision], () => {
      this.put(good, 0, 1);
      for (let i = 1; i < size; i++) this.put(good, F_NEXT, 0);
    });
    for (const flags of [F_INDIRECT | F_NEXT, F_INDIRECT]) {
      add(`indirect among others, flags ${flags}`, [Pop.INDIRECT_INVALID], () => {
        this.put({ ...good, length: 16 }, flags === F_INDIRECT ? F_NEXT : flags, 0);
        this.put({ ...good, length: 16 }, flags === F_INDIRECT ? F_INDIRECT : 0, 0);
      });
    }
    return corruptions;
  }
}

function flagsOf({ writable, indirect, dangling }: Element, hasNext: boolean): number {
  return (hasNext || dangling ? F_NEXT : 0) | (writable ? F_WRITE : 0) | (indirect ? F_INDIRECT : 0);
}

/** Bytes of a ring of that size with what lies between its parts. */
export const packedRingRoom = (size: number) => 16 * size + 4096;

/** The base of a ring through which `start` descriptors have gone, as vhost-user writes it. */
export function packedBaseAt(start: number, size: number): number {
  const turns = start % (2 * size);
  const half = turns < size ? turns | 0x8000 : turns - size;
  return half * 0x1_0001;
}

/**
 * A packed ring between this driver and the code under test: at the address given, or in memory of its own, which is no
 * guest memory.
 */
export function createPackedRing(
  setup: RingSetup,
  at?: number,
): RingUnderTest & { readonly driver: PackedDriverSide; readonly layout: RingLayout } {
  const { size, eventIdx, indirect, start } = setup;
  const map = at === undefined ? mapAnonymous(packedRingRoom(size)) : undefined;
  const address = at ?? map!.address;
  const room = viewBytes(address, packedRingRoom(size));
  const driver = new PackedDriverSide(new DataView(room.buffer, room.byteOffset, room.length), setup);
  const layout: RingLayout = {
    kind: 'packed',
    size,
    descriptors: address,
    driverArea: address + driver.driverEvent,
    deviceArea: address + driver.deviceEvent,
    eventIdx,
    indirect,
  };
  return {
    driver,
    layout,
    device: (memory, log, resume) => {
      assert.ok(log instanceof ChainLog);
      return new PackedRing(layout, memory, log, resume, packedBaseAt(start, size));
    },
    release: () => {
      if (map !== undefined) unmap(map);
    },
  };
}

export const packedLayout: VirtqueueLayout = {
  name: 'packed',
  sizes: [1, 2, 3, 4, 5, 7, 8, 13, 64, 100, 255, 256, 1000, 1024, 4099, 32_767, 32_768],
  logWords: (size) => ChainLog.wordsFor(size),
  openLog: (words, size) => new ChainLog(words, size),
  linkedTables: false,
  eventPeriod: (size) => 2 * size,
  steps: { publish: () => 2, requestCalls: (eventIdx) => (eventIdx ? 3 : 2) },
  create: createPackedRing,
};
