import { RING_LAYOUTS } from '../virtio/ring-layout.js';
import type { GuestRam } from './ram.js';

/** Available ring, in 16-bit words. VIRTIO 1.3, 2.7.6 */
const AVAIL_FLAGS = 0;
const AVAIL_INDEX = 1;
const AVAIL_RING = 2;
const AVAIL_NO_INTERRUPT = 1;
/** Used ring, in 16-bit words. VIRTIO 1.3, 2.7.8 */
const USED_FLAGS = 0;
const USED_INDEX = 1;
const USED_NO_NOTIFY = 1;

/** Completions taken before the event index is moved along, so that the device never reaches it while calls are suppressed. */
const EVENT_REFRESH = 0x4000;

/** The driver's end of a split virtqueue. VIRTIO 1.3, 2.7. Descriptors are the caller's; it adds heads and takes them back. */
export class SplitDriver {
  readonly packed = false;
  readonly size: number;
  /** Guest physical addresses of the three parts. */
  readonly descriptors: number;
  readonly available: number;
  readonly used: number;
  /** Guest physical address of the table in which chains are described. */
  readonly table: number;
  readonly #mask: number;
  readonly #eventIdx: boolean;
  readonly #avail: Uint16Array;
  readonly #used16: Uint16Array;
  readonly #used32: Uint32Array;
  #nextAvail = 0;
  #publishedAvail = 0;
  #nextUsed = 0;
  #seenUsed = 0;
  #suppressed = false;
  #eventIndex = 0;

  constructor(ram: GuestRam, size: number, eventIdx: boolean) {
    const bytes = RING_LAYOUTS.split.bytes(size);
    this.size = size;
    this.#mask = size - 1;
    this.#eventIdx = eventIdx;
    this.descriptors = ram.allocate(bytes.descriptors, 4096);
    this.table = this.descriptors;
    this.available = ram.allocate(bytes.driverArea, 64);
    this.used = ram.allocate(bytes.deviceArea, 4096);
    this.#avail = ram.words16(this.available, bytes.driverArea);
    this.#used16 = ram.words16(this.used, bytes.deviceArea);
    this.#used32 = ram.words32(this.used, bytes.deviceArea);
    this.suppressCalls();
  }

  /** Makes a chain available; the device sees it at the next `publish`. */
  add(head: number): void {
    this.#avail[AVAIL_RING + (this.#nextAvail & this.#mask)] = head;
    this.#nextAvail = (this.#nextAvail + 1) & 0xffff;
  }

  /** Shows the device all that was added. True if it wants a kick. */
  publish(): boolean {
    const before = this.#publishedAvail;
    const now = this.#nextAvail;
    if (before === now) return false;
    // Release, and a full barrier before the device's wish is read.
    Atomics.store(this.#avail, AVAIL_INDEX, now);
    this.#publishedAvail = now;
    if (!this.#eventIdx) return (Atomics.load(this.#used16, USED_FLAGS) & USED_NO_NOTIFY) === 0;
    const event = Atomics.load(this.#used16, 2 + 4 * this.size);
    return ((now - event - 1) & 0xffff) < ((now - before) & 0xffff);
  }

  /** The next head that the device has given back, or -1. */
  take(): number {
    const position = this.#nextUsed;
    if (position === this.#seenUsed) {
      // An unordered look first: it costs a fraction of an ordered load.
      if (this.#used16[USED_INDEX] === position) return -1;
      this.#seenUsed = Atomics.load(this.#used16, USED_INDEX);
      if (this.#suppressed && ((position - this.#eventIndex) & 0xffff) > EVENT_REFRESH) this.suppressCalls();
    }
    const head = this.#used32[1 + 2 * (position & this.#mask)]!;
    this.#nextUsed = (position + 1) & 0xffff;
    return head;
  }

  /** Bytes that the device says it has written to the chain taken last. */
  get takenBytes(): number {
    return this.#used32[2 + 2 * ((this.#nextUsed - 1) & this.#mask)]!;
  }

  /** Tells the device not to call: this driver polls. */
  suppressCalls(): void {
    this.#suppressed = true;
    this.#eventIndex = (this.#nextUsed - 1) & 0xffff;
    if (this.#eventIdx) this.#avail[AVAIL_RING + this.size] = this.#eventIndex;
    else this.#avail[AVAIL_FLAGS] = AVAIL_NO_INTERRUPT;
  }

  /** Asks for a call at the next completion. True if there is one already: then no call may come. */
  requestCalls(): boolean {
    this.#suppressed = false;
    if (this.#eventIdx) this.#avail[AVAIL_RING + this.size] = this.#nextUsed;
    Atomics.store(this.#avail, AVAIL_FLAGS, 0);
    return Atomics.load(this.#used16, USED_INDEX) !== this.#nextUsed;
  }

  /** Where the device stands, as far as the ring alone tells a front end: what it has given back is behind it. */
  get base(): number {
    return Atomics.load(this.#used16, USED_INDEX);
  }
}
