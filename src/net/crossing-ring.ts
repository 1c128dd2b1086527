import { copyPiece } from '../guest-memory/copy.js';
import { NETWORKS_MAX } from '../limits.js';
import { TAG_TYPE_LE } from './ethernet.js';
import { NET_HEADER_BYTES } from './features.js';
import { type Frame, HEAD_BYTES } from './frame.js';
import type { FrameBurst } from './frame-burst.js';
import { writeNetHeader } from './net-header.js';

/** Words of the ring's head: how far the reader has given back and taken, and how far the writer is; each end has a cache line. */
const READ = 0;
const TAKEN = 1;
const WRITTEN = 16;
/** Bytes before the records. */
const HEAD_SIZE = 128;

/**
 * A record, in 32-bit words: its units, or `WRAP`; the frame's bytes; whose it is; its VLAN. Then the network header, then the frame.
 * The VLAN was found out from the port that the frame came by, and cannot be told from the frame.
 */
const RECORD_UNITS = 0;
const RECORD_BYTES = 1;
const RECORD_FROM = 2;
const RECORD_VLAN = 3;
const RECORD_WORDS = 4;
/** Where the frame is in its record, bytes. */
const FRAME_AT = 4 * RECORD_WORDS + NET_HEADER_BYTES;
/**
 * In a record's VLAN. It says where a sender is, and has only the first bytes of its frame. Or its frame is a copy for the port that it
 * names, and not to be switched.
 */
const HEADS_ONLY = 1 << 12;
const COPY = 1 << 13;
/** Whose a record is: the network from this bit on. */
export const NETWORK_SHIFT = 20;
/**
 * A network gets no more room while it has more than this many times what is free. So one has four fifths of the ring at most, and
 * leaves the others something, whose frames are lost if there is no room. (The same is known of switches with one memory for all
 * ports: Choudhury and Hahne, "Dynamic Queue Length Thresholds for Shared-Memory Packet Switches", 1998.)
 */
const SHARE = 4;
/** Positions and lengths count these, bytes. */
const UNIT = 8;
/** The rest of the ring is empty: the next record is at its start. */
const WRAP = 0xffff_ffff;

/**
 * Frames on their way from one sidecore to another: a ring of records in shared memory with one writer and one reader, each a
 * thread. Positions are free-running numbers of units. It outlives both threads: a writer that takes over goes on where the other was, a reader behind what the other had taken.
 */
export class CrossingRing {
  /** Memory of the records, as `FrameMemory`; offsets of frames are from its start. */
  readonly bytes: Buffer[];
  readonly words: Uint32Array[];
  readonly longs: BigUint64Array[];
  readonly hostAddress = new Float64Array(1);
  /** Whose the records were that were taken last, as the writer said it; the VLAN of their frames; whether they only say who is where, or are copies. */
  from = 0;
  vlan = 0;
  headsOnly = false;
  copies = false;
  readonly #positions: Int32Array;
  readonly #buffer: Buffer;
  readonly #words: Uint32Array;
  readonly #units: number;
  /** Of this end: how far it has read or written, and how far the other had got when it was looked at. */
  #own: number;
  #other: number;
  /** The writer's: units that each network has in the ring, as far as it has seen what was read. */
  readonly #held: Uint32Array;

  /** @param byteLength - of the records, a power of two */
  static create(byteLength: number): SharedArrayBuffer {
    return new SharedArrayBuffer(HEAD_SIZE + byteLength);
  }

  /** How far the writer of a ring has got, for `isReadTo`; as whoever is neither end sees it. */
  static written(shared: SharedArrayBuffer): number {
    return Atomics.load(new Int32Array(shared, 0, HEAD_SIZE / 4), WRITTEN);
  }

  /** Whether all that was written up to there has been read, and done with. */
  static isReadTo(shared: SharedArrayBuffer, position: number): boolean {
    return ((Atomics.load(new Int32Array(shared, 0, HEAD_SIZE / 4), READ) - position) | 0) >= 0;
  }

