import { OthersMeter } from '../../src/demo/cpu-use.js';
import { nowNs } from '../../src/host/clock.js';
import { CPU_SHARE_MIN } from '../duel.js';
import { sharesOf } from '../net-window.js';
import { drive, finish, latencyOf, type Part, type Stretch } from './drive.js';
import type { CoreTimes, PaperDaemon, Stamps, Stand, Timing } from './stand.js';
import { type Rounded, type Spread, spread } from './stats.js';

/** One of those that are measured in turn. */
export interface Contender {
  readonly key: string;
  /** None if the guests copy their data themselves. */
  readonly daemon?: PaperDaemon;
  /** Guests sleep until they are called; otherwise they poll. */
  readonly sleeping: boolean;
  readonly parts: readonly Part[];
  /** Those whose latency is meant; all of them if nothing is said. */
  readonly watched?: readonly Part[];
  /** Its daemon is not asked how the time of its cores was spent: with hundreds of guests the answer takes as long as a short window. */
  readonly unasked?: boolean;
}

/** What one window gave. */
export interface Window {
  readonly round: number;
  readonly perSecond: number;
  readonly bytesPerSecond: number;
  readonly p50Ns: number;
  readonly p99Ns: number;
  readonly p999Ns: number;
  readonly kicksPerSecond: number;
  readonly callsPerSecond: number;
  readonly kicksPerRequest: number;
  readonly callsPerRequest: number;
  /** Cores' worth of time in which something was done: of the guests' thread, and of the back end. */
  readonly loadBusy: number;
  readonly coreBusy: number;
  /** CPU time of all the daemon's threads, cores. */
  readonly daemonCpu: number;
  /** Requests a second of each guest. */
  readonly guests: readonly number[];
  /** Time of the back end's cores that was spent in serving each guest, ns, the warm-up included. */
  readonly guestNs: readonly number[];
  /** By the back end's own stamps: its time for each request, the warm-up included, ns; zero if there is none. */
  readonly serviceNs: number;
  /** The longest that it has seen a queue wait for its turn since the guests have connected, ns. */
  readonly waitMaxNs: number;
  /** Round trip of a cache line between the CPUs, before and after, ns. */
  readonly placementNs: readonly [number, number];
  /** Every thread had its CPU, and the CPUs were as far from each other before as after. */
  readonly undisturbed: boolean;
}

export type Field = Exclude<keyof Window, 'round' | 'guests' | 'guestNs' | 'placementNs' | 'undisturbed'>;

/** What a contender gave, over all rounds. */
export class Windows {
  readonly all: Window[] = [];

  /** Those that count: undisturbed, on like placements; all of them if there is none. */
  kept(): readonly Window[] {
    const good = this.all.filter(({ undisturbed }) => undisturbed);
    return good.length > 0 ? good : this.all;
  }

  get disturbed(): boolean {
    return !this.all.some(({ undisturbed }) => undisturbed);
  }

  of(field: Field): Rounded[] {
    return this.kept().map((window) => ({ round: window.round, value: window[field] }));
  }

  spread(field: Field): Spread {
    return spread(this.of(field).map(({ value }) => value));
  }

  /** Requests a second for each core's worth of work, guests' thread and back end together. */
  perBusyCore(): Rounded[] {
    return this.kept().map((one) => ({ round: one.round, value: one.perSecond / (one.loadBusy + one.coreBusy) }));
  }
}

/** Two CPUs whose round trips differ by more are not placed alike. */
const LIKE_PLACEMENT = 1.3;
/** Of a CPU, taken by other programs. Ticks of 10 ms are what the kernel counts. */
const OTHERS_SHARE_MAX = 0.2;
/** What a window takes besides itself, ms: for plans. */
const OVERHEAD_MS = 25;

/** What measuring so many contenders is planned to take, ms. */
export const plannedMs = ({ rounds, warmUpMs, windowMs }: Timing, contenders: number): number =>
  rounds * contenders * (warmUpMs + windowMs + OVERHEAD_MS);

/** Measures contenders in turn, A B C A B C; who was disturbed has another turn in the end. */
export async function compete(
  stand: Stand,
  contenders: readonly Contender[],
  timing: Timing = stand.timing,
): Promise<Map<string, Windows>> {
  const results = new Map(contenders.map(({ key }) => [key, new Windows()]));
  const turn = async (contender: Contender, round: number) => {
    const windows = results.get(contender.key)!;
    windows.all.push(await measure(stand, contender, round, timing));
  };
  for (let round = 0; round < timing.rounds; round++) {
    for (const contender of contenders) {
      await turn(contender, round);
      stand.progress.did(plannedMs(timing, 1) / timing.rounds);
    }
  }
  const lists = [...results.values()];
  dropMoved(lists);
  for (let extra = 0; extra < timing.extra; extra++) {
    for (const contender of contenders) {
      if (results.get(contender.key)!.all.some(({ undisturbed }) => !undisturbed))
        await turn(contender, timing.rounds + extra);
    }
  }
  dropMoved(lists);
  return results;
}

