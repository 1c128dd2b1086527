import { type GuestMemory, Translation } from '../guest-memory/guest-memory.js';
import { viewWords16, viewWords32 } from '../host/memory-view.js';
import { CHAIN_SEGMENTS_MAX } from '../limits.js';
import type { Burst } from './burst.js';
import type { Chain } from './chain.js';
import { IndirectTable } from './indirect-table.js';
import type { InflightLog } from './inflight-log.js';
import { DESCRIPTOR_WORDS, DescriptorFlag, RING_LAYOUTS, type RingLayout } from './ring-layout.js';
import { Pop, type Virtqueue } from './virtqueue.js';

/** Split descriptor, in 32-bit words: address low, address high, length, flags with next in the upper half. 2.7.5 */
const DESC_LENGTH = 2;
const DESC_FLAGS_NEXT = 3;

/** What a descriptor's flags say of its chain. */
const CHAIN_FLAGS = DescriptorFlag.NEXT | DescriptorFlag.WRITE | DescriptorFlag.INDIRECT;
const TWO_TO_32 = 2 ** 32;

/** Available ring, in 16-bit words. VIRTIO 1.3, 2.7.6 */
const AVAIL_FLAGS = 0;
const AVAIL_INDEX = 1;
const AVAIL_RING = 2;
const AVAIL_NO_INTERRUPT = 1;

/** Used ring, in 16-bit words, and its elements in 32-bit words. VIRTIO 1.3, 2.7.8 */
const USED_FLAGS = 0;
const USED_INDEX = 1;
const USED_RING_WORD32 = 1;
const USED_NO_NOTIFY = 1;

/** Chains taken before the event index of a suppressed ring is moved along, so that it never comes into sight. */
const EVENT_REFRESH = 0x4000;

/**
 * The device's end of a split virtqueue. VIRTIO 1.3, 2.7
 *
 * The guest is hostile and concurrent: each shared field is read once into a local, checked, and the local used. Indices
 * are free-running 16-bit numbers. One acquire per batch (`#acquireAvailIndex`), one release per batch (`publish`).
 */
export class SplitRing implements Virtqueue {
  readonly unfinished: readonly number[];
  readonly #size: number;
  readonly #mask: number;
  readonly #eventIdx: boolean;
  readonly #table: IndirectTable | undefined;
  readonly #memory: GuestMemory;
  readonly #log: InflightLog;
  readonly #descriptors: Uint32Array;
  readonly #available: Uint16Array;
  readonly #used16: Uint16Array;
  readonly #used32: Uint32Array;
  /** Word of the avail ring in which the driver says when to call it. */
  readonly #usedEvent: number;
  /** Word of the used ring in which we say when to kick. */
  readonly #availEvent: number;
  /** Heads pushed and not yet published, by used index. */
  readonly #pushed: Uint16Array;
  #nextAvail: number;
  #seenAvail: number;
  #nextUsed: number;
  #publishedUsed: number;
  #eventIndex = 0;
  #suppressed = false;

