import { FRAME_BYTES_MAX } from '../limits.js';
import { Burst } from '../virtio/burst.js';
import { ETHERNET_HEADER_BYTES, VLAN_TAG_BYTES } from './ethernet.js';
import { NET_HEADER_BYTES } from './features.js';
import { type Frame, type FrameMemory, type FrameOwner, HEAD_BYTES } from './frame.js';

/** Frames that are looked at together: enough for their cache misses to overlap, few enough for the first-level cache. */
export const BURST_FRAMES = 32;

/** What is to become of a frame of a burst, besides the number of the port that it goes to. */
export const Way = {
  /** Read, and nothing is known of it yet. */
  READ: -1,
  /** It needs more than to be copied to one port: `Switch.forward` is to look at it. */
  GENERAL: -2,
  /** It asks for something, has no length of a frame, or its first bytes cannot be read as words: its sender is to look at it. */
  UNREAD: -3,
} as const;

/** First words of a virtio network header that asks for nothing: flags and kind of segmentation. VIRTIO 1.3, 5.1.6 */
const ASKS_MASK = 0xff01;
/** Words of a network header and the first bytes of a frame. */
const HEADER_AND_HEAD_WORDS = (NET_HEADER_BYTES + HEAD_BYTES) / 4;
/** Shorter frames, which no network has, go by themselves: so a type that says "tag" is that of a whole one, with a type behind it. */
export const BURST_FRAME_BYTES_MIN = ETHERNET_HEADER_BYTES + VLAN_TAG_BYTES;
/** How much longer a frame may be. */
const BYTES_ABOVE_MIN = FRAME_BYTES_MAX - BURST_FRAME_BYTES_MIN;

/**
 * Frames of one sender that are looked at, switched and copied together, each in one piece of memory: the way of most frames.
 * The first bytes of each are private, as in `Frame`.
 */
export class FrameBurst {
  memory: FrameMemory;
  owner: FrameOwner | undefined;
  /** All of it is in one window of memory that nobody but us writes to, and whoever gets frames of it may move them in it. */
  readonly isPrivate: boolean;
  /** Number of the port by which they came, as the switch knows it, and the queue pair. */
  port = 0;
  pair: number;
  /** VLAN of those without a tag, or with one that only has a priority. */
  native = 0;
  /** Where the frames are, without what stands before them in their chains. */
  readonly chains = new Burst(BURST_FRAMES);
  /** The first 16 bytes of each, as four words. */
  readonly head = new Uint32Array((HEAD_BYTES / 4) * BURST_FRAMES);
  /** A port's number, or a value of `Way`. */
  readonly way = new Int32Array(BURST_FRAMES);
  /** Frames that `read` has looked at; how many of them are `READ`, and the bytes of those. */
  #count = 0;
  #readCount = 0;
  #bytes = 0;
  /** Names the first to the owner; the others follow. */
  firstSlot = 0;
  /** Makes `#fetch` have a result. */
  fetched = 0;

  constructor(memory: FrameMemory, pair: number, owner?: FrameOwner, isPrivate = false) {
    this.memory = memory;
    this.pair = pair;
    this.owner = owner;
    this.isPrivate = isPrivate;
  }

  /**
   * Reads the first bytes of the frames `0` … `count - 1`, each of which `chains` says with a header of 12 bytes before it, and
   * moves `chains` along to the frames themselves. Each is `READ` or `UNREAD` then.
   */
  read(count: number): void {
    this.#fetch(count);
    const { head, way } = this;
    const { window, offset: offsets, length: lengths } = this.chains;
    const windows = this.memory.words;
    let bytes = 0;
    let readCount = 0;
    for (let i = 0; i < count; i++) {
      const at = offsets[i]!;
      const words = windows[window[i]!]!;
      const length = lengths[i]! - NET_HEADER_BYTES;
      offsets[i] = at + NET_HEADER_BYTES;
      lengths[i] = length;
      way[i] = Way.UNREAD;
      const word = at >>> 2;
      // A frame of no allowed length is its sender's to judge. One word more than is needed: the last bytes of a window have none.
      if ((length - BURST_FRAME_BYTES_MIN) >>> 0 > BYTES_ABOVE_MIN || word + HEADER_AND_HEAD_WORDS >= words.length)
        continue;
      const to = 4 * i;
      const shift = (at & 3) << 3;
      if (shift === 0) {
        if ((words[word]! & ASKS_MASK) !== 0) continue;
        head[to] = words[word + 3]!;
        head[to + 1] = words[word + 4]!;
        head[to + 2] = words[word + 5]!;
        head[to + 3] = words[word + 6]!;
      } else {
        const back = 32 - shift;
        if ((((words[word]! >>> shift) | (words[word + 1]! << back)) & ASKS_MASK) !== 0) continue;
        const b = words[word + 4]!;
        const c = words[word + 5]!;
        const d = words[word + 6]!;
        head[to] = (words[word + 3]! >>> shift) | (b << back);
        head[to + 1] = (b >>> shift) | (c << back);
        head[to + 2] = (c >>> shift) | (d << back);
        head[to + 3] = (d >>> shift) | (words[word + 7]! << back);
      }
      way[i] = Way.READ;
      bytes = (bytes + length) | 0;
      readCount++;
    }
    this.#count = count;
    this.#readCount = readCount;
    this.#bytes = bytes;
  }

  /** The first frame from this one on that is `UNREAD`, or `count`. Those that a switch has looked at already may have another way. */
  endOfRead(from: number, count: number): number {
    if (this.#readCount === count && this.#count === count) return count;
    const { way } = this;
    let index = from;
    while (index < count && way[index]! !== Way.UNREAD) index++;
    return index;
  }

  /** Bytes of the frames `from` … `to` - 1, all of which are `READ`; mostly all there are, and asked for more than once. */
  bytesOf(from: number, to: number): number {
    if (from === 0 && to === this.#count) return this.#bytes;
    const { length } = this.chains;
    let bytes = 0;
    for (let i = from; i < to; i++) bytes += length[i]!;
    return bytes;
  }

  /**
   * Looks at the first lines of all frames, in a loop so short that the processor has many of its cache misses under way at once: the
   * lines are in the cache of whoever wrote them.
   */
  #fetch(count: number): void {
    const { window, offset } = this.chains;
    const windows = this.memory.words;
    let sum = 0;
    for (let i = 0; i < count; i++) {
      const words = windows[window[i]!]!;
      const word = offset[i]! >>> 2;
      sum ^= words[word]! ^ words[word + HEADER_AND_HEAD_WORDS]!;
    }
    this.fetched = sum;
  }

  /** Puts a frame in the place of one before it, which has gone or is not to go anywhere. */
  move(index: number, place: number): void {
    const { head, chains } = this;
    const from = 4 * index;
    const to = 4 * place;
    head[to] = head[from]!;
    head[to + 1] = head[from + 1]!;
    head[to + 2] = head[from + 2]!;
    head[to + 3] = head[from + 3]!;
    chains.window[place] = chains.window[index]!;
    chains.offset[place] = chains.offset[index]!;
    chains.length[place] = chains.length[index]!;
  }

  /** Makes a frame of one that was read and asks for nothing. */
  frame(index: number, into: Frame): Frame {
    const { chains, head } = this;
    into.header.clear();
    into.pair = this.pair;
    into.owner = this.owner;
    into.slot = this.firstSlot + index;
    const at = 4 * index;
    into.setPiece(
      this.memory,
      chains.window[index]!,
      chains.offset[index]!,
      chains.length[index]!,
      head[at]!,
      head[at + 1]!,
      head[at + 2]!,
      head[at + 3]!,
    );
    return into;
  }
}
