import { assert } from '../errors.js';
import { Segments } from '../guest-memory/segments.js';
import { FRAME_BYTES_MAX, FRAMES_DEFERRED_BYTES_MAX, FRAMES_DEFERRED_MAX } from '../limits.js';
import type { Frame } from '../net/frame.js';
import { NetHeader } from '../net/net-header.js';
import { StagingMemory } from '../net/staging-memory.js';
import { FrameDirection, NO_TOKEN } from './frame-contract.js';
import type { FrameKeeper, FrameView } from './frame-view.js';

/** Frames are kept in blocks of so many bytes; the number of its first block names a frame. */
const BLOCK_BYTES = FRAMES_DEFERRED_BYTES_MAX / FRAMES_DEFERRED_MAX;
const BLOCKS = FRAMES_DEFERRED_MAX;
const FRAME_BLOCKS_MAX = Math.ceil((FRAME_BYTES_MAX + 4) / BLOCK_BYTES);
/** A token is a block's number and, above it, how often that was used: an old token names no frame. */
const USES_MAX = 2 ** 19;
const NONE = -1;

assert((BLOCKS & (BLOCKS - 1)) === 0 && BLOCKS * USES_MAX <= 2 ** 30, 'a token is a small number');

/** Words of a header as it is kept. */
const HEADER_WORDS = 6;

/** What of a frame is on its way through `scratch` to several blocks. One thread has one. */
let scratch: StagingMemory | undefined;

/** Whether frames may be kept just now. */
export interface KeepingRule {
  readonly mayKeep: boolean;
}

/** The frames that one filter keeps: copies, in memory of its own. */
export class KeptFrames implements FrameKeeper {
  /** Kept frames; of these, how many are to go on, by direction. */
  count = 0;
  outboundDue = 0;
  inboundDue = 0;
  readonly #rule: KeepingRule;
  readonly #memory = new StagingMemory(BLOCKS * BLOCK_BYTES);
  readonly #segments = new Segments(FRAME_BLOCKS_MAX);
  /** By block: the next of the same frame, or of those that are free. */
  readonly #next = new Int32Array(BLOCKS);
  #free = 0;
  #freeCount = BLOCKS;
  /** By first block. */
  readonly #uses = new Int32Array(BLOCKS);
  /** Zero if it is no first block. */
  readonly #byteLength = new Uint32Array(BLOCKS);
  readonly #direction = new Uint8Array(BLOCKS);
  readonly #isDue = new Uint8Array(BLOCKS);
  readonly #pair = new Uint16Array(BLOCKS);
  readonly #vlan = new Int16Array(BLOCKS);
  readonly #native = new Int16Array(BLOCKS);
  readonly #header = new Uint16Array(BLOCKS * HEADER_WORDS);
  readonly #none = new NetHeader();
  /** In which order they came. */
  readonly #order = new Float64Array(BLOCKS);
  #came = 0;
  /** First blocks of those that are to go on, in the order of asking: a ring for each direction. */
  readonly #outbound = new Int32Array(BLOCKS);
  readonly #inbound = new Int32Array(BLOCKS);
  #outboundAt = 0;
  #inboundAt = 0;

  constructor(rule: KeepingRule) {
    this.#rule = rule;
    for (let i = 0; i < BLOCKS; i++) this.#next[i] = i + 1;
    this.#next[BLOCKS - 1] = NONE;
  }

