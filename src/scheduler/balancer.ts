import { BALANCE_MOVES_MAX } from '../limits.js';

/** What moves as one from core to core: a queue, or a device with all of its queues. */
export interface Movable {
  /** The same in every round. */
  readonly id: number;
  /** Where it is served. */
  readonly core: number;
  /** Time that serving it took in the last window, ns. */
  readonly ns: number;
}

/** A core that may be used. */
export interface CoreLoad {
  readonly core: number;
  /** Time in work that cannot be moved, in the last window, ns. */
  readonly fixedNs: number;
}

export interface Move {
  readonly id: number;
  readonly from: number;
  readonly to: number;
}

/** The least load of the busiest core at which anything is moved for balance, as a share of the window. */
const BUSY_MIN = 0.5;
/** By how much the load of the busier of two cores must fall by each move, as a share of itself. */
const GAIN_MIN = 0.1;
/** By how much the variance of the cores' loads must fall by all moves of a round, as a share of itself: OVS-DPDK's figure. */
const VARIANCE_GAIN_MIN = 0.25;
/** From this share of the window on a core is taken for full, little by little: what its queues would take is more than they took. */
const FULL = 0.9;
/** Weight of the last window against all before. */
const SMOOTHING = 0.25;
/** Rounds for which it is remembered what something took where it could take what it wanted, and that it was moved. */
const MEMORY = 1024;
/** Rounds in a row in which a move has to seem worthwhile before it is made. */
const PATIENCE = 2;
/** Rounds in which what was moved stays, the first time and at most; each time twice as long, until that is forgotten. */
const REST = 8;
const REST_MAX = 512;

interface Known {
  /** Smoothed, ns. */
  ns: number;
  /** What it took when it was last on a core that was not full, ns, and in which round that was. */
  wanted: number;
  wantedAt: number;
  /** Round up to which it stays, and how long its last rest was; zero if it was not moved lately. */
  restUntil: number;
  rest: number;
  /** Where it was seen last; moves from there that came to nothing, and the round up to which none is tried again. */
  core: number;
  failures: number;
  waitsUntil: number;
}

const UNKNOWN = {
  wanted: 0,
  wantedAt: Number.NEGATIVE_INFINITY,
  restUntil: 0,
  rest: 0,
  failures: 0,
  waitsUntil: 0,
} as const;

/** One thing in a dry run. */
interface Item {
  readonly id: number;
  readonly core: number;
  readonly load: number;
  readonly mayMove: boolean;
}

/**
 * Decides which queues move between cores, by the time that each took. Moves are only proposed after a dry run which shows that
 * they are worth it, a few in a round, and what was moved rests. Called at regular times; it has no clock and no effect of its own.
 *
 * On a core that is full nobody knows how much its queues would take. Those that have about as much as the one with the most are assumed
 * to be hungry: each would take as much as all of them together have, and no more than a core, or than it took where there was room.
 */
export class Balancer {
  readonly #known = new Map<number, Known>();
  readonly #fixed = new Map<number, number>();
  #round = 0;
  #worthwhile = 0;

