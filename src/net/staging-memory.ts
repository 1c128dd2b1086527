import { Segments } from '../guest-memory/segments.js';
import { FRAME_BYTES_MAX } from '../limits.js';
import { VLAN_TAG_BYTES } from './ethernet.js';
import type { Frame, FrameMemory } from './frame.js';

/** Private memory in which one frame at a time is put together, in the form that a `Frame` wants. */
export class StagingMemory implements FrameMemory {
  readonly buffer: Buffer;
  readonly bytes: Buffer[];
  readonly words: Uint32Array[];
  readonly longs: BigUint64Array[];
  /** Not known: nobody hands this memory to the kernel. */
  readonly hostAddress = new Float64Array(1);
  readonly #segments = new Segments(1);

  /** By default there is room for the longest frame with the tag that it may leave with. */
  constructor(byteLength = FRAME_BYTES_MAX + VLAN_TAG_BYTES) {
    const memory = new ArrayBuffer((byteLength + 7) & ~7);
    this.buffer = Buffer.from(memory);
    this.bytes = [this.buffer];
    this.words = [new Uint32Array(memory)];
    this.longs = [new BigUint64Array(memory)];
  }

  /** Makes a frame of the bytes at `offset`. */
  describe(offset: number, byteLength: number, into: Frame): void {
    const segments = this.#segments;
    segments.offset[0] = offset;
    segments.length[0] = byteLength;
    segments.count = 1;
    into.owner = undefined;
    into.set(this, segments, 1, 0, byteLength, this.buffer, offset);
  }
}