  keep(view: FrameView): number {
    const { byteLength, frame } = view;
    const blocks = Math.ceil(byteLength / BLOCK_BYTES);
    if (!this.#rule.mayKeep || blocks > this.#freeCount) return NO_TOKEN;
    const first = this.#free;
    if (blocks === 1) this.#copy(view, this.#memory, first * BLOCK_BYTES);
    else this.#copyBlocks(view);
    let last = first;
    for (let i = 1; i < blocks; i++) last = this.#next[last]!;
    this.#free = this.#next[last]!;
    this.#next[last] = NONE;
    this.#freeCount -= blocks;
    this.count++;
    this.#byteLength[first] = byteLength;
    this.#direction[first] = view.direction;
    this.#isDue[first] = 0;
    this.#pair[first] = view.pair;
    this.#vlan[first] = view.vlan;
    this.#native[first] = view.native;
    this.#order[first] = this.#came;
    this.#came++;
    this.#keepHeader(frame === undefined ? this.#none : frame.header, first * HEADER_WORDS);
    return this.#tokenOf(first);
  }

  /** Has one go on; false if it is none. */
  setDue(token: number): boolean {
    const first = this.#find(token);
    if (first < 0 || this.#isDue[first] === 1) return false;
    this.#isDue[first] = 1;
    if (this.#direction[first] === FrameDirection.OUTBOUND)
      this.#outbound[(this.#outboundAt + this.outboundDue++) & (BLOCKS - 1)] = first;
    else this.#inbound[(this.#inboundAt + this.inboundDue++) & (BLOCKS - 1)] = first;
    return true;
  }

  /** Has all go on, in the order in which they came. Allocates. */
  setAllDue(): void {
    for (const token of this.tokens()) this.setDue(token);
  }

  /** The token of the next that is to go on that way, or `NO_TOKEN`. It is to be freed. */
  takeDue(direction: number): number {
    if (direction === FrameDirection.OUTBOUND) {
      if (this.outboundDue === 0) return NO_TOKEN;
      const first = this.#outbound[this.#outboundAt]!;
      this.#outboundAt = (this.#outboundAt + 1) & (BLOCKS - 1);
      this.outboundDue--;
      return this.#tokenOf(first);
    }
    if (this.inboundDue === 0) return NO_TOKEN;
    const first = this.#inbound[this.#inboundAt]!;
    this.#inboundAt = (this.#inboundAt + 1) & (BLOCKS - 1);
    this.inboundDue--;
    return this.#tokenOf(first);
  }

  /** Makes a frame of one, until it is freed. Returns the VLAN of its like without a tag, as `Switch.sendOn` takes it. */
  describe(token: number, into: Frame): number {
    const first = token & (BLOCKS - 1);
    const segments = this.#segments;
    segments.count = 0;
    let left = this.#byteLength[first]!;
    for (let block = first; block !== NONE; block = this.#next[block]!) {
      segments.push(0, block * BLOCK_BYTES, Math.min(left, BLOCK_BYTES));
      left -= BLOCK_BYTES;
    }
    into.owner = undefined;
    into.pair = this.#pair[first]!;
    this.#restoreHeader(into.header, first * HEADER_WORDS);
    const { buffer } = this.#memory;
    into.set(this.#memory, segments, segments.count, 0, this.#byteLength[first]!, buffer, first * BLOCK_BYTES);
    into.vlan = this.#vlan[first]!;
    return this.#native[first]!;
  }

  /** Forgets one that is not to go on; false if it is none. */
  drop(token: number): boolean {
    const first = this.#find(token);
    if (first < 0 || this.#isDue[first] === 1) return false;
    this.free(token);
    return true;
  }

  /** Forgets one that has gone on. */
  free(token: number): void {
    const first = token & (BLOCKS - 1);
    this.#byteLength[first] = 0;
    this.#uses[first] = (this.#uses[first]! + 1) & (USES_MAX - 1);
    let last = first;
    let blocks = 1;
    for (; this.#next[last] !== NONE; blocks++) last = this.#next[last]!;
    this.#next[last] = this.#free;
    this.#free = first;
    this.#freeCount += blocks;
    this.count--;
  }

  /** Tokens of all that nobody has asked to go on, in the order in which they came. Allocates. */
  tokens(): number[] {
    const kept: number[] = [];
    for (let first = 0; first < BLOCKS; first++)
      if (this.#byteLength[first] !== 0 && this.#isDue[first] === 0) kept.push(first);
    kept.sort((one, other) => this.#order[one]! - this.#order[other]!);
    return kept.map((first) => this.#tokenOf(first));
  }

  #tokenOf(first: number): number {
    return this.#uses[first]! * BLOCKS + first;
  }

  #find(token: number): number {
    const first = token & (BLOCKS - 1);
    return token >= 0 && this.#byteLength[first] !== 0 && this.#tokenOf(first) === token ? first : NONE;
  }

  #copy(view: FrameView, memory: StagingMemory, at: number): void {
    const { frame, byteLength } = view;
    if (frame !== undefined) frame.copyTo(memory.buffer, at);
    else view.bytes.copy(memory.buffer, at, view.start, view.start + byteLength);
  }

  /** Copies it to the blocks that are free, one after the other. */
  #copyBlocks(view: FrameView): void {
    scratch ??= new StagingMemory();
    this.#copy(view, scratch, 0);
    let block = this.#free;
    for (let at = 0; at < view.byteLength; at += BLOCK_BYTES, block = this.#next[block]!) {
      const end = Math.min(at + BLOCK_BYTES, view.byteLength);
      scratch.buffer.copy(this.#memory.buffer, block * BLOCK_BYTES, at, end);
    }
  }

  #keepHeader(header: NetHeader, at: number): void {
    const words = this.#header;
    words[at] = header.flags;
    words[at + 1] = header.gsoType;
    words[at + 2] = header.hdrLen;
    words[at + 3] = header.gsoSize;
    words[at + 4] = header.csumStart;
    words[at + 5] = header.csumOffset;
  }

  #restoreHeader(header: NetHeader, at: number): void {
    const words = this.#header;
    header.flags = words[at]!;
    header.gsoType = words[at + 1]!;
    header.hdrLen = words[at + 2]!;
    header.gsoSize = words[at + 3]!;
    header.csumStart = words[at + 4]!;
    header.csumOffset = words[at + 5]!;
    header.numBuffers = 0;
  }
}
