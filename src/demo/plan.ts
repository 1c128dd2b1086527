import type { Mode } from '../daemon/core-set.js';

/** What `sidecore demo` was asked for. */
export interface DemoOptions {
  /** Of each run. */
  readonly seconds: number;
  readonly guests: number;
  /** Requests that each guest has in flight. */
  readonly depth: number;
  /** CPU of the sidecore; the last one allowed if none was named. */
  readonly cpu?: number;
  /** Folder in which the scratch folder is made. */
  readonly scratch: string;
  /** Path of the HTML report. */
  readonly report: string;
  readonly keep: boolean;
  readonly json: boolean;
}

/** One of the runs that are compared: same guests, same requests, same CPUs. */
export interface RunPlan {
  readonly key: 'polled' | 'called' | 'baseline';
  /** Heads of its column in the comparison. */
  readonly host: string;
  readonly guest: string;
  readonly mode: Mode;
  /** Guests sleep on their call descriptors; otherwise they poll. */
  readonly sleeping: boolean;
}

/** The last one is what the others are compared with. */
export const RUNS: readonly RunPlan[] = [
  { key: 'polled', host: 'one sidecore', guest: 'guests poll', mode: 'sidecore', sleeping: false },
  { key: 'called', host: 'one sidecore', guest: 'guests sleep', mode: 'sidecore', sleeping: true },
  { key: 'baseline', host: 'thread per disk', guest: 'guests sleep', mode: 'baseline', sleeping: true },
];

/** What every guest asks of its disk. */
export const LOAD = {
  requestBytes: 4096,
  readShare: 0.7,
  /** Size of each disk, and of the part that is used. Fits the page cache, so that the way is measured, not the disk. */
  diskBytes: 32 * 2 ** 20,
  /**
   * How images are reached. They are in the page cache, where system calls do not wait; io_uring would give writes to kernel
   * threads, which on a machine of few CPUs wait for the guests' load.
   */
  engine: 'sync',
  /** Load before the measurement starts, ms: compilers and caches settle. */
  warmUpMs: 1000,
} as const;

/** Names of the two guests that talk through the switch, and bytes of each frame. */
export const TALKERS = ['talker1', 'talker2'] as const;
export const TALK_BYTES = 200;

export const GUESTS_MAX = 32;
export const DEPTH_MAX = 128;
export const SECONDS_MAX = 3600;
