import type { Connections } from './connections.js';

/** Frames between two looks at the clock while they come fast. A look takes as long as a frame. */
const FRAMES_MAX = 64;
/** How long so many may take, ns: if they take longer, each has a look. */
const FAST_NS = 250_000_000;

/** Keeps the connections' clock right to a second or so without a look at the time for each frame. */
export class Clock {
  readonly #readNowNs: (into: Float64Array, slot: number) => void;
  /** Now, and at the look before. */
  readonly #times = new Float64Array(2);
  /** Frames until the next look. */
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
    // After a pause the frames that are left see the time before it: few if frames have been few.
    this.#left = times[0]! - times[1]! < FAST_NS ? FRAMES_MAX - 1 : 0;
  }
}
