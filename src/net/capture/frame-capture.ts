import { assert } from '../../errors.js';
import { readWallClock } from '../../host/clock.js';
import { Frame } from '../frame.js';
import type { FrameBurst } from '../frame-burst.js';
import {
  CaptureCounter,
  CapturePosition,
  CaptureRingView,
  type Direction,
  RECORD_UNITS,
  RecordWord,
  SKIPPED,
  UNIT_BYTES,
} from './capture-ring.js';

/** A frame as far as it is recorded. */
export interface Recordable {
  readonly byteLength: number;
  copyTo(target: Buffer, at: number, limit: number): number;
}

/**
 * Records what passes a port: the sidecore's end of a capture. It never waits: what there is no room for is counted. A thread
 * that takes over goes on where the one before stood; a record that it was writing is lost.
 */
export class FrameCapture {
  readonly #ring: CaptureRingView;
  readonly #snapBytes: number;
  readonly #mask: number;
  readonly #frame = new Frame();
  #head: number;
  /** Where the reader stood when it was last looked at. */
  #tail: number;

  /**
   * @param ring - of `createCaptureRing`
   * @param snapBytes - most that is kept of a frame
   */
  constructor(ring: SharedArrayBuffer, snapBytes: number) {
    this.#ring = new CaptureRingView(ring);
    this.#snapBytes = snapBytes;
    const { units, positions } = this.#ring;
    assert((units & (units - 1)) === 0, 'the ring’s size is a power of two');
    this.#mask = units - 1;
    this.#head = Atomics.load(positions, CapturePosition.HEAD);
    this.#tail = Atomics.load(positions, CapturePosition.TAIL);
  }

  /** Records the frames `from` … `to` - 1 of a burst, which were read and ask for nothing. */
  addBurst(burst: FrameBurst, from: number, to: number, direction: Direction): void {
    for (let i = from; i < to; i++) this.add(burst.frame(i, this.#frame), direction);
  }

  /** Records a frame as it is now; false if there was no room. */
  add(frame: Recordable, direction: Direction): boolean {
    const { words, bytes, counters, positions } = this.#ring;
    const kept = Math.min(frame.byteLength, this.#snapBytes);
    const units = RECORD_UNITS + ((kept + UNIT_BYTES - 1) >>> 3);
    const unit = this.#reserve(units);
    if (unit < 0) {
      counters[CaptureCounter.DROPPED]!++;
      return false;
    }
    const word = unit << 1;
    words[word + RecordWord.KEPT] = kept;
    words[word + RecordWord.BYTES] = frame.byteLength;
    words[word + RecordWord.DIRECTION] = direction;
    readWallClock(words, word + RecordWord.TIME);
    frame.copyTo(bytes, (unit + RECORD_UNITS) * UNIT_BYTES, kept);
    this.#head = (this.#head + units) | 0;
    Atomics.store(positions, CapturePosition.HEAD, this.#head);
    counters[CaptureCounter.RECORDED]!++;
    return true;
  }

  /** Finds room in one piece. Returns its first unit, or -1. What is skipped for it is published with the record. */
  #reserve(units: number): number {
    const at = this.#head & this.#mask;
    const toEnd = this.#ring.units - at;
    if (units <= toEnd) return this.#fits(units) ? at : -1;
    if (!this.#fits(toEnd + units)) return -1;
    this.#ring.words[at << 1] = SKIPPED;
    this.#head = (this.#head + toEnd) | 0;
    return 0;
  }

  #fits(units: number): boolean {
    const room = this.#ring.units - units;
    if (((this.#head - this.#tail) | 0) <= room) return true;
    this.#tail = Atomics.load(this.#ring.positions, CapturePosition.TAIL);
    return ((this.#head - this.#tail) | 0) <= room;
  }
}