  /**
   * @param movables - all that is served, wherever it is
   * @param cores - those that may be used; what is on another one has to leave it
   * @param windowNs - time that the loads were measured in
   */
  plan(movables: readonly Movable[], cores: readonly CoreLoad[], windowNs: number): Move[] {
    this.#round++;
    this.#learn(movables, cores);
    if (cores.length === 0) return [];
    const items = this.#estimate(movables, windowNs);
    const loads = new Map(cores.map(({ core }) => [core, this.#fixed.get(core)!]));
    for (const { core, load } of items) if (loads.has(core)) loads.set(core, loads.get(core)! + load);
    const leaving = evacuate(
      items.filter(({ id }) => this.#known.get(id)!.waitsUntil < this.#round),
      loads,
    );
    const spread = dryRun(items, loads, windowNs);
    this.#worthwhile = spread.size > 0 ? this.#worthwhile + 1 : 0;
    const from = new Map(movables.map(({ id, core }) => [id, core]));
    const chosen = this.#worthwhile < PATIENCE ? [] : [...spread].slice(0, BALANCE_MOVES_MAX);
    const moves = [...leaving, ...chosen].map(([id, to]) => ({ id, from: from.get(id)!, to }));
    for (const { id } of moves) this.#putToRest(id);
    return moves;
  }

  /** To be told of what could not move: it stays for a while even on a core that it has to leave, each time twice as long. */
  failed(id: number): void {
    const known = this.#known.get(id);
    if (known === undefined) return;
    known.waitsUntil = this.#round + Math.min(REST * 2 ** known.failures, REST_MAX);
    known.failures++;
  }

  #learn(movables: readonly Movable[], cores: readonly CoreLoad[]): void {
    const smooth = (before: number | undefined, now: number) =>
      before === undefined ? now : before + SMOOTHING * (now - before);
    const present = new Set<number>();
    for (const { id, ns, core } of movables) {
      present.add(id);
      const known = this.#known.get(id);
      if (known === undefined) this.#known.set(id, { ...UNKNOWN, core, ns });
      else {
        known.ns = smooth(known.ns, ns);
        if (this.#round > known.restUntil + MEMORY) known.rest = 0;
        if (known.core !== core) Object.assign(known, { core, failures: 0, waitsUntil: 0 });
      }
    }
    for (const id of this.#known.keys()) if (!present.has(id)) this.#known.delete(id);
    const fixed = new Map(cores.map(({ core, fixedNs }) => [core, smooth(this.#fixed.get(core), fixedNs)]));
    this.#fixed.clear();
    for (const [core, ns] of fixed) this.#fixed.set(core, ns);
  }

  #estimate(movables: readonly Movable[], windowNs: number): Item[] {
    const byCore = new Map<number, Movable[]>();
    for (const movable of movables) {
      const there = byCore.get(movable.core);
      if (there === undefined) byCore.set(movable.core, [movable]);
      else there.push(movable);
    }
    return [...byCore].flatMap(([core, there]) => {
      const taken = there.map(({ id }) => this.#known.get(id)!.ns);
      const largest = Math.max(...taken, 1);
      const share = taken.reduce((sum, ns) => sum + ns, this.#fixed.get(core) ?? 0) / windowNs;
      const full = Math.min(1, Math.max(0, (share - FULL) / (1 - FULL)));
      const others = taken.reduce((sum, ns) => sum + ns / largest, -1);
      return there.map(({ id }, index) => {
        const ns = taken[index]!;
        const known = this.#known.get(id)!;
        if (full === 0) {
          known.wanted = ns;
          known.wantedAt = this.#round;
        }
        const most = this.#round - known.wantedAt <= MEMORY ? known.wanted : windowNs;
        const hungry = (ns / largest) ** 2;
        const load = Math.max(ns, Math.min(most, ns * (1 + full * hungry * others)));
        return { id, core, load, mayMove: known.restUntil < this.#round };
      });
    });
  }

  #putToRest(id: number): void {
    const known = this.#known.get(id)!;
    known.rest = known.rest === 0 ? REST : Math.min(2 * known.rest, REST_MAX);
    known.restUntil = this.#round + known.rest;
  }
}

/** Takes everything off cores that may not be used, the largest first, each to the core that has the least: where each goes, by id. */
function evacuate(items: readonly Item[], loads: Map<number, number>): Map<number, number> {
  const leaving = items.filter(({ core }) => !loads.has(core)).sort((a, b) => b.load - a.load);
  const moves = new Map<number, number>();
  for (const { id, load } of leaving) {
    const to = extreme(loads, -1);
    // One that takes nothing counts for something, so that not all of these come to one core.
    loads.set(to, loads.get(to)! + Math.max(1, load));
    moves.set(id, to);
  }
  return moves;
}

/** The core with the most (1) or least (-1) load. */
function extreme(loads: ReadonlyMap<number, number>, sign: 1 | -1): number {
  let found = -1;
  let best = Number.NEGATIVE_INFINITY;
  for (const [core, load] of loads) {
    if (sign * load <= best) continue;
    best = sign * load;
    found = core;
  }
  return found;
}

/**
 * Finds moves, each from the busiest core to the least busy, until none is worthwhile: where each would go, by id, in their order. None
 * if all of them together are not worthwhile.
 */
function dryRun(items: readonly Item[], before: ReadonlyMap<number, number>, windowNs: number): Map<number, number> {
  const loads = new Map(before);
  const moves = new Map<number, number>();
  while (moves.size < items.length) {
    const busiest = extreme(loads, 1);
    const least = extreme(loads, -1);
    const most = loads.get(busiest)!;
    if (most < BUSY_MIN * windowNs) break;
    const gap = most - loads.get(least)!;
    const item = bestMove(items, moves, busiest, gap);
    if (item === undefined || Math.min(item.load, gap - item.load) < GAIN_MIN * most) break;
    loads.set(busiest, most - item.load);
    loads.set(least, most - gap + item.load);
    moves.set(item.id, least);
  }
  return variance(loads) <= (1 - VARIANCE_GAIN_MIN) * variance(before) ? moves : new Map();
}

/** What comes nearest to half of the gap between two cores, and the smaller of two that come as near. */
function bestMove(
  items: readonly Item[],
  moved: ReadonlyMap<number, number>,
  busiest: number,
  gap: number,
): Item | undefined {
  let best: Item | undefined;
  const distance = ({ load }: Item) => Math.abs(load - gap / 2);
  for (const item of items) {
    if (item.core !== busiest || !item.mayMove || moved.has(item.id) || item.load >= gap) continue;
    if (
      best === undefined ||
      distance(item) < distance(best) ||
      (distance(item) === distance(best) && item.load < best.load)
    )
      best = item;
  }
  return best;
}

function variance(loads: ReadonlyMap<number, number>): number {
  const mean = [...loads.values()].reduce((sum, load) => sum + load, 0) / loads.size;
  return [...loads.values()].reduce((sum, load) => sum + (load - mean) ** 2, 0) / loads.size;
}
