import {
  CaptureCounter,
  CapturePosition,
  CaptureRingView,
  RECORD_UNITS,
  RecordWord,
  SKIPPED,
  UNIT_BYTES,
} from './capture-ring.js';

/** A frame that was recorded. Good until it is released. */
export interface CapturedFrame {
  /** Holds what was kept of the frame, from `at` on. */
  readonly bytes: Buffer;
  at: number;
  /** What was kept of it, and what it had. */
  keptBytes: number;
  byteLength: number;
  /** A value of `Direction`. */
  direction: number;
  /** When it passed, since 1970. */
  seconds: number;
  nanoseconds: number;
}

/** Takes records out of a capture's ring: the daemon's end of it. */
export class CaptureReader {
  readonly #ring: CaptureRingView;
  readonly #frame: CapturedFrame;
  /** Behind the record that was read last. */
  #position: number;
  #head: number;

  constructor(ring: SharedArrayBuffer) {
    this.#ring = new CaptureRingView(ring);
    const { bytes, positions } = this.#ring;
    this.#frame = { bytes, at: 0, keptBytes: 0, byteLength: 0, direction: 0, seconds: 0, nanoseconds: 0 };
    this.#position = this.#head = Atomics.load(positions, CapturePosition.TAIL);
  }

  /** Frames that were recorded so far. */
  get recorded(): number {
    return this.#ring.counters[CaptureCounter.RECORDED]!;
  }

  /** Frames for which there was no room. */
  get dropped(): number {
    return this.#ring.counters[CaptureCounter.DROPPED]!;
  }

  /** The next record, in an object that is used again; undefined if there is none. */
  next(): CapturedFrame | undefined {
    const { words, positions, units } = this.#ring;
    if (this.#position === this.#head) this.#head = Atomics.load(positions, CapturePosition.HEAD);
    if (this.#position === this.#head) return undefined;
    let unit = this.#position & (units - 1);
    if (words[2 * unit + RecordWord.KEPT] === SKIPPED) {
      this.#position = (this.#position + units - unit) | 0;
      unit = 0;
    }
    const frame = this.#frame;
    const word = 2 * unit;
    const time = word + RecordWord.TIME;
    frame.at = (unit + RECORD_UNITS) * UNIT_BYTES;
    frame.keptBytes = words[word + RecordWord.KEPT]!;
    frame.byteLength = words[word + RecordWord.BYTES]!;
    frame.direction = words[word + RecordWord.DIRECTION]!;
    frame.seconds = words[time]! + words[time + 1]! * 2 ** 32;
    frame.nanoseconds = words[time + 2]!;
    this.#position = (this.#position + RECORD_UNITS + Math.ceil(frame.keptBytes / UNIT_BYTES)) | 0;
    return frame;
  }

  /** What was read is not needed any more: its room is free. */
  release(): void {
    Atomics.store(this.#ring.positions, CapturePosition.TAIL, this.#position);
  }
}
