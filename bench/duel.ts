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
export interface WindowResult extends LoadResult {
  readonly p50Ns: number;
  readonly p99Ns: number;
  readonly cpuNsPerRequest: number;
  /** Share of its CPU that the client's thread had; a polling one that had less than all was disturbed. */
  readonly clientShare: number;
  /** Round trip of a cache line before and after, ns. */
  readonly probe: readonly [number, number];
}

export interface WindowOptions {
  readonly warmUpMs: number;
  readonly windowMs: number;
  /** Keeps latencies; costs a clock reading for each batch of completions, on both sides. */
  readonly timed: boolean;
}

/** Windows whose round trips differ by more than this factor were not measured on like placements of the two CPUs. */
const LIKE_PLACEMENT = 1.3;
/** A polling client that had less of its CPU than this was disturbed by something else on the machine. */
const CLIENT_SHARE_MIN = 0.95;
/** Attempts at a pair of windows of like placement before the next best is dropped. */
const PAIR_ATTEMPTS_MAX = 2;

/** Connects the guests of one side, loads them, and leaves. */
export async function window(side: Side, options: WindowOptions, probe: PlacementProbe): Promise<WindowResult> {
  const before = probe.read();
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
    const cpuNs = ((await side.cpuNs?.()) ?? 0) - cpuBefore;
    if (!load.finish()) throw new Error(`${side.sockets[0]}: requests are still in flight after 10 s`);
    if (result.errors > 0) throw new Error(`${side.sockets[0]}: ${result.errors} requests failed`);
    const timed = { p50Ns: load.latency(0.5), p99Ns: load.latency(0.99) };
    return { ...result, ...timed, cpuNsPerRequest: cpuNs / result.requests, clientShare, probe: [before, before] };
  } finally {
    for (const guest of guests) guest.close();
  }
}

/** The windows of two sides, taken in turn: A B A B. */
export interface Duel {
  readonly a: WindowResult[];
  readonly b: WindowResult[];
}

/** Measures two sides in turn, and keeps the pairs whose windows had like placements of the two CPUs. */
export async function duel(
  a: Side,
  b: Side,
  pairs: number,
  options: WindowOptions,
  probe: PlacementProbe,
): Promise<Duel> {
  const kept: Duel = { a: [], b: [] };
  for (let attempt = 0; kept.a.length < pairs && attempt < pairs * PAIR_ATTEMPTS_MAX; attempt++) {
    const left = await window(a, options, probe);
    const right = await window(b, options, probe);
    const after = probe.read();
    const readings = [...left.probe, ...right.probe, after];
    const undisturbed = (side: Side, { clientShare }: WindowResult) => side.sleeping || clientShare >= CLIENT_SHARE_MIN;
    const like =
      undisturbed(a, left) && undisturbed(b, right) && Math.max(...readings) <= Math.min(...readings) * LIKE_PLACEMENT;
    const lastChance = attempt === pairs * PAIR_ATTEMPTS_MAX - 1 && kept.a.length === 0;
    if (!like && !lastChance) continue;
    kept.a.push({ ...left, probe: [left.probe[0], right.probe[0]] });
    kept.b.push({ ...right, probe: [right.probe[0], after] });
  }
  return kept;
}
