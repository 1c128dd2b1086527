import type { FrameCapture } from './capture/frame-capture.js';
import type { Frame } from './frame.js';
import type { FrameBurst } from './frame-burst.js';
import type { PortFilters } from './port-filters.js';
import type { PortVlans } from './vlan.js';

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
  /** Dropped: what the header asks for does not fit the frame, or was not negotiated. */
  DROPPED_OFFLOAD: 9,
  /** Sent by it and dropped: in a VLAN that it, or the port that it was for, is not in. */
  DROPPED_VLAN: 10,
  /** Meant for it and dropped: its driver does not want frames to that address, or in that VLAN. */
  DROPPED_FILTERED: 11,
  /** Meant for it: frames that were cut up or summed for it, because it does not take them as they were. */
  SOFTWARE_OFFLOADS: 12,
  /** Queues of its device that there are no longer: nothing comes from them until the daemon is started anew. */
  QUEUES_LOST: 13,
  /** Sent by it or meant for it, and dropped by one of its filters. */
  DROPPED_BY_FILTER: 14,
} as const;

/** Bytes of a port's counters. */
export const PORT_COUNTER_BYTES = 8 * Object.keys(PortCounter).length;

/** Names a port, on whichever sidecore it is. Plain data. */
export interface PortAddress {
  /** Its number among all of the daemon, and the number of its network. */
  readonly number: number;
  readonly network: number;
}

/** Something that frames come from and go to. One for each sidecore on which a part of it is served. */
export interface Port {
  /** Its number among all of the daemon. */
  readonly number: number;
  readonly counters: Float64Array;
  readonly vlans: PortVlans;
  /** What may be left to whoever is behind it, bits of `Offload`. */
  readonly offloads: number;
  /** It leads to the same network on another sidecore. */
  readonly mesh: boolean;
  /** What passes it is recorded. */
  capture: FrameCapture | undefined;
  /** What stands between it and its switch. */
  readonly filters?: PortFilters | undefined;
  /** Takes a copy of a frame, or drops it and counts why. It has the tag that it leaves with, and asks for no more than `offloads`. */
  deliver(frame: Frame): void;
  /** The same for the frames `from` … `to` - 1 of a burst, which leave as they came. */
  deliverBurst(burst: FrameBurst, from: number, to: number): void;
  /** Of a port that leads to another sidecore: says there where a frame's sender is, and no more. */
  tell?(frame: Frame): void;
}
export type PortCounterName = keyof typeof PortCounter;
