import type { GuestMemory } from '../guest-memory/guest-memory.js';
import type { Segments } from '../guest-memory/segments.js';

/** Bytes of a frame that are looked at before it is passed on: both addresses and the type or VLAN tag. */
export const HEAD_BYTES = 16;

/**
 * One Ethernet frame on its way through the switch: pieces of its sender's memory, and its first bytes as they were when they
 * were read. Decisions are made on these, because the sender may change its memory meanwhile, and receivers get these.
 */
export class Frame {
  memory!: GuestMemory;
  /** The frame is `segments[first … end)`, the first of them from `skip` bytes on. */
  segments!: Segments;
  first = 0;
  end = 0;
  skip = 0;
  byteLength = 0;
  /** Addresses, as their upper 16 and lower 32 bits; and the type. IEEE 802.3, 3.1.1 */
  destinationHigh = 0;
  destinationLow = 0;
  sourceHigh = 0;
  sourceLow = 0;
  etherType = 0;
  /** Queue pair by which it came. */
  pair = 0;
  /** The first bytes, as four words. */
  readonly head = new Uint32Array(HEAD_BYTES / 4);
  readonly #bytes = Buffer.from(this.head.buffer);

  /** Reads the first bytes, of which the frame has enough. */
  readHead(): void {
    const { segments, first, skip, head } = this;
    const at = segments.offset[first]! + skip;
    const whole = segments.length[first]! - skip >= HEAD_BYTES;
    const words = this.memory.words[segments.window[first]!]!;
    if (whole && (at & 3) === 0) {
      const word = at >>> 2;
      head[0] = words[word]!;
      head[1] = words[word + 1]!;
      head[2] = words[word + 2]!;
      head[3] = words[word + 3]!;
    } else {
      this.#gatherHead();
    }
    const [a, b, c, d] = [head[0]!, head[1]!, head[2]!, head[3]!];
    this.destinationHigh = swap16(a);
    this.destinationLow = ((swap16(a >>> 16) << 16) | swap16(b)) >>> 0;
    this.sourceHigh = swap16(b >>> 16);
    this.sourceLow = ((swap16(c) << 16) | swap16(c >>> 16)) >>> 0;
    this.etherType = swap16(d);
  }

  /** The same for a head that lies in several pieces, or unaligned. */
  #gatherHead(): void {
    const { segments } = this;
    let skip = this.skip;
    let at = 0;
    for (let i = this.first; i < this.end && at < HEAD_BYTES; i++) {
      const from = segments.offset[i]! + skip;
      const count = Math.min(segments.length[i]! - skip, HEAD_BYTES - at);
      at += this.memory.bytes[segments.window[i]!]!.copy(this.#bytes, at, from, from + count);
      skip = 0;
    }
  }
}

/** Two bytes in network order. */
const swap16 = (word: number): number => ((word & 0xff) << 8) | ((word >>> 8) & 0xff);
