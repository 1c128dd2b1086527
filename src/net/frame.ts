import { copyBytes } from '../guest-memory/copy.js';
import { Segments } from '../guest-memory/segments.js';
import { FRAME_HEADERS_BYTES_MAX } from '../limits.js';
import {
  ETHERNET_HEADER_BYTES,
  EthernetOffset,
  EtherType,
  insertTag,
  readBe16,
  removeTag,
  TAG_TYPE_LE,
  UNTAGGED,
  VLAN_TAG_BYTES,
} from './ethernet.js';
import { NetHeader } from './net-header.js';

/** Bytes of a frame that are read once and passed on as they were read: both addresses, the type or a tag. */
export const HEAD_BYTES = 16;
/** The same of a frame with a tag: it may leave without that, and then its receiver takes what follows for the type. */
export const TAGGED_HEAD_BYTES = HEAD_BYTES + VLAN_TAG_BYTES;

/** Most that a frame has in private memory: all its headers, with a tag that it may get. */
export const PREFIX_BYTES_MAX = VLAN_TAG_BYTES + FRAME_HEADERS_BYTES_MAX;

const PRIVATE_LOOP_BYTES_MAX = 64;

/** Memory of which frames are pieces: a guest's, or ours. By window, as `Segments` names them. */
export interface FrameMemory {
  readonly bytes: Buffer[];
  readonly words: Uint32Array[];
  readonly longs: BigUint64Array[];
  /** Addresses in this process, for the kernel. */
  readonly hostAddress: Float64Array;
}

/** Whose memory a frame is in, and who can wait until a port is done with it. */
export interface FrameOwner {
  /** The memory of the frame that is being delivered stays as it is until `release` was called with what this gives. */
  hold(slot: number): number;
  release(token: number): void;
}

/**
 * One Ethernet frame on its way through the switch: its first bytes in private memory (`prefix`), as they were when they were
 * read and with the tag that it leaves with, and the rest in pieces of its sender's memory. Decisions are made on the private
 * bytes, because the sender may change its memory meanwhile, and receivers get these.
 */
export class Frame {
  memory!: FrameMemory;
  /** The rest is `segments[first … end)`, the first of them from `skip` bytes on. */
  segments: Segments;
  first = 0;
  end = 0;
  skip = 0;
  /** Of prefix and rest together. */
  byteLength = 0;
  /** Private memory with the bytes `prefixStart` … `prefixStart + prefixBytes - 1`; a multiple of four each, but for short frames. */
  readonly prefix = Buffer.alloc(PREFIX_BYTES_MAX);
  readonly prefixWords = new Uint32Array(this.prefix.buffer, this.prefix.byteOffset, this.prefix.length / 4);
  prefixStart = VLAN_TAG_BYTES;
  prefixBytes = HEAD_BYTES;
  /** What is left to be done to it. Checked. */
  readonly header = new NetHeader();
  /** Addresses, as their upper 16 and lower 32 bits; and the type. IEEE 802.3, 3.1.1 */
  destinationHigh = 0;
  destinationLow = 0;
  sourceHigh = 0;
  sourceLow = 0;
  etherType = 0;
  /** VLAN id of its tag as it came, or `UNTAGGED`; priority and drop bit of that. */
  tag = UNTAGGED;
  priority = 0;
  /** Behind that tag there is another one: without the first, it would be in the VLAN that the second says. */
  hidesTag = false;
  /** VLAN that it is in. */
  vlan = 0;
  /** Number of the port by which it came, and the queue pair. */
  port = 0;
  pair = 0;
  /** Undefined if its memory is used again as soon as it was delivered. */
  owner: FrameOwner | undefined = undefined;
  /** Names it to its owner. */
  slot = 0;
  /** VLAN id of the tag that it leaves with, or `UNTAGGED`. */
  tagNow = UNTAGGED;
  /** Where it is if it is in one piece. */
  readonly #piece = new Segments(1);

  constructor() {
    this.segments = this.#piece;
  }

  /**
   * Takes a frame of at least 14 bytes, which begins `skip` bytes into `segments[0 … end)`.
   *
   * @param head - private memory with its first `TAGGED_HEAD_BYTES`, or all of it, at `headAt`
   */
  set(
    memory: FrameMemory,
    segments: Segments,
    end: number,
    skip: number,
    byteLength: number,
    head: Buffer,
    headAt: number,
  ): void {
    this.memory = memory;
    this.segments = segments;
    this.byteLength = byteLength;
    this.end = end;
    // One that is cut off within its tag has none.
    const tagged =
      byteLength >= ETHERNET_HEADER_BYTES + VLAN_TAG_BYTES &&
      readBe16(head, headAt + EthernetOffset.TYPE) === EtherType.VLAN;
    const prefixBytes = Math.min(tagged ? TAGGED_HEAD_BYTES : HEAD_BYTES, byteLength);
    for (let i = 0; i < prefixBytes; i++) this.prefix[VLAN_TAG_BYTES + i] = head[headAt + i]!;
    let first = 0;
    let rest = skip + prefixBytes;
    while (first < end && rest >= segments.length[first]!) rest -= segments.length[first++]!;
    this.first = first;
    this.skip = rest;
    this.#look(prefixBytes);
  }

