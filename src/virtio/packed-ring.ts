import type { GuestMemory } from '../guest-memory/guest-memory.js';
import { viewWords16, viewWords32 } from '../host/memory-view.js';
import { CHAIN_SEGMENTS_MAX } from '../limits.js';
import type { Burst } from './burst.js';
import type { Chain } from './chain.js';
import type { ChainLog } from './chain-log.js';
import { LoggedChains } from './logged-chains.js';
import {
  AVAIL,
  AVAIL_USED,
  DESC_FLAGS16,
  DESC_ID_FLAGS,
  DESC_ID16,
  DESC_LENGTH,
  DESCRIPTOR_WORDS16,
  EVENT_DESC,
  EVENT_FLAGS,
  EVENT_FLAGS_MASK,
  Events,
  packedAfter,
  packedBase,
  packedDistance,
  packedOffsetAndWrap,
  packedPosition,
  packedSlot,
  USED,
} from './packed-format.js';
import { DESCRIPTOR_WORDS, DescriptorFlag, RING_LAYOUTS, type RingLayout } from './ring-layout.js';
import { UsedDescriptors } from './used-descriptors.js';
import { Pop, type Virtqueue } from './virtqueue.js';

const { NEXT, WRITE, INDIRECT } = DescriptorFlag;

const TWO_TO_32 = 2 ** 32;

/** Loads happen in their order. Where they do not, each descriptor of a burst is acquired. */
const LOADS_IN_ORDER = process.arch === 'x64';

/** Copied from a descriptor into the log. */
const FLAGS_KEPT = NEXT | WRITE | INDIRECT;

/**
 * The device's end of a packed virtqueue. VIRTIO 1.3, 2.8
 *
 * A *head* of the contract is a buffer id here: below the ring's size, and under which no other chain is in flight. Each
 * descriptor is copied into the log as it is taken, its fields read once, and the copy is used: the ring's own descriptors are
 * overwritten with used ones, in the order of completion. An acquire of a chain's first descriptor's flags, one release per
 * batch: the flags of the first used descriptor, behind which the driver does not look before it sees them.
 */
export class PackedRing implements Virtqueue {
  readonly unfinished: readonly number[];
  readonly #size: number;
  readonly #eventIdx: boolean;
  readonly #memory: GuestMemory;
  readonly #log: ChainLog;
  readonly #ring16: Uint16Array;
  readonly #ring32: Uint32Array;
  readonly #driverEvent: Uint16Array;
  readonly #deviceEvent: Uint16Array;
  readonly #chains: LoggedChains;
  readonly #returns: UsedDescriptors;
  /** Free cells of the log: the first `#freeCells` of them. */
  readonly #cells: Uint16Array;
  #freeCells: number;
  /** Where the next chain is taken. */
  #availSlot: number;
  /** AVAIL and USED of a descriptor that is available there. */
  #availFlags: number;
  /** Position where the next chain is given back. */
  #used: number;
  /** Chains pushed and not yet published. */
  #pushed = 0;
  #publishedChains = 0;
  /** One if the ring was used beyond where it is said to stand, else zero. */
  readonly #misplaced: number;

