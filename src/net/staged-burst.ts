import { copyPiece } from '../guest-memory/copy.js';
import { TAG_TYPE_LE } from './ethernet.js';
import { HEAD_BYTES, PREFIX_BYTES_MAX } from './frame.js';
import { BURST_FRAMES, FrameBurst } from './frame-burst.js';
import { StagingMemory } from './staging-memory.js';
import { vlanOf } from './vlan.js';

/** Room for one frame, bytes: one of an MTU of 1500, with tags, wherever in eight bytes it begins. */
const SLOT_BYTES = 2048;
const STAGED_BYTES_MAX = SLOT_BYTES - 8;

/**
 * Frames of a burst that filters look at, and those of them that they let pass, as a burst of its own. They are copied to private
 * memory, unless they are in such: what was looked at is what is delivered, whatever their sender does meanwhile.
 */
export class StagedBurst {
  readonly burst: FrameBurst;
  /** Frames that have passed. */
  count = 0;
  /** Of the frame that was staged last: its memory, where it begins, its length, what of it filters look at, its VLAN. */
  bytes: Buffer;
  start = 0;
  byteLength = 0;
  headBytes = 0;
  vlan = 0;
  readonly #staging = new StagingMemory(BURST_FRAMES * SLOT_BYTES);
  /** The source's memory is private: frames stay where they are. */
  #inPlace = false;

  constructor() {
    this.burst = new FrameBurst(this.#staging, 0);
    this.bytes = this.#staging.buffer;
  }

  /** Begins with frames of a burst; `native` is the VLAN of those without a tag. */
  begin(source: FrameBurst, native: number): void {
    const { burst } = this;
    this.count = 0;
    this.#inPlace = source.memory.isPrivate === true && source.owner === undefined;
    burst.memory = this.#inPlace ? source.memory : this.#staging;
    burst.port = source.port;
    burst.pair = source.pair;
    burst.native = native;
  }

  /** Whether a frame of the source can be staged. */
  fits(source: FrameBurst, index: number): boolean {
    return this.#inPlace || source.chains.length[index]! <= STAGED_BYTES_MAX;
  }

  /** Stages a frame of the source, which filters look at; false if it does not fit. It has passed when `count` says so. */
  take(source: FrameBurst, index: number): boolean {
    const { chains, head } = source;
    const length = chains.length[index]!;
    if (!this.fits(source, index)) return false;
    const to = this.burst.chains;
    const toHead = this.burst.head;
    const { count } = this;
    const window = chains.window[index]!;
    const from = chains.offset[index]!;
    const a = head[4 * index]!;
    const b = head[4 * index + 1]!;
    const c = head[4 * index + 2]!;
    const d = head[4 * index + 3]!;
    toHead[4 * count] = a;
    toHead[4 * count + 1] = b;
    toHead[4 * count + 2] = c;
    toHead[4 * count + 3] = d;
    to.length[count] = length;
    let start = from;
    if (this.#inPlace) {
      to.window[count] = window;
      this.bytes = source.memory.bytes[window]!;
    } else {
      // Alike in both, so that 64-bit words can be copied.
      start = count * SLOT_BYTES + ((from & 3) === 0 ? from & 4 : 4);
      const words = this.#staging.words[0]!;
      words[start >>> 2] = a;
      words[(start >>> 2) + 1] = b;
      words[(start >>> 2) + 2] = c;
      words[(start >>> 2) + 3] = d;
      copyPiece(source.memory, window, from + HEAD_BYTES, this.#staging, 0, start + HEAD_BYTES, length - HEAD_BYTES);
      to.window[count] = 0;
      this.bytes = this.#staging.buffer;
    }
    to.offset[count] = start;
    this.start = start;
    this.byteLength = length;
    this.headBytes = length < PREFIX_BYTES_MAX ? length : PREFIX_BYTES_MAX;
    const id = (d & 0xffff) === TAG_TYPE_LE ? ((d >>> 8) & 0xf00) | (d >>> 24) : 0;
    this.vlan = id === 0 ? vlanOf(this.burst.native) : id;
    return true;
  }

  /** Those that have passed are gone: the one that was staged last is the first now. */
  restart(): void {
    const { chains, head } = this.burst;
    const { count, start, byteLength } = this;
    this.count = 0;
    if (count === 0) return;
    for (let i = 0; i < 4; i++) head[i] = head[4 * count + i]!;
    chains.window[0] = chains.window[count]!;
    chains.length[0] = byteLength;
    if (!this.#inPlace) {
      this.start = start & 4;
      this.bytes.copy(this.bytes, this.start, start, start + byteLength);
    }
    chains.offset[0] = this.start;
  }
}
