import type { Frame } from './frame.js';
import type { FrameBurst } from './frame-burst.js';

/**
 * What stands between a port and its switch: the switch asks it, and it gives what goes on back to the switch, at once or later, by
 * `sendOn` and `deliverOn`. What it drops it counts at the port.
 */
export interface PortFilters {
  /** What the port sends. True if the frame goes on now. `native` as for `Switch.forward`. */
  outbound(frame: Frame, native: number): boolean;
  /** What the port shall get, with the tag that it leaves with. True if it is to be delivered now. */
  inbound(frame: Frame): boolean;
  /** The same for the frames `from` … `to` - 1 of a burst, all of which are `READ`; what passes has gone on when it returns. */
  outboundBurst(burst: FrameBurst, from: number, to: number, native: number): void;
  inboundBurst(burst: FrameBurst, from: number, to: number): void;
  /** Once a turn: sends on what has been kept long enough. Returns how many frames. */
  turn(): number;
  /** Frames that it keeps: it wants its turns. */
  readonly kept: number;
  /** All that it keeps goes on. */
  letGo(): void;
  /** The same, and it is asked nothing more. */
  close(): void;
}
