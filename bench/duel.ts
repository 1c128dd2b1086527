import { BlockDriver } from '../src/guest/block-driver.js';
import { Load, type LoadPattern, type LoadResult } from '../src/guest/load.js';
import { threadCpuNs } from '../src/host/clock.js';
import type { PlacementProbe } from './placement.js';

/** One side of a comparison: where its guests connect, and what they do. */
export interface Side {
  readonly sockets: readonly string[];
  readonly pattern: LoadPattern;
  readonly sleeping?: boolean;
  readonly indirect?: boolean;
  /** CPU time that the back end has used so far, ns; read around each window. */
  readonly cpuNs?: () => number | Promise<number>;
}

/** What one window gave. */
export interface WindowResult extends LoadResult, Measured {
  readonly p50Ns: number;
  readonly p99Ns: number;
  readonly cpuNsPerRequest: number;
}

export interface WindowOptions {
  readonly warmUpMs: number;
  readonly windowMs: number;
  /** Keeps latencies; costs a clock reading for each batch of completions, on both sides. */
  readonly timed: boolean;
}

/** Windows whose round trips differ by more than this factor were not measured on like placements of the two CPUs. */
const LIKE_PLACEMENT = 1.3;
/** A polling thread that had less of its CPU than this was disturbed by something else on the machine. */
export const CPU_SHARE_MIN = 0.95;
/** Attempts at a pair of windows of like placement before the next best is dropped. */
const PAIR_ATTEMPTS_MAX = 2;

/** Connects the guests of one side, loads them, and leaves. */
export async function window(side: Side, options: WindowOptions): Promise<WindowResult> {
  const { depth, requestBytes } = side.pattern;
  const guests: BlockDriver[] = [];
  try {
    for (const socket of side.sockets) {
      guests.push(await BlockDriver.connect({ socket, depth, requestBytes, indirect: side.indirect ?? false }));
    }
    const load = new Load(guests, side.pattern, { sleeping: side.sleeping ?? false, timed: options.timed });
    load.start();
    load.run(options.warmUpMs);
    const cpuBefore = (await side.cpuNs?.()) ?? 0;
    const clientBefore = threadCpuNs();
    const result = load.run(options.windowMs);
    const clientShare = (threadCpuNs() - clientBefore) / (result.seconds * 1e9);
    const undisturbed = side.sleeping === true || clientShare >= CPU_SHARE_MIN;
    const cpuNs = ((await side.cpuNs?.()) ?? 0) - cpuBefore;
    if (!load.finish()) throw new Error(`${side.sockets[0]}: requests are still in flight after 10 s`);
    if (result.errors > 0) throw new Error(`${side.sockets[0]}: ${result.errors} requests failed`);
    const timed = { p50Ns: load.latency(0.5), p99Ns: load.latency(0.99) };
    return { ...result, ...timed, cpuNsPerRequest: cpuNs / result.requests, undisturbed };
  } finally {
    for (const guest of guests) guest.close();
  }
}

/** What is known of any window. */
export interface Measured {
  /** Every thread that polls had its CPU. */
  readonly undisturbed: boolean;
}

/** The windows of two sides, taken in turn: A B A B. */
export interface InTurn<W> {
  readonly a: W[];
  readonly b: W[];
  /** Round trips of a cache line before, between and after, ns. */
  readonly probes: number[];
  /** No pair was as it has to be: there is one all the same, the last. */
  disturbed: boolean;
}
export type Duel = InTurn<WindowResult>;

/** Measures two sides in turn, and keeps the pairs that were undisturbed and had like placements of the two CPUs. */
export async function inTurn<W extends Measured>(
  a: () => Promise<W>,
  b: () => Promise<W>,
  pairs: number,
  probe: PlacementProbe,
): Promise<InTurn<W>> {
  const kept: InTurn<W> = { a: [], b: [], probes: [], disturbed: false };
  for (let attempt = 0; kept.a.length < pairs && attempt < pairs * PAIR_ATTEMPTS_MAX; attempt++) {
    const readings = [probe.read()];
    const left = await a();
    readings.push(probe.read());
    const right = await b();
    readings.push(probe.read());
    const like =
      left.undisturbed && right.undisturbed && Math.max(...readings) <= Math.min(...readings) * LIKE_PLACEMENT;
    const lastChance = attempt === pairs * PAIR_ATTEMPTS_MAX - 1 && kept.a.length === 0;
    if (!like && !lastChance) continue;
    kept.disturbed = !like;
    kept.a.push(left);
    kept.b.push(right);
    kept.probes.push(...readings);
  }
  return kept;
}
