import type { Stand, Timing } from './stand.js';
import { type Estimate, estimate } from './stats.js';
import { areAlike, type Contender, measure, placementOf, type Window } from './window.js';

/** Something that is there in one of two windows and not in the other, and nothing else is different. */
export interface Switched {
  readonly name: string;
  /** Who is measured. */
  contender(on: boolean): Contender;
  /** Puts it there, or takes it away. */
  turn(on: boolean): Promise<void>;
  /** The same load before a window in which it was just switched, ms: until everything is as it stays. */
  readonly settleMs: number;
}

/** How short windows are, and how many. */
export interface Alternation {
  readonly pairs: number;
  /** Pairs more for those that were disturbed. */
  readonly extra: number;
  readonly warmUpMs: number;
  readonly windowMs: number;
}

/** Two windows, one right after the other. */
export interface Pair {
  readonly off: Window;
  readonly on: Window;
  /** Both were undisturbed, and on like placements of the CPUs. */
  readonly undisturbed: boolean;
}

/** What switching and looking at the CPUs' placement take besides, ms: for plans. */
const OVERHEAD_MS = { window: 25, turn: 40 } as const;

export const plannedPairs = ({ pairs, warmUpMs, windowMs }: Alternation, settleMs: number): number =>
  pairs * (2 * (windowMs + OVERHEAD_MS.window) + warmUpMs + settleMs + OVERHEAD_MS.turn);

/**
 * Measures something on and off in pairs of short windows: off on, on off, off on. So it is switched once in each pair, each is as
 * often the first as the other, and what drifts over several windows is the same in both.
 */
export async function alternate(stand: Stand, switched: Switched, how: Alternation): Promise<Pair[]> {
  const pairs: Pair[] = [];
  const isEnough = () => pairs.filter(({ undisturbed }) => undisturbed).length >= how.pairs;
  const windowOf = (on: boolean, warmUpMs: number) =>
    measure(stand, switched.contender(on), pairs.length, { warmUpMs, windowMs: how.windowMs });
  await switched.turn(false);
  await windowOf(false, switched.settleMs);
  for (let on = false; pairs.length < how.pairs + how.extra && !isEnough(); on = !on) {
    const first = await windowOf(on, how.warmUpMs);
    await switched.turn(!on);
    const second = await windowOf(!on, switched.settleMs);
    const undisturbed = first.undisturbed && second.undisturbed && areAlike(placementOf(first), placementOf(second));
    pairs.push({ ...(on ? { on: first, off: second } : { on: second, off: first }), undisturbed });
    if (pairs.length <= how.pairs) stand.progress.did(plannedPairs(how, switched.settleMs) / how.pairs);
  }
  return pairs;
}

/** Pairs that count: undisturbed ones, or all if there is none. */
export function keptPairs(pairs: readonly Pair[]): readonly Pair[] {
  const good = pairs.filter(({ undisturbed }) => undisturbed);
  return good.length > 0 ? good : pairs;
}

/** What is left of the throughput when it is on. */
export const shareLeft = (pairs: readonly Pair[]): Estimate =>
  estimate(keptPairs(pairs).map(({ off, on }) => on.perSecond / off.perSecond));

export type AlternationTiming = Record<Timing['points'], Alternation>;