  /** Takes a frame in one piece, of at least 16 bytes, and 18 with a tag, whose first 16 bytes were read. */
  setPiece(
    memory: FrameMemory,
    window: number,
    offset: number,
    byteLength: number,
    a: number,
    b: number,
    c: number,
    d: number,
  ): void {
    const segments = this.#piece;
    const { prefix, prefixWords } = this;
    this.memory = memory;
    this.segments = segments;
    this.first = this.skip = 0;
    this.byteLength = byteLength;
    prefixWords[1] = a;
    prefixWords[2] = b;
    prefixWords[3] = c;
    prefixWords[4] = d;
    let prefixBytes = HEAD_BYTES;
    if ((d & 0xffff) === TAG_TYPE_LE) {
      const bytes = memory.bytes[window]!;
      const end = Math.min(TAGGED_HEAD_BYTES, byteLength);
      for (; prefixBytes < end; prefixBytes++) prefix[VLAN_TAG_BYTES + prefixBytes] = bytes[offset + prefixBytes]!;
    }
    segments.window[0] = window;
    segments.offset[0] = offset + prefixBytes;
    segments.length[0] = byteLength - prefixBytes;
    segments.count = this.end = byteLength > prefixBytes ? 1 : 0;
    this.#look(prefixBytes);
  }

  /** Has all its headers in private memory, as far as they may go: each byte is read once, and is delivered as it was read. */
  privatise(): void {
    const { prefix, prefixStart, segments, memory } = this;
    let to = prefixStart + this.prefixBytes;
    const end = Math.min(prefix.length, prefixStart + this.byteLength);
    if (to === end) return;
    let { first, skip } = this;
    for (; to < end; first++, skip = 0) {
      const length = segments.length[first]! - skip;
      const taken = Math.min(length, end - to);
      const bytes = memory.bytes[segments.window[first]!]!;
      const from = segments.offset[first]! + skip;
      // Mostly so few that a loop is faster than a call, which allocates on Node 20.
      if (taken > PRIVATE_LOOP_BYTES_MAX) copyBytes(bytes, from, prefix, to, taken);
      else for (let i = 0; i < taken; i++) prefix[to + i] = bytes[from + i]!;
      to += taken;
      skip += taken;
      if (taken < length) break;
    }
    this.first = first;
    this.skip = skip;
    this.prefixBytes = to - prefixStart;
  }

  /** Has it leave with a tag, or without: `UNTAGGED`. A later call overrides an earlier one. */
  leaveAs(tag: number): void {
    if (tag === this.tagNow) return;
    const { prefix, prefixStart } = this;
    if (this.tagNow !== UNTAGGED) {
      this.#move(removeTag(prefix, prefixStart), -VLAN_TAG_BYTES);
    }
    if (tag !== UNTAGGED) {
      this.#move(insertTag(prefix, this.prefixStart, tag, this.priority), VLAN_TAG_BYTES);
    }
    this.tagNow = tag;
  }

  #move(prefixStart: number, bytes: number): void {
    this.prefixStart = prefixStart;
    this.prefixBytes += bytes;
    this.byteLength += bytes;
    this.header.moveBy(bytes);
  }

  /** Copies it, as it leaves, to private memory: all of it, or its first `limit` bytes. Returns how many. */
  copyTo(target: Buffer, at: number, limit = this.byteLength): number {
    const { segments, memory, prefixStart } = this;
    const prefixBytes = Math.min(this.prefixBytes, limit);
    this.prefix.copy(target, at, prefixStart, prefixStart + prefixBytes);
    const end = at + limit;
    let to = at + prefixBytes;
    let skip = this.skip;
    for (let i = this.first; i < this.end && to < end; i++, skip = 0) {
      const length = Math.min(segments.length[i]! - skip, end - to);
      copyBytes(memory.bytes[segments.window[i]!]!, segments.offset[i]! + skip, target, to, length);
      to += length;
    }
    return to - at;
  }

  /** Finds out what the first bytes say. */
  #look(prefixBytes: number): void {
    const { prefix } = this;
    this.prefixStart = VLAN_TAG_BYTES;
    this.prefixBytes = prefixBytes;
    this.destinationHigh = readBe16(prefix, 4);
    this.destinationLow = ((readBe16(prefix, 6) << 16) | readBe16(prefix, 8)) >>> 0;
    this.sourceHigh = readBe16(prefix, 10);
    this.sourceLow = ((readBe16(prefix, 12) << 16) | readBe16(prefix, 14)) >>> 0;
    this.etherType = readBe16(prefix, 16);
    this.tag = UNTAGGED;
    this.priority = 0;
    this.hidesTag = false;
    // A tag that is cut off is none; a type has to follow it.
    if (this.etherType === EtherType.VLAN && this.byteLength >= ETHERNET_HEADER_BYTES + VLAN_TAG_BYTES) {
      const control = readBe16(prefix, 18);
      this.tag = control & 0xfff;
      this.priority = control >>> 12;
      this.hidesTag = readBe16(prefix, 20) === EtherType.VLAN;
    }
    this.tagNow = this.tag;
  }
}
