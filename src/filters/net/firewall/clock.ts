import type { Connections } from './connections.js';

/** Frames between two looks at the clock while they come fast, at most. A look takes as long as a frame. */
const FRAMES_MAX = 64;
/** Time between two looks up to which they do, ns: there are twice as many until the next then. */
const FAST_NS = 100_000_000;

/** Keeps the connections' clock right to a second or so without a look at the time for each frame. */
export class Clock {
  readonly #readNowNs: (into: Float64Array, slot: number) => void;
  /** Now, and at the look before. */
  readonly #times = new Float64Array(2);
  /** Frames from one look to the next, and how many are left of them. */
  #frames = 1;
  #left = 0;

  constructor({ readNowNs }: { readNowNs(into: Float64Array, slot: number): void }) {
    this.#readNowNs = readNowNs;
  }

  /** Once for each frame. */
  tick(connections: Connections): void {
    if (--this.#left < 0) this.read(connections);
  }

  read(connections: Connections): void {
    const times = this.#times;
    times[1] = times[0]!;
    this.#readNowNs(times, 0);
    connections.nowS = (times[0]! / 1e9) | 0;
    // After a pause a few frames see the time before it: no more than came just before.
    this.#frames = times[0]! - times[1]! < FAST_NS ? Math.min(2 * this.#frames, FRAMES_MAX) : 1;
    this.#left = this.#frames - 1;
  }
}
