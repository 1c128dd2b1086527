import type { Frame } from './frame.js';

/** Counters of a port, by slot in its shared state; written by its sidecore only. */
export const PortCounter = {
  /** Frames and bytes that came from it, and that went to it. */
  FRAMES_IN: 0,
  BYTES_IN: 1,
  FRAMES_OUT: 2,
  BYTES_OUT: 3,
  /** Sent by it and dropped: no Ethernet frame, or one that the switch does not pass on. */
  DROPPED_MALFORMED: 4,
  DROPPED_LINK_DOWN: 5,
  DROPPED_SAME_PORT: 6,
  /** Meant for it and dropped: its receive ring was empty, its buffers too small, or it is not there. */
  DROPPED_NO_BUFFER: 7,
  DROPPED_NOT_READY: 8,
} as const;

/** Bytes of a port's counters. */
export const PORT_COUNTER_BYTES = 8 * Object.keys(PortCounter).length;

/** Something that frames come from and go to. One for each sidecore on which a part of it is served. */
export interface Port {
  /** Its number in its switch. */
  readonly number: number;
  readonly counters: Float64Array;
  /** Takes a copy of a frame, or drops it and counts why. */
  deliver(frame: Frame): void;
}
export type PortCounterName = keyof typeof PortCounter;
