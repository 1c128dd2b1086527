import { assert } from '../errors.js';
import { GUEST_ADDRESS_HIGH_MAX, WINDOW_BYTES } from '../limits.js';
import type { Segments } from './segments.js';
import { openWindow, placeWindows, type WindowPlace } from './windows.js';

/** A region of guest memory that is mapped in this process. Plain data: it crosses to the sidecores as it is. */
export interface MappedRegion {
  /** First guest physical address. */
  readonly guestAddress: number;
  /** Length, bytes. */
  readonly size: number;
  /** The same memory's address in the front end, in which ring addresses are given. */
  readonly userAddress: number;
  /** The same memory's address in this process. */
  readonly hostAddress: number;
}

/** What `translate` gives. */
export const Translation = { OK: 0, OUTSIDE: -1, FULL: -2 } as const;

const TWO_TO_32 = 2 ** 32;

/** What a window has before it was opened. */
const NO_BYTES = Buffer.alloc(0);
const NO_WORDS = new Uint32Array(0);
const NO_LONGS = new BigUint64Array(0);

/**
 * The memory of one guest as a thread sees it: all regions, cut into windows, in one table ordered by guest physical
 * address. Built when the memory table changes, never per request.
 */
export class GuestMemory {
  /** The windows' memory, for copies. That of a window is empty until an address in it was translated. */
  readonly bytes: Buffer[] = [];
  /** The same as 32-bit words, for headers and indirect descriptor tables. */
  readonly words: Uint32Array[] = [];
  /** The same as 64-bit words, for copies. */
  readonly longs: BigUint64Array[] = [];
  /** The windows' addresses in this process, for the kernel. */
  readonly hostAddress: Float64Array;
  readonly #start: Float64Array;
  readonly #end: Float64Array;
  readonly #count: number;
  #last = 0;

  /** Regions must not overlap; the memory table's owner has checked that. */
  constructor(regions: readonly MappedRegion[], windowBytes = WINDOW_BYTES) {
    const windows: { start: number; window: WindowPlace }[] = [];
    for (const region of [...regions].sort((a, b) => a.guestAddress - b.guestAddress)) {
      let start = region.guestAddress;
      for (const window of placeWindows(region.hostAddress, region.size, windowBytes)) {
        windows.push({ start, window });
        start += window.byteLength;
      }
    }
    this.#count = windows.length;
    // At least one slot, so that the search below has something to read in a guest without memory.
    this.#start = new Float64Array(Math.max(1, windows.length));
    this.#end = new Float64Array(Math.max(1, windows.length));
    this.hostAddress = new Float64Array(Math.max(1, windows.length));
    windows.forEach(({ start, window }, index) => {
      assert(index === 0 || start >= this.#end[index - 1]!, 'regions overlap');
      this.#start[index] = start;
      this.#end[index] = start + window.byteLength;
      this.hostAddress[index] = window.address;
      this.bytes.push(NO_BYTES);
      this.words.push(NO_WORDS);
      this.longs.push(NO_LONGS);
    });
    if (this.#count > 0) this.#open(0);
  }

  /**
   * Appends the pieces of `[address, address + length)` to `segments`, one for each window that it touches. The address
   * comes as two 32-bit halves, as it stands in a descriptor. `OUTSIDE` if any byte is not guest memory, `FULL` if the
   * list has no room; pieces may have been appended by then.
   */
  translate(addressLow: number, addressHigh: number, length: number, segments: Segments): number {
    if (addressHigh >= GUEST_ADDRESS_HIGH_MAX) return Translation.OUTSIDE;
    const address = addressHigh * TWO_TO_32 + addressLow;
    let index = this.#last;
    if (address < this.#start[index]! || address >= this.#end[index]!) {
      index = this.#search(address);
      if (index < 0) return Translation.OUTSIDE;
      this.#open(index);
      this.#last = index;
    }
    if (address + length <= this.#end[index]!) {
      return segments.push(index, address - this.#start[index]!, length) ? Translation.OK : Translation.FULL;
    }
    return this.#translateAcross(address, length, index, segments);
  }

  /** The window that holds all of `[address, address + length)`, ready for use; negative if none does. */
  windowOf(address: number, length: number): number {
    let index = this.#last;
    if (!(address >= this.#start[index]! && address < this.#end[index]!)) {
      index = this.#search(address);
      if (index < 0) return index;
      this.#open(index);
      this.#last = index;
    }
    return address + length <= this.#end[index]! ? index : -1;
  }

  /** Guest physical addresses of a window's first byte, and of the first behind it. */
  startOf(window: number): number {
    return this.#start[window]!;
  }

  endOf(window: number): number {
    return this.#end[window]!;
  }

  /** The way of a piece that does not fit one window. */
  #translateAcross(address: number, length: number, index: number, segments: Segments): number {
    let at = address;
    let left = length;
    for (let i = index; left > 0; i++) {
      if (i >= this.#count || at < this.#start[i]! || at >= this.#end[i]!) return Translation.OUTSIDE;
      this.#open(i);
      const piece = Math.min(left, this.#end[i]! - at);
      if (!segments.push(i, at - this.#start[i]!, piece)) return Translation.FULL;
      at += piece;
      left -= piece;
    }
    return Translation.OK;
  }

  /** Makes the views of a window if it has none: on a Node that takes many small ones, each takes milliseconds. */
  #open(index: number): void {
    if (this.bytes[index] !== NO_BYTES) return;
    const place = { address: this.hostAddress[index]!, byteLength: this.#end[index]! - this.#start[index]! };
    const { bytes, words, longs } = openWindow(place);
    this.bytes[index] = bytes;
    this.words[index] = words;
    this.longs[index] = longs;
  }

  /** The window that holds the address, by binary search; negative if none does. */
  #search(address: number): number {
    let low = 0;
    let high = this.#count - 1;
    while (low <= high) {
      const middle = (low + high) >>> 1;
      if (address < this.#start[middle]!) high = middle - 1;
      else if (address >= this.#end[middle]!) low = middle + 1;
      else return middle;
    }
    return -1;
  }
}

/**
 * The address in this process of a stretch of the front end's address space, as rings are given by vhost-user; negative
 * unless one region holds all of it.
 */
export function hostAddressOfUser(regions: readonly MappedRegion[], userAddress: number, length: number): number {
  for (const region of regions) {
    const offset = userAddress - region.userAddress;
    if (offset >= 0 && offset + length <= region.size) return region.hostAddress + offset;
  }
  return -1;
}