/** Windows that were not measured on the placement of the CPUs that most of all have had do not count. */
function dropMoved(lists: readonly Windows[]): void {
  const placements = lists.flatMap(({ all }) => all.filter(({ undisturbed }) => undisturbed).map(placementOf));
  if (placements.length === 0) return;
  const usual = [...placements].sort((a, b) => a - b)[placements.length >> 1]!;
  for (const { all } of lists)
    for (const [i, window] of all.entries())
      if (!areAlike(placementOf(window), usual)) all[i] = { ...window, undisturbed: false };
}

export const placementOf = ({ placementNs: [before, after] }: Window): number => (before + after) / 2;

/** One window. The daemon stands still before and after. */
export async function measure(
  stand: Stand,
  contender: Contender,
  round: number,
  { warmUpMs, windowMs }: Pick<Timing, 'warmUpMs' | 'windowMs'>,
): Promise<Window> {
  const { daemon, parts, sleeping, watched = parts, unasked = false } = contender;
  await stand.breathe();
  const before = stand.placement();
  daemon?.process.resume();
  try {
    const timesOf = async () => (unasked ? undefined : await daemon?.times()) ?? NO_TIMES;
    const timesBefore = await timesOf();
    const started = nowNs();
    for (const part of parts) part.start();
    drive(parts, warmUpMs, sleeping);
    const processes = daemon === undefined ? [] : [daemon.process];
    const others = new OthersMeter([stand.loadCpu, stand.coreCpu], [process.pid, ...processes.map(pidOf)]);
    const shares = sharesOf(processes);
    const cpuBefore = daemon?.process.cpuNs() ?? 0;
    const stretch = drive(parts, windowMs, sleeping);
    const daemonCpu = ((daemon?.process.cpuNs() ?? 0) - cpuBefore) / (stretch.seconds * 1e9);
    const coreShares = shares();
    const taken = others.read() ?? [0, 0];
    const figures = { ...rates(stretch, parts), ...latenciesOf(watched) };
    finish(parts);
    const loadedNs = nowNs() - started;
    const times = await timesOf();
    const busyNs = times.busyNs - timesBefore.busyNs;
    daemon?.process.pause();
    const after = stand.placement();
    if (stretch.errors > 0) throw new Error(`${contender.key}: ${stretch.errors} requests failed or were lost`);
    const cpuShare = stretch.cpuNs / (stretch.seconds * 1e9);
    const hadLoad = sleeping || cpuShare >= CPU_SHARE_MIN;
    const hadCore = daemon?.polls !== true || coreShares.every((share) => share >= CPU_SHARE_MIN);
    // Without a back end nobody needs its CPU.
    const needed = daemon === undefined ? taken.slice(0, 1) : taken;
    const alone = needed.every((share) => share <= OTHERS_SHARE_MAX);
    return {
      round,
      ...figures,
      loadBusy: sleeping ? stretch.busyShare : stretch.busyShare * cpuShare,
      coreBusy: daemon === undefined ? 0 : daemon.mode === 'baseline' ? daemonCpu : Math.min(1, busyNs / loadedNs),
      daemonCpu,
      guestNs: parts.map((_, i) => (times.guestNs[i] ?? 0) - (timesBefore.guestNs[i] ?? 0)),
      serviceNs: serviceOf(timesBefore.stamps, times.stamps),
      waitMaxNs: times.stamps.waitMaxNs,
      placementNs: [before, after],
      undisturbed: hadLoad && hadCore && alone && areAlike(before, after),
    };
  } finally {
    daemon?.process.pause();
  }
}

const NO_TIMES: CoreTimes = { busyNs: 0, guestNs: [], stamps: { timeNs: 0, requests: 0, waitMaxNs: 0 } };

const serviceOf = (before: Stamps, after: Stamps): number =>
  (after.timeNs - before.timeNs) / Math.max(1, after.requests - before.requests);

const pidOf = ({ child }: PaperDaemon['process']): number => child.pid!;
/** Whether the CPUs were placed alike, by two round trips of a cache line. */
export const areAlike = (a: number, b: number): boolean => Math.max(a, b) <= Math.min(a, b) * LIKE_PLACEMENT;

function rates({ requests, seconds, kicks, calls }: Stretch, parts: readonly Part[]) {
  const bytes = parts.reduce((sum, part) => sum + part.counters.requests * part.requestBytes, 0);
  return {
    perSecond: requests / seconds,
    bytesPerSecond: bytes / seconds,
    kicksPerSecond: kicks / seconds,
    callsPerSecond: calls / seconds,
    kicksPerRequest: kicks / Math.max(1, requests),
    callsPerRequest: calls / Math.max(1, requests),
    guests: parts.map(({ counters }) => counters.requests / seconds),
  };
}

function latenciesOf(parts: readonly Part[]) {
  const latency = latencyOf(parts);
  return { p50Ns: latency.quantile(0.5), p99Ns: latency.quantile(0.99), p999Ns: latency.quantile(0.999) };
}
