import type { QueueState } from './queue-state.js';
import type { Virtqueue } from './virtqueue.js';

/** What a queue needs of the sidecore that serves it, whatever its device. */
export interface QueueHost {
  /** Notes that a queue has completions to publish at the end of this turn. */
  markDirty(queue: DeviceQueue): void;
}

/** One virtqueue of a device of any kind, on the sidecore that serves it. */
export interface DeviceQueue {
  readonly ring: Virtqueue;
  readonly state: QueueState;
  /** The driver offers room in it, for what comes from elsewhere: there is nothing to look for in it, and no need to kick. */
  readonly passive: boolean;
  /** The driver has kicked it, or need not: it may be used. */
  start(): void;
  /** Requests taken and not yet in the used ring. */
  readonly inFlight: number;
  /** No more chains are taken: the queue is being stopped, or has a fault. */
  closed: boolean;
  /**
   * What waits to be served: chains, and one that was begun; zero if there is nothing, or if no more may be taken now; otherwise perhaps
   * less than there is.
   */
  pending(): number;
  /**
   * One piece of work: takes up to `limit` chains, until they come to `bytesMax`, and does what they ask for, or goes on with one that
   * is long. Returns how many that were; zero if there was nothing to do.
   */
  serve(limit: number, bytesMax: number): number;
  /** What the last piece came to, bytes: moved, or covered, or the work that came of it counted as such. */
  readonly servedBytes: number;
  /** Shows the driver all completions of this turn, and calls it if it wants to be called. */
  publish(): void;
  /** Does again what a sidecore that died had taken. Called once, before the first `serve`. */
  retakeUnfinished(): void;
  /** It is about to be let go of: begins nothing by itself any more, unless `start` is called again. True once nothing of that is in flight. */
  quiesce(): boolean;
  /** Nothing more is taken from it, until `start` is called: what was put off is done now. Missing where nothing is. */
  hurry?(): void;
  /** Lets go of all that the queue holds; nothing of it is in flight. */
  close(): void;
}
