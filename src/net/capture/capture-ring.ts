import { CAPTURE_RING_BYTES } from '../../limits.js';

/**
 * The memory by which a sidecore hands what it records of a port to the daemon's main thread: one writes, one reads, neither
 * waits. First where both stand and what was counted, then records one after the other, in units of eight bytes. A record is in
 * one piece: one that does not fit the rest of the ring begins at its start, and `SKIPPED` stands where it would have been.
 */

/** Which way a frame went, as whoever is behind the port sees it: the values of pcapng's epb_flags. */
export const Direction = { INBOUND: 1, OUTBOUND: 2 } as const;
export type Direction = (typeof Direction)[keyof typeof Direction];

/** Words of the ring's memory: free-running numbers of units, by writer and reader, in a cache line each. */
export const CapturePosition = { HEAD: 0, TAIL: 16 } as const;

/** Doubles of the ring's memory: frames that were recorded, and those for which there was no room. The writer's. */
export const CaptureCounter = { RECORDED: 1, DROPPED: 2 } as const;

/** Where records begin, bytes. */
export const RECORDS_OFFSET = 128;

export const UNIT_BYTES = 8;
/** Words of a record, and the units that they take; the frame follows. */
export const RecordWord = { KEPT: 0, BYTES: 1, DIRECTION: 2, TIME: 3 } as const;
export const RECORD_UNITS = 3;
/** Instead of `KEPT`: the rest of the ring was too short for the next record. */
export const SKIPPED = 0xffffffff;

/** Bytes of a ring for so many bytes of records. */
export const captureRingBytes = (byteLength: number): number => RECORDS_OFFSET + byteLength;

/** Makes a ring for so many bytes of records, a power of two. */
export function createCaptureRing(byteLength = CAPTURE_RING_BYTES): SharedArrayBuffer {
  const ring = new SharedArrayBuffer(captureRingBytes(byteLength));
  // Written once here, so that the sidecore does not wait for the kernel to find each page.
  new Uint8Array(ring).fill(0);
  return ring;
}

/** The parts of a ring's memory. */
export class CaptureRingView {
  readonly positions: Int32Array;
  readonly counters: Float64Array;
  readonly words: Uint32Array;
  readonly bytes: Buffer;
  readonly units: number;

  constructor(ring: SharedArrayBuffer) {
    this.positions = new Int32Array(ring, 0, RECORDS_OFFSET / 4);
    this.counters = new Float64Array(ring, 0, RECORDS_OFFSET / 8);
    this.words = new Uint32Array(ring, RECORDS_OFFSET);
    this.bytes = Buffer.from(ring, RECORDS_OFFSET);
    this.units = this.bytes.length / UNIT_BYTES;
  }
}
