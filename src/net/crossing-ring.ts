import { copyPiece } from '../guest-memory/copy.js';
import { NET_HEADER_BYTES } from './features.js';
import { type Frame, HEAD_BYTES } from './frame.js';
import type { FrameBurst } from './frame-burst.js';
import { writeNetHeader } from './net-header.js';

/** Words of the ring's head: positions of reader and writer, each in a cache line of its own. */
const READ = 0;
const WRITTEN = 16;
/** Bytes before the records. */
const HEAD_SIZE = 128;

/** A record, in 32-bit words: its units, or `WRAP`; the frame's bytes; whose it is. Then the network header, then the frame. */
const RECORD_UNITS = 0;
const RECORD_BYTES = 1;
const RECORD_FROM = 2;
const RECORD_WORDS = 3;
/** Where the frame is in its record, bytes. */
const FRAME_AT = 4 * RECORD_WORDS + NET_HEADER_BYTES;
/** Positions and lengths count these, bytes. */
const UNIT = 8;
/** The rest of the ring is empty: the next record is at its start. */
const WRAP = 0xffff_ffff;

/**
 * Frames on their way from one sidecore to another: a ring of records in shared memory with one writer and one reader, each a
 * thread. Positions are free-running numbers of units. It outlives both threads: one that takes over goes on where the other was.
 */
export class CrossingRing {
  /** Memory of the records, as `FrameMemory`; offsets of frames are from its start. */
  readonly bytes: Buffer[];
  readonly words: Uint32Array[];
  readonly longs: BigUint64Array[];
  readonly hostAddress = new Float64Array(1);
  /** Whose the records were that were taken last, as the writer said it. */
  from = 0;
  readonly #positions: Int32Array;
  readonly #buffer: Buffer;
  readonly #words: Uint32Array;
  readonly #units: number;
  /** Of this end: how far it has read or written, and how far the other had got when it was looked at. */
  #own: number;
  #other: number;

  /** @param byteLength - of the records, a power of two */
  static create(byteLength: number): SharedArrayBuffer {
    return new SharedArrayBuffer(HEAD_SIZE + byteLength);
  }

  constructor(shared: SharedArrayBuffer, end: 'reader' | 'writer') {
    this.#positions = new Int32Array(shared, 0, HEAD_SIZE / 4);
    this.#buffer = Buffer.from(shared, HEAD_SIZE);
    this.#words = new Uint32Array(shared, HEAD_SIZE);
    this.bytes = [this.#buffer];
    this.words = [this.#words];
    this.longs = [new BigUint64Array(shared, HEAD_SIZE)];
    this.#units = this.#buffer.length / UNIT;
    this.#own = Atomics.load(this.#positions, end === 'reader' ? READ : WRITTEN);
    this.#other = Atomics.load(this.#positions, end === 'reader' ? WRITTEN : READ);
  }

  /** Writes a frame; false if there is no room. The reader sees it after `publish`. */
  put(frame: Frame, from: number): boolean {
    const at = this.#reserve(frame.byteLength, from);
    if (at < 0) return false;
    writeNetHeader(this.#buffer, at - NET_HEADER_BYTES, frame.header);
    frame.copyTo(this.#buffer, at);
    return true;
  }

  /** The same for one of a burst. */
  putOf(burst: FrameBurst, index: number, from: number): boolean {
    const { chains, head } = burst;
    const length = chains.length[index]!;
    const at = this.#reserve(length, from);
    if (at < 0) return false;
    const words = this.#words;
    const word = at >>> 2;
    words[word - 3] = words[word - 2] = words[word - 1] = 0;
    for (let i = 0; i < HEAD_BYTES / 4; i++) words[word + i] = head[4 * index + i]!;
    const source = chains.offset[index]! + HEAD_BYTES;
    copyPiece(burst.memory, chains.window[index]!, source, this, 0, at + HEAD_BYTES, length - HEAD_BYTES);
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
   * Takes the next records, up to `limit`, that say the same of whose they are: puts where their frames are, with the network
   * headers before them, into a burst. Returns how many; `from` says whose they are. They stay until `release`.
   */
  take(burst: FrameBurst, limit: number): number {
    if (this.#other === this.#own) {
      // An unordered look first: mostly there is nothing.
      if (this.#positions[WRITTEN] === this.#own) return 0;
      this.#other = Atomics.load(this.#positions, WRITTEN);
    }
    const { chains } = burst;
    let count = 0;
    while (count < limit && this.#own !== this.#other) {
      const word = ((this.#own & (this.#units - 1)) * UNIT) >>> 2;
      const units = this.#words[word + RECORD_UNITS]!;
      if (units === WRAP) {
        this.#own = (this.#own + this.#units - (this.#own & (this.#units - 1))) | 0;
        continue;
      }
      const from = this.#words[word + RECORD_FROM]!;
      if (count > 0 && from !== this.from) break;
      this.from = from;
      chains.window[count] = 0;
      chains.offset[count] = 4 * word + FRAME_AT - NET_HEADER_BYTES;
      chains.length[count] = this.#words[word + RECORD_BYTES]! + NET_HEADER_BYTES;
      this.#own = (this.#own + units) | 0;
      count++;
    }
    return count;
  }

  /** Gives the room of all that was taken back to the writer. */
  release(): void {
    Atomics.store(this.#positions, READ, this.#own);
  }

  /** Makes room for a record and writes its head. Returns where its frame goes, or -1. */
  #reserve(frameBytes: number, from: number): number {
    const units = (FRAME_AT + frameBytes + UNIT - 1) >>> 3;
    const mask = this.#units - 1;
    let slot = this.#own & mask;
    const gap = slot + units > this.#units ? this.#units - slot : 0;
    if (((this.#own - this.#other) | 0) + gap + units > this.#units) {
      this.#other = Atomics.load(this.#positions, READ);
      if (((this.#own - this.#other) | 0) + gap + units > this.#units) return -1;
    }
    if (gap > 0) {
      this.#words[(slot * UNIT) >>> 2] = WRAP;
      this.#own = (this.#own + gap) | 0;
      slot = 0;
    }
    const word = (slot * UNIT) >>> 2;
    this.#words[word + RECORD_UNITS] = units;
    this.#words[word + RECORD_BYTES] = frameBytes;
    this.#words[word + RECORD_FROM] = from;
    this.#own = (this.#own + units) | 0;
    return 4 * word + FRAME_AT;
  }
}
