import { openWindow } from '../../../guest-memory/windows.js';
import { type MemoryMap, mapAnonymous, unmap } from '../../../host/memory-map.js';
import { FRAME_BYTES_MAX } from '../../../limits.js';
import { NET_HEADER_BYTES } from '../../features.js';
import type { FrameMemory } from '../../frame.js';

const CACHE_LINE_BYTES = 64;
/** Where a slot's frame begins, bytes: behind its header, and at a multiple of 16. */
const FRAME_AT = 16;
/** Bytes of a slot: an odd number of cache lines, so that the slots' first ones do not compete for the same place in the cache. */
const SLOT_LINES = Math.ceil((FRAME_AT + FRAME_BYTES_MAX) / CACHE_LINE_BYTES) | 1;
const SLOT_BYTES = SLOT_LINES * CACHE_LINE_BYTES;

/**
 * Slots for one frame each, with its network header, that the kernel reads and writes. Mapped, not allocated: if the sidecore dies, the
 * kernel may still use it, and it stays. Takes up room only as far as frames were long.
 */
export class TapMemory implements FrameMemory {
  readonly bytes: Buffer[];
  readonly words: Uint32Array[];
  readonly longs: BigUint64Array[];
  readonly hostAddress: Float64Array;
  readonly #map: MemoryMap;

  constructor(slots: number) {
    this.#map = mapAnonymous(slots * SLOT_BYTES);
    const window = openWindow({ address: this.#map.address, byteLength: this.#map.length });
    this.bytes = [window.bytes];
    this.words = [window.words];
    this.longs = [window.longs];
    this.hostAddress = Float64Array.of(window.address);
  }

  /** Where the header of a slot's frame lies; the frame follows. Byte offset in the memory. */
  headerAt(slot: number): number {
    return slot * SLOT_BYTES + FRAME_AT - NET_HEADER_BYTES;
  }

  close(): void {
    unmap(this.#map);
  }
}

/** Header and longest frame, bytes. */
export const READ_BYTES = NET_HEADER_BYTES + FRAME_BYTES_MAX;