  constructor(shared: SharedArrayBuffer, end: 'reader' | 'writer') {
    this.#positions = new Int32Array(shared, 0, HEAD_SIZE / 4);
    this.#buffer = Buffer.from(shared, HEAD_SIZE);
    this.#words = new Uint32Array(shared, HEAD_SIZE);
    this.bytes = [this.#buffer];
    this.words = [this.#words];
    this.longs = [new BigUint64Array(shared, HEAD_SIZE)];
    this.#units = this.#buffer.length / UNIT;
    this.#own = Atomics.load(this.#positions, end === 'reader' ? TAKEN : WRITTEN);
    this.#other = Atomics.load(this.#positions, end === 'reader' ? WRITTEN : READ);
    this.#held = new Uint32Array(end === 'writer' ? NETWORKS_MAX : 0);
    // What a dead thread had taken and not given back, or had shown.
    if (end === 'reader') this.release();
    else this.#account(this.#other, this.#own, 1);
  }

  /** Writes a frame; false if there is no room. The reader sees it after `publish`. */
  put(frame: Frame, from: number): boolean {
    return this.#put(frame, from, frame.vlan);
  }

  /** The same for a copy; `to` says whose it will be. */
  putCopy(frame: Frame, to: number): boolean {
    return this.#put(frame, to, COPY);
  }

  #put(frame: Frame, whose: number, vlan: number): boolean {
    const at = this.#reserve(frame.byteLength, whose, vlan);
    if (at < 0) return false;
    writeNetHeader(this.#buffer, at - NET_HEADER_BYTES, frame.header);
    frame.copyTo(this.#buffer, at);
    return true;
  }

  /** The same for one of a burst. */
  putOf(burst: FrameBurst, index: number, from: number): boolean {
    const { chains, head } = burst;
    const length = chains.length[index]!;
    const at = this.#reserve(length, from, vlanOf(burst, index));
    if (at < 0) return false;
    const words = this.#words;
    const word = at >>> 2;
    words[word - 3] = words[word - 2] = words[word - 1] = 0;
    for (let i = 0; i < HEAD_BYTES / 4; i++) words[word + i] = head[4 * index + i]!;
    const source = chains.offset[index]! + HEAD_BYTES;
    copyPiece(burst.memory, chains.window[index]!, source, this, 0, at + HEAD_BYTES, length - HEAD_BYTES);
    return true;
  }

  /** Says where a frame's sender is: the same with its first bytes only. */
  putHead(frame: Frame, from: number): boolean {
    const length = Math.min(frame.byteLength, HEAD_BYTES);
    const at = this.#reserve(length, from, frame.vlan | HEADS_ONLY);
    if (at < 0) return false;
    this.#buffer.fill(0, at - NET_HEADER_BYTES, at);
    frame.copyTo(this.#buffer, at, length);
    return true;
  }

  /** Shows the reader what was put. */
  publish(): void {
    Atomics.store(this.#positions, WRITTEN, this.#own);
  }

  /** Whether there is something to take. */
  get hasRecords(): boolean {
    return this.#other !== this.#own || Atomics.load(this.#positions, WRITTEN) !== this.#own;
  }

  /**
   * Takes the next records, up to `limit` and until they come to `bytesMax`, that say the same of whose they are and of their VLAN: puts where their frames are, with
   * the network headers before them, into a burst. Returns how many; `from` and `vlan` say what they say. They stay until `release`,
   * and are not taken again, even by a thread that takes over: this one may die of what it does with them.
   */
  take(burst: FrameBurst, limit: number, bytesMax = Number.POSITIVE_INFINITY): number {
    if (this.#other === this.#own) {
      // An unordered look first: mostly there is nothing.
      if (this.#positions[WRITTEN] === this.#own) return 0;
      this.#other = Atomics.load(this.#positions, WRITTEN);
    }
    const { chains } = burst;
    let count = 0;
    let said = 0;
    let bytes = 0;
    while (count < limit && bytes < bytesMax && this.#own !== this.#other) {
      const word = ((this.#own & (this.#units - 1)) * UNIT) >>> 2;
      const units = this.#words[word + RECORD_UNITS]!;
      if (units === WRAP) {
        this.#own = (this.#own + this.#units - (this.#own & (this.#units - 1))) | 0;
        continue;
      }
      const from = this.#words[word + RECORD_FROM]!;
      const vlan = this.#words[word + RECORD_VLAN]!;
      if (count > 0 && (from !== this.from || vlan !== said)) break;
      this.from = from;
      said = vlan;
      chains.window[count] = 0;
      chains.offset[count] = 4 * word + FRAME_AT - NET_HEADER_BYTES;
      chains.length[count] = this.#words[word + RECORD_BYTES]! + NET_HEADER_BYTES;
      bytes += chains.length[count]!;
      this.#own = (this.#own + units) | 0;
      count++;
    }
    this.vlan = said & ~(HEADS_ONLY | COPY);
    this.headsOnly = (said & HEADS_ONLY) !== 0;
    this.copies = (said & COPY) !== 0;
    Atomics.store(this.#positions, TAKEN, this.#own);
    return count;
  }

  /** Gives the room of all that was taken back to the writer. */
  release(): void {
    Atomics.store(this.#positions, READ, this.#own);
  }

  /** Makes room for a record and writes its head. Returns where its frame goes, or -1. */
  #reserve(frameBytes: number, from: number, vlan: number): number {
    const units = (FRAME_AT + frameBytes + UNIT - 1) >>> 3;
    const mask = this.#units - 1;
    let slot = this.#own & mask;
    const gap = slot + units > this.#units ? this.#units - slot : 0;
    const network = from >>> NETWORK_SHIFT;
    if (!this.#fits(gap + units, network)) {
      const before = this.#other;
      this.#other = Atomics.load(this.#positions, READ);
      this.#account(before, this.#other, -1);
      if (!this.#fits(gap + units, network)) return -1;
    }
    this.#held[network]! += units;
    if (gap > 0) {
      this.#words[(slot * UNIT) >>> 2] = WRAP;
      this.#own = (this.#own + gap) | 0;
      slot = 0;
    }
    const word = (slot * UNIT) >>> 2;
    this.#words[word + RECORD_UNITS] = units;
    this.#words[word + RECORD_BYTES] = frameBytes;
    this.#words[word + RECORD_FROM] = from;
    this.#words[word + RECORD_VLAN] = vlan;
    this.#own = (this.#own + units) | 0;
    return 4 * word + FRAME_AT;
  }

  /** Whether there is room, and the network may have it. */
  #fits(units: number, network: number): boolean {
    const free = this.#units - ((this.#own - this.#other) | 0);
    return units <= free && this.#held[network]! <= SHARE * free;
  }

  /** Adds the records from one position up to another to what networks have, or takes them off. */
  #account(from: number, to: number, sign: 1 | -1): void {
    const mask = this.#units - 1;
    for (let at = from; at !== to; ) {
      const word = ((at & mask) * UNIT) >>> 2;
      const units = this.#words[word + RECORD_UNITS]!;
      if (units === WRAP) {
        at = (at + this.#units - (at & mask)) | 0;
        continue;
      }
      this.#held[this.#words[word + RECORD_FROM]! >>> NETWORK_SHIFT]! += sign * units;
      at = (at + units) | 0;
    }
  }
}

/** The VLAN of one of a burst: that of its tag, or the one that all without a tag are in. */
function vlanOf({ head, native }: FrameBurst, index: number): number {
  const last = head[4 * index + 3]!;
  return (last & 0xffff) === TAG_TYPE_LE ? ((last >>> 8) & 0xf00) | (last >>> 24) : native;
}
