import {
  FILTER_ALLOWANCE_MS_MIN,
  FILTER_COLD_MS_MAX,
  FILTER_COLD_S,
  FILTER_MAKING_MS_MAX,
  FILTER_TAKE_OVER_MS,
  FILTER_WAITS_COUNT,
} from '../limits.js';

/** Pause between two looks, ms. */
export const LOOK_MS = 1;
/** Most that one look adds, ns: one that comes late, because this machine is busy, accuses nobody. */
const GAIN_NS_MAX = 2e6 * LOOK_MS;
/** A CPU that takes as long to answer is somebody else's, ns. */
const PING_NS_MAX = 5e5;

/**
 * How long a filter may keep a sidecore, ns: what others may wait, less what it takes until another thread serves them.
 *
 * @param stallMs - `filter_stall_ms`
 */
export function allowanceNs(stallMs: number, { filter, cold }: Pick<StallMeter, 'filter' | 'cold'>): number {
  if (filter < 0) return 1e6 * Math.max(stallMs, FILTER_MAKING_MS_MAX);
  if (cold) return 1e6 * Math.max(stallMs, FILTER_COLD_MS_MAX);
  return 1e6 * Math.max(stallMs - FILTER_TAKE_OVER_MS, FILTER_ALLOWANCE_MS_MIN);
}

/** What can be known of a thread from outside. */
export interface Probe {
  /** Any clock, ns. */
  nowNs(): number;
  /** CPU time that the thread has had, ns. */
  cpuNs(threadId: number): number;
  /** How long CPUs take to answer, ns. */
  pingNs(): number;
  /** Whether the thread waits in a system call of its own. */
  waits(threadId: number): boolean;
}

/** What a sidecore says of itself; `CoreState`. */
export interface Watched {
  readonly threadId: number;
  readonly beat: number;
  readonly filter: number;
  /** It has queues. */
  readonly serves: boolean;
}

/**
 * For how long one filter has kept a sidecore: the time for which neither its beat nor its filter has changed, and in which its thread
 * had the CPU, and some of that in which it waited in a call. Time for which the kernel, or the host of this machine, gave the CPU to others does not count,
 * nor does that in which a page of memory was fetched.
 */
export class StallMeter {
  /** As it was at the last look. */
  filter = 0;
  beat = 0;
  /** The thread has served queues for `FILTER_COLD_S` at most: next to nothing of its code is compiled. */
  cold = false;
  #threadId = 0;
  readonly #probe: Probe;
  /** Slots: time of the last look, CPU time of the thread then, what was found so far, and when the thread was first seen with queues, ns. */
  readonly #ns = new Float64Array(4);

  constructor(probe: Probe) {
    this.#probe = probe;
  }

  /** Looks. Returns for how long, ns; zero if no filter is at work, or one is seen for the first time. */
  look(core: Watched): number {
    const { filter, beat, threadId } = core;
    const same = filter === this.filter && beat === this.beat;
    const probe = this.#probe;
    const ns = this.#ns;
    this.filter = filter;
    this.beat = beat;
    if (threadId !== this.#threadId && core.serves) {
      this.#threadId = threadId;
      ns[3] = probe.nowNs();
    }
    if (filter === 0 || threadId === 0) return 0;
    const isAlive = same && probe.pingNs() <= PING_NS_MAX;
    const nowNs = probe.nowNs();
    const cpuNs = probe.cpuNs(threadId);
    this.cold = threadId !== this.#threadId || nowNs - ns[3]! < 1e9 * FILTER_COLD_S;
    if (!same) ns[2] = 0;
    else if (isAlive) {
      const passed = nowNs - ns[0]!;
      const had = cpuNs - ns[1]!;
      const counts = had < passed / 4 && probe.waits(threadId) ? passed / FILTER_WAITS_COUNT : had;
      ns[2]! += Math.max(0, Math.min(counts, passed, GAIN_NS_MAX));
    }
    ns[0] = nowNs;
    ns[1] = cpuNs;
    return ns[2]!;
  }
}