  /**
   * @param resume - take over after another thread: the log says what is in flight. Otherwise the ring starts at
   *   `nextAvail`, or where it was used last, with nothing in flight.
   */
  constructor(layout: RingLayout, memory: GuestMemory, log: InflightLog, resume: boolean, nextAvail?: number) {
    const { size } = layout;
    const bytes = RING_LAYOUTS.split.bytes(size);
    this.#size = size;
    this.#mask = size - 1;
    this.#eventIdx = layout.eventIdx;
    this.#table = layout.indirect ? new IndirectTable(memory) : undefined;
    this.#memory = memory;
    this.#log = log;
    this.#descriptors = viewWords32(layout.descriptors, bytes.descriptors);
    this.#available = viewWords16(layout.driverArea, bytes.driverArea);
    this.#used16 = viewWords16(layout.deviceArea, bytes.deviceArea);
    this.#used32 = viewWords32(layout.deviceArea, bytes.deviceArea);
    this.#usedEvent = AVAIL_RING + size;
    this.#availEvent = 2 + 4 * size;
    this.#pushed = new Uint16Array(size);

    this.#nextUsed = Atomics.load(this.#used16, USED_INDEX);
    this.#publishedUsed = this.#nextUsed;
    if (resume) {
      this.#settlePublished();
      this.unfinished = log.inFlight();
      this.#nextAvail = log.nextAvail(this.#nextUsed, this.unfinished.length);
    } else {
      // A front end that does not know where the ring stands says zero. More cannot have been used than was taken.
      const said = nextAvail ?? this.#nextUsed;
      const behind = (this.#nextUsed - said) & 0xffff;
      this.#nextAvail = behind < 0x8000 ? this.#nextUsed : said;
      log.reset(this.#nextAvail, this.#nextUsed);
      this.unfinished = [];
    }
    this.#seenAvail = this.#nextAvail;
  }

  get base(): number {
    return this.#nextAvail;
  }

  waiting(): number {
    return (this.#available[AVAIL_INDEX]! - this.#nextAvail) & 0xffff;
  }

  pop(chain: Chain): number {
    const position = this.#nextAvail;
    if (position === this.#seenAvail) {
      const result = this.#look();
      if (result < 0) return result;
    }
    const head = this.#available[AVAIL_RING + (position & this.#mask)]!;
    if (head >= this.#size) return Pop.HEAD_OUT_OF_RANGE;
    if (!this.#log.take(head)) return Pop.HEAD_IN_FLIGHT;
    this.#nextAvail = (position + 1) & 0xffff;
    return this.#walk(head, chain);
  }

  popBurst(burst: Burst, limit: number, writable: boolean): number {
    const position = this.#nextAvail;
    if (position === this.#seenAvail && this.#look() < 0) return 0;
    const waiting = (this.#seenAvail - position) & 0xffff;
    // Not a double, as it would be of `Math.min`: each turn of the loop would convert it.
    const count = waiting < limit ? waiting : limit | 0;
    const descriptors = this.#descriptors;
    const available = this.#available;
    const memory = this.#memory;
    const mask = this.#mask;
    const wanted = writable ? DescriptorFlag.WRITE : 0;
    const { head: heads, window: windows, offset: offsets, length: lengths } = burst;
    let window = -1;
    // Of the window that the last piece was in: address in two halves, and bytes.
    let startHigh = -1;
    let startLow = 0;
    let size = 0;
    let i = 0;
    for (; i < count; i++) {
      const head = available[AVAIL_RING + ((position + i) & mask)]!;
      if (head > mask) break;
      const word = head * DESCRIPTOR_WORDS;
      const low = descriptors[word]!;
      const high = descriptors[word + 1]!;
      const length = descriptors[word + DESC_LENGTH]!;
      if ((descriptors[word + DESC_FLAGS_NEXT]! & CHAIN_FLAGS) !== wanted) break;
      let offset = (low - startLow) >>> 0;
      if (high !== startHigh || length > size || offset > size - length) {
        window = memory.windowOf(high * TWO_TO_32 + low, length);
        if (window < 0) break;
        const start = memory.startOf(window);
        startHigh = Math.floor(start / TWO_TO_32);
        startLow = start >>> 0;
        // As far as the upper half stays the same: beyond that the window is looked up for each piece.
        size = Math.min(memory.endOf(window) - start, TWO_TO_32 - startLow);
        offset = high * TWO_TO_32 + low - start;
      }
      heads[i] = head;
      windows[i] = window;
      offsets[i] = offset;
      lengths[i] = length;
    }
    const taken = this.#log.takeAll(heads, i);
    this.#nextAvail = (position + taken) & 0xffff;
    return taken;
  }

  unpop(head: number): void {
    this.#nextAvail = (this.#nextAvail - 1) & 0xffff;
    this.#log.finish(head);
  }

  retake(head: number, chain: Chain): number {
    return this.#walk(head, chain);
  }

  push(head: number, writtenBytes: number): void {
    const slot = this.#nextUsed & this.#mask;
    const word = USED_RING_WORD32 + 2 * slot;
    this.#used32[word] = head;
    this.#used32[word + 1] = writtenBytes;
    this.#pushed[slot] = head;
    this.#nextUsed = (this.#nextUsed + 1) & 0xffff;
  }

  pushBurst(burst: Burst, from: number, to: number): void {
    const used = this.#used32;
    const pushed = this.#pushed;
    const mask = this.#mask;
    const { head: heads, written } = burst;
    let next = this.#nextUsed;
    for (let i = from; i < to; i++) {
      const slot = next & mask;
      const head = heads[i]!;
      used[USED_RING_WORD32 + 2 * slot] = head;
      used[USED_RING_WORD32 + 2 * slot + 1] = written[i]!;
      pushed[slot] = head;
      next = (next + 1) & 0xffff;
    }
    this.#nextUsed = next;
  }

  publish(): boolean {
    const before = this.#publishedUsed;
    const now = this.#nextUsed;
    if (before === now) return false;
    // Release, and a full barrier before the driver's event word is read: it may be writing that word now.
    Atomics.store(this.#used16, USED_INDEX, now);
    for (let index = before; index !== now; index = (index + 1) & 0xffff) {
      this.#log.finish(this.#pushed[index & this.#mask]!);
    }
    this.#log.settle(now);
    this.#publishedUsed = now;
    return this.stillWants(before);
  }

  published(): number {
    return this.#publishedUsed;
  }

  publishedSince(from: number): number {
    return (this.#publishedUsed - from) & 0xffff;
  }

  publishedChains(): number {
    return this.#publishedUsed;
  }

  stillWants(from: number): boolean {
    // Ordered too: on arm64 a plain load could overtake the store of the used index.
    if (!this.#eventIdx) return (Atomics.load(this.#available, AVAIL_FLAGS) & AVAIL_NO_INTERRUPT) === 0;
    const now = this.#publishedUsed;
    const event = Atomics.load(this.#available, this.#usedEvent);
    return ((now - event - 1) & 0xffff) < ((now - from) & 0xffff);
  }

  suppressKicks(): void {
    this.#suppressed = true;
    this.#used16[USED_FLAGS] = this.#eventIdx ? 0 : USED_NO_NOTIFY;
    if (this.#eventIdx) this.#moveEventAway(this.#nextAvail);
  }

  requestKicks(): boolean {
    this.#suppressed = false;
    if (this.#eventIdx) this.#used16[this.#availEvent] = this.#nextAvail;
    // A full barrier between the request and the look: the driver does the same in the opposite order.
    Atomics.store(this.#used16, USED_FLAGS, 0);
    return this.#acquireAvailIndex() !== this.#nextAvail;
  }

  /** Looks for new chains: zero, `EMPTY`, or a fault. */
  #look(): number {
    // An unordered look first: an empty ring is polled most of the time, and an ordered load costs several times as much.
    if (this.#available[AVAIL_INDEX] === this.#nextAvail) return Pop.EMPTY;
    const index = this.#acquireAvailIndex();
    const count = (index - this.#nextAvail) & 0xffff;
    if (count > this.#size) return Pop.AVAIL_INDEX_INVALID;
    this.#seenAvail = index;
    if (this.#suppressed && this.#eventIdx && ((index - this.#eventIndex) & 0xffff) > EVENT_REFRESH) {
      this.#moveEventAway(index);
    }
    return 0;
  }

  #acquireAvailIndex(): number {
    return Atomics.load(this.#available, AVAIL_INDEX);
  }

  /** Puts the event index just behind where the driver is, who will not pass it for another 65535 chains. */
  #moveEventAway(availIndex: number): void {
    this.#eventIndex = (availIndex - 1) & 0xffff;
    this.#used16[this.#availEvent] = this.#eventIndex;
  }

  /** Settles what the thread before us published without having noted it. The used ring says what that was. */
  #settlePublished(): void {
    const from = this.#log.settled;
    const count = Math.min((this.#nextUsed - from) & 0xffff, this.#size);
    for (let i = 0; i < count; i++) {
      const head = this.#used32[USED_RING_WORD32 + 2 * ((from + i) & this.#mask)]!;
      if (head < this.#size) this.#log.finish(head);
    }
    this.#log.settle(this.#nextUsed);
  }

  /** Follows a chain from its head, through at most one indirect table. Returns the head or a fault. */
  #walk(head: number, chain: Chain): number {
    chain.clear();
    chain.head = head;
    const segments = chain.segments;
    let table = this.#descriptors;
    let tableWord = 0;
    let count = this.#size;
    // A chain visits no descriptor twice, and is no longer than any driver makes one: empty ones cost time too.
    let left = Math.min(count, CHAIN_SEGMENTS_MAX);
    let index = head;
    let indirect = false;
    for (;;) {
      if (left-- === 0) return count > CHAIN_SEGMENTS_MAX ? Pop.SEGMENTS_EXCEEDED : Pop.CHAIN_TOO_LONG;
      chain.descriptors++;
      const word = tableWord + index * DESCRIPTOR_WORDS;
      const low = table[word]!;
      const high = table[word + 1]!;
      const length = table[word + DESC_LENGTH]!;
      const flagsNext = table[word + DESC_FLAGS_NEXT]!;
      if ((flagsNext & DescriptorFlag.INDIRECT) !== 0) {
        const indirectTable = this.#table;
        if (indirect || indirectTable === undefined || (flagsNext & DescriptorFlag.NEXT) !== 0)
          return Pop.INDIRECT_INVALID;
        const result = indirectTable.open(low, high, length);
        if (result < 0) return result;
        table = indirectTable.words;
        tableWord = indirectTable.firstWord;
        indirect = true;
        count = left = indirectTable.count;
        index = 0;
        continue;
      }
      if ((flagsNext & DescriptorFlag.WRITE) !== 0) {
        chain.writableBytes += length;
      } else {
        if (chain.writableBytes > 0) return Pop.DIRECTION_INVALID;
        chain.readableBytes += length;
      }
      if (length > 0) {
        const result = this.#memory.translate(low, high, length, segments);
        if (result !== Translation.OK) {
          return result === Translation.FULL ? Pop.SEGMENTS_EXCEEDED : Pop.ADDRESS_INVALID;
        }
      }
      if ((flagsNext & DescriptorFlag.WRITE) === 0) chain.readableCount = segments.count;
      if ((flagsNext & DescriptorFlag.NEXT) === 0) return head;
      index = flagsNext >>> 16;
      if (index >= count)
        return indirect && count === CHAIN_SEGMENTS_MAX ? Pop.SEGMENTS_EXCEEDED : Pop.NEXT_OUT_OF_RANGE;
    }
  }
}