  /**
   * @param resume - take over after another thread: the log says what is in flight. Otherwise the ring starts at `base`
   *   (as SET_VRING_BASE gives it) with nothing in flight.
   */
  constructor(layout: RingLayout, memory: GuestMemory, log: ChainLog, resume: boolean, base: number) {
    const { size } = layout;
    const bytes = RING_LAYOUTS.packed.bytes(size);
    this.#size = size;
    this.#eventIdx = layout.eventIdx;
    this.#memory = memory;
    this.#log = log;
    this.#ring16 = viewWords16(layout.descriptors, bytes.descriptors);
    this.#ring32 = viewWords32(layout.descriptors, bytes.descriptors);
    this.#driverEvent = viewWords16(layout.driverArea, bytes.driverArea);
    this.#deviceEvent = viewWords16(layout.deviceArea, bytes.deviceArea);
    this.#chains = new LoggedChains(log, memory, layout.indirect);
    this.#returns = new UsedDescriptors(this.#ring16, this.#ring32, log);
    this.#cells = new Uint16Array(size);

    if (resume) {
      this.#returns.finish();
    } else {
      const avail = packedPosition(base & 0xffff, size);
      const used = base >>> 16 === 0 ? avail : packedPosition(base >>> 16, size);
      // More cannot be in flight than the ring holds.
      log.reset(avail, packedDistance(used, avail, size) > size ? avail : used);
    }
    this.unfinished = log.inFlight();
    this.#used = log.settled;
    this.#freeCells = log.freeCells(this.unfinished, this.#cells) - log.lost;
    const avail = packedAfter(this.#used, size - this.#freeCells, size);
    this.#availSlot = packedSlot(avail, size);
    this.#availFlags = avail < size ? AVAIL : USED;
    this.#misplaced = !resume && this.#returns.anyFrom(avail) ? 1 : 0;
  }

  get base(): number {
    return packedBase(this.#availPosition(), this.#used, this.#size);
  }

  waiting(): number {
    const flags = this.#ring16[this.#availSlot * DESCRIPTOR_WORDS16 + DESC_FLAGS16]!;
    return (flags & AVAIL_USED) === this.#availFlags ? 1 : this.#misplaced;
  }

  pop(chain: Chain): number {
    if (this.#misplaced !== 0) return Pop.POSITION_INVALID;
    const at = this.#availSlot * DESCRIPTOR_WORDS16 + DESC_FLAGS16;
    // An unordered look first: an empty ring is polled most of the time, and an ordered load costs several times as much.
    if ((this.#ring16[at]! & AVAIL_USED) !== this.#availFlags) return Pop.EMPTY;
    const flags = this.#acquireFlags(at);
    if ((flags & AVAIL_USED) !== this.#availFlags) return Pop.EMPTY;
    const id = this.#take(flags);
    return id < 0 ? id : this.#chains.read(id, chain);
  }

  popBurst(burst: Burst, limit: number, writable: boolean): number {
    if (this.#misplaced !== 0) return 0;
    const count = this.#countSingle(Math.min(limit, this.#freeCells), writable ? WRITE : 0);
    const ring32 = this.#ring32;
    const memory = this.#memory;
    const log = this.#log;
    let slot = this.#availSlot;
    let flags = this.#availFlags;
    let i = 0;
    for (; i < count; i++) {
      const word = slot * DESCRIPTOR_WORDS;
      const low = ring32[word]!;
      const high = ring32[word + 1]!;
      const length = ring32[word + DESC_LENGTH]!;
      const idFlags = ring32[word + DESC_ID_FLAGS]!;
      const id = idFlags & 0xffff;
      const address = high * TWO_TO_32 + low;
      const window = memory.windowOf(address, length);
      if (window < 0 || id >= this.#size) break;
      const cell = this.#cells[this.#freeCells - 1]!;
      log.setCell(cell, low, high, length, writable ? WRITE : 0);
      if (!log.takeChain(id, cell, 1)) break;
      this.#freeCells--;
      burst.head[i] = id;
      burst.window[i] = window;
      burst.offset[i] = address - memory.startOf(window);
      burst.length[i] = length;
      slot++;
      if (slot === this.#size) {
        slot = 0;
        flags ^= AVAIL_USED;
      }
    }
    this.#availSlot = slot;
    this.#availFlags = flags;
    return i;
  }

  unpop(id: number): void {
    this.#availSlot -= this.#log.chainLength(id);
    this.#finish(id);
    if (this.#availSlot >= 0) return;
    this.#availSlot += this.#size;
    this.#availFlags ^= AVAIL_USED;
  }

  retake(id: number, chain: Chain): number {
    return this.#chains.read(id, chain);
  }

  push(id: number, writtenBytes: number): void {
    this.#log.setReturn(this.#pushed++, id, writtenBytes);
  }

  pushBurst(burst: Burst, from: number, to: number): void {
    for (let i = from; i < to; i++) this.#log.setReturn(this.#pushed++, burst.head[i]!, burst.written[i]!);
  }

  publish(): boolean {
    const count = this.#pushed;
    if (count === 0) return false;
    const log = this.#log;
    let descriptors = 0;
    for (let i = 0; i < count; i++) descriptors += log.chainLength(log.returnedHead(i));
    const before = this.#used;
    const now = packedAfter(before, descriptors, this.#size);
    log.intend(now);
    this.#returns.write(before, count);
    for (let i = 0; i < count; i++) this.#finish(log.returnedHead(i));
    log.settle(now);
    this.#used = now;
    this.#pushed = 0;
    this.#publishedChains = (this.#publishedChains + count) & 0xffff;
    return this.stillWants(before);
  }

  published(): number {
    return this.#used;
  }

  publishedSince(from: number): number {
    return packedDistance(from, this.#used, this.#size);
  }

  publishedChains(): number {
    return this.#publishedChains;
  }

  stillWants(from: number): boolean {
    const flags = Atomics.load(this.#driverEvent, EVENT_FLAGS) & EVENT_FLAGS_MASK;
    if (flags !== Events.AT_DESC || !this.#eventIdx) return flags !== Events.DISABLE;
    // Ordered: the driver writes the position before the flags.
    const event = packedPosition(Atomics.load(this.#driverEvent, EVENT_DESC), this.#size);
    return packedDistance(from, event, this.#size) < packedDistance(from, this.#used, this.#size);
  }

  suppressKicks(): void {
    this.#deviceEvent[EVENT_FLAGS] = Events.DISABLE;
  }

  requestKicks(): boolean {
    if (this.#eventIdx) this.#deviceEvent[EVENT_DESC] = packedOffsetAndWrap(this.#availPosition(), this.#size);
    // A full barrier between the request and the look: the driver does the same in the opposite order.
    Atomics.store(this.#deviceEvent, EVENT_FLAGS, this.#eventIdx ? Events.AT_DESC : Events.ENABLE);
    const flags = this.#acquireFlags(this.#availSlot * DESCRIPTOR_WORDS16 + DESC_FLAGS16);
    return (flags & AVAIL_USED) === this.#availFlags || this.#misplaced !== 0;
  }

  /**
   * How many of the next descriptors are available and a chain each, of one kind. A driver may show several by the flags of the first
   * of them, written last, and nobody can tell where such a batch begins: all are acquired, the last in any case, since what is in
   * them is read later. VIRTIO 1.3, 2.8.21
   */
  #countSingle(limit: number, wanted: number): number {
    let slot = this.#availSlot;
    let flags = this.#availFlags;
    let last = 0;
    let count = 0;
    while (count < limit) {
      const at = slot * DESCRIPTOR_WORDS16 + DESC_FLAGS16;
      if ((this.#ring16[at]! & (AVAIL_USED | FLAGS_KEPT)) !== (flags | wanted)) break;
      if (!LOADS_IN_ORDER) this.#acquireFlags(at);
      last = at;
      count++;
      slot++;
      if (slot === this.#size) {
        slot = 0;
        flags ^= AVAIL_USED;
      }
    }
    if (count > 0) this.#acquireFlags(last);
    return count;
  }

  #acquireFlags(at: number): number {
    return Atomics.load(this.#ring16, at);
  }

  /**
   * Copies the chain that begins at the next slot into the log and notes it in flight. Returns its buffer id, which is in its last
   * descriptor, or a fault.
   *
   * @param flags - of its first descriptor
   */
  #take(flags: number): number {
    const ring32 = this.#ring32;
    const log = this.#log;
    const cells = this.#cells;
    const room = this.#freeCells;
    let slot = this.#availSlot;
    let idFlags = (flags << 16) | this.#ring16[slot * DESCRIPTOR_WORDS16 + DESC_ID16]!;
    let count = 0;
    for (;;) {
      // What is in flight and what is available together have room in the ring.
      if (count === room) return room === this.#size ? Pop.CHAIN_TOO_LONG : Pop.AVAIL_INDEX_INVALID;
      // Empty descriptors take time too.
      if (count === CHAIN_SEGMENTS_MAX) return Pop.SEGMENTS_EXCEEDED;
      const word = slot * DESCRIPTOR_WORDS;
      const cell = cells[room - 1 - count]!;
      const kept = (idFlags >>> 16) & FLAGS_KEPT;
      const next = count + 1 < room ? cells[room - 2 - count]! : 0;
      log.setCell(cell, ring32[word]!, ring32[word + 1]!, ring32[word + DESC_LENGTH]!, kept | (next << 16));
      count++;
      slot = slot + 1 === this.#size ? 0 : slot + 1;
      if ((kept & NEXT) === 0) break;
      idFlags = ring32[slot * DESCRIPTOR_WORDS + DESC_ID_FLAGS]!;
    }
    const id = idFlags & 0xffff;
    if (id >= this.#size) return Pop.HEAD_OUT_OF_RANGE;
    if (!log.takeChain(id, cells[room - 1]!, count)) return Pop.HEAD_IN_FLIGHT;
    this.#freeCells = room - count;
    if (slot <= this.#availSlot) this.#availFlags ^= AVAIL_USED;
    this.#availSlot = slot;
    return id;
  }

  /** Takes a chain that is not in flight any more out of the log. */
  #finish(id: number): void {
    const log = this.#log;
    let cell = log.firstCell(id);
    for (let left = log.chainLength(id); left > 0; left--) {
      this.#cells[this.#freeCells++] = cell;
      cell = log.cellFlagsNext(cell) >>> 16;
    }
    log.finish(id);
  }

  #availPosition(): number {
    return this.#availFlags === AVAIL ? this.#availSlot : this.#availSlot + this.#size;
  }
}
