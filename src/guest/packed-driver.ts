import {
  AVAIL,
  AVAIL_USED,
  EVENT_DESC,
  EVENT_FLAGS,
  EVENT_FLAGS_MASK,
  Events,
  DESC_FLAGS16 as FLAGS,
  DESC_ID16 as ID,
  packedAfter,
  packedBase,
  packedDistance,
  packedOffsetAndWrap,
  packedPosition,
  packedSlot,
  USED,
  DESCRIPTOR_WORDS16 as WORDS16,
} from '../virtio/packed-format.js';
import { DESCRIPTOR_WORDS, DescriptorFlag, RING_LAYOUTS } from '../virtio/ring-layout.js';
import type { GuestRam } from './ram.js';

/**
 * The driver's end of a packed virtqueue. VIRTIO 1.3, 2.8. Same shape as `SplitDriver`: chains are described once, in a
 * table of this driver's own with the fields of split descriptors, and added by their head, which is their buffer id too.
 */
export class PackedDriver {
  readonly packed = true;
  readonly size: number;
  /** Guest physical addresses of the three parts: descriptor ring, driver and device event suppression. */
  readonly descriptors: number;
  readonly available: number;
  readonly used: number;
  /** Guest physical address of the table in which chains are described. */
  readonly table: number;
  readonly #eventIdx: boolean;
  readonly #table: Uint32Array;
  readonly #ring16: Uint16Array;
  readonly #ring32: Uint32Array;
  readonly #driverEvent: Uint16Array;
  readonly #deviceEvent: Uint16Array;
  /** Descriptors of the chain added last under each id. */
  readonly #lengths: Uint16Array;
  /** Positions, as `packedPosition` counts them. */
  #nextAvail = 0;
  #publishedAvail = 0;
  #nextUsed = 0;
  /** Descriptors added since the last `publish`, and the flags of the first, which are written then. */
  #added = 0;
  #firstFlags = 0;
  #taken = 0;

  constructor(ram: GuestRam, size: number, eventIdx: boolean) {
    const bytes = RING_LAYOUTS.packed.bytes(size);
    this.size = size;
    this.#eventIdx = eventIdx;
    this.descriptors = ram.allocate(bytes.descriptors, 4096);
    this.available = ram.allocate(bytes.driverArea, 64);
    this.used = ram.allocate(bytes.deviceArea, 64);
    this.table = ram.allocate(bytes.descriptors, 64);
    this.#table = ram.words32(this.table, bytes.descriptors);
    this.#ring16 = ram.words16(this.descriptors, bytes.descriptors);
    this.#ring32 = ram.words32(this.descriptors, bytes.descriptors);
    this.#driverEvent = ram.words16(this.available, bytes.driverArea);
    this.#deviceEvent = ram.words16(this.used, bytes.deviceArea);
    this.#lengths = new Uint16Array(size);
    this.suppressCalls();
  }

  /** Makes a chain available; the device sees it at the next `publish`. */
  add(head: number): void {
    const table = this.#table;
    let index = head;
    let length = 0;
    for (;;) {
      const from = index * DESCRIPTOR_WORDS;
      const to = packedSlot(this.#nextAvail, this.size) * DESCRIPTOR_WORDS;
      const flagsNext = table[from + 3]!;
      const flags = (flagsNext & 0xffff) | (this.#nextAvail < this.size ? AVAIL : USED);
      this.#ring32[to] = table[from]!;
      this.#ring32[to + 1] = table[from + 1]!;
      this.#ring32[to + 2] = table[from + 2]!;
      this.#ring16[2 * to + ID] = head;
      if (this.#added++ === 0) this.#firstFlags = flags;
      else this.#ring16[2 * to + FLAGS] = flags;
      this.#nextAvail = packedAfter(this.#nextAvail, 1, this.size);
      length++;
      // The table is in guest memory: a device that writes where it was told to may have made a circle of it.
      if ((flagsNext & DescriptorFlag.NEXT) === 0 || length === this.size) break;
      index = flagsNext >>> 16;
    }
    this.#lengths[head] = length;
  }

  /** Shows the device all that was added. True if it wants a kick. */
  publish(): boolean {
    const added = this.#added;
    if (added === 0) return false;
    const before = this.#publishedAvail;
    // Release, and a full barrier before the device's wish is read.
    Atomics.store(this.#ring16, packedSlot(before, this.size) * WORDS16 + FLAGS, this.#firstFlags);
    this.#added = 0;
    this.#publishedAvail = this.#nextAvail;
    const flags = Atomics.load(this.#deviceEvent, EVENT_FLAGS) & EVENT_FLAGS_MASK;
    if (flags !== Events.AT_DESC || !this.#eventIdx) return flags !== Events.DISABLE;
    const event = packedPosition(Atomics.load(this.#deviceEvent, EVENT_DESC), this.size);
    return packedDistance(before, event, this.size) < added;
  }

  /** The next head that the device has given back, or -1. */
  take(): number {
    const position = this.#nextUsed;
    const at = packedSlot(position, this.size) * WORDS16;
    // An unordered look first: it costs a fraction of an ordered load.
    if (!this.#isUsed(this.#ring16[at + FLAGS]!, position)) return -1;
    Atomics.load(this.#ring16, at + FLAGS);
    const head = this.#ring16[at + ID]!;
    this.#taken = position;
    this.#nextUsed = packedAfter(position, this.#lengths[head]!, this.size);
    return head;
  }

  /** Bytes that the device says it has written to the chain taken last. */
  get takenBytes(): number {
    const slot = packedSlot(this.#taken, this.size);
    const written = (this.#ring16[slot * WORDS16 + FLAGS]! & DescriptorFlag.WRITE) !== 0;
    return written ? this.#ring32[slot * DESCRIPTOR_WORDS + 2]! : 0;
  }

  /** Tells the device not to call: this driver polls. */
  suppressCalls(): void {
    this.#driverEvent[EVENT_FLAGS] = Events.DISABLE;
  }

  /** Asks for a call at the next completion. True if there is one already: then no call may come. */
  requestCalls(): boolean {
    const position = this.#nextUsed;
    if (this.#eventIdx) this.#driverEvent[EVENT_DESC] = packedOffsetAndWrap(position, this.size);
    Atomics.store(this.#driverEvent, EVENT_FLAGS, this.#eventIdx ? Events.AT_DESC : Events.ENABLE);
    return this.#isUsed(Atomics.load(this.#ring16, packedSlot(position, this.size) * WORDS16 + FLAGS), position);
  }

  /** Where the device stands, as far as the ring alone tells a front end: what it has given back is behind it. */
  get base(): number {
    let position = this.#nextUsed;
    for (let passed = 0; passed < this.size; ) {
      const at = packedSlot(position, this.size) * WORDS16;
      if (!this.#isUsed(Atomics.load(this.#ring16, at + FLAGS), position)) break;
      const length = this.#lengths[this.#ring16[at + ID]!] ?? 0;
      if (length === 0) break;
      position = packedAfter(position, length, this.size);
      passed += length;
    }
    return packedBase(position, position, this.size);
  }

  #isUsed(flags: number, position: number): boolean {
    return (flags & AVAIL_USED) === (position < this.size ? AVAIL_USED : 0);
  }
}
