/** What it takes to wake a thread on a CPU that is idle, after it has rested for a time. */
export interface WakePoint {
  /** Time since it began to go to sleep, ns. */
  readonly restNs: number;
  /** How much longer than a signal that wakes nobody it takes him who wakes it, ns; equally likely values, ascending. */
  readonly wakingNs: readonly number[];
  /** From the begin of that signal until it goes on, ns; as many, ascending. */
  readonly latencyNs: readonly number[];
}

/** What waking takes, by the time of rest: as often little and much as that was measured, and between measured rests in proportion. */
export class WakeCurve {
  /** What was drawn last, ns. */
  wakingNs = 0;
  latencyNs = 0;
  readonly #points: readonly WakePoint[];

  /** @param points - by ascending rests, at least one */
  constructor(points: readonly WakePoint[]) {
    this.#points = points;
  }

  /** @param share - chance, from 0 to below 1 */
  draw(restNs: number, share: number): void {
    const points = this.#points;
    let after = 0;
    while (after < points.length - 1 && points[after]!.restNs < restNs) after++;
    const [a, b] = [points[Math.max(0, after - 1)]!, points[after]!];
    const between = b.restNs - a.restNs;
    const part = between === 0 ? 1 : Math.min(1, Math.max(0, (restNs - a.restNs) / between));
    const mixed = (pick: (point: WakePoint) => readonly number[]) =>
      (1 - part) * valueAt(pick(a), share) + part * valueAt(pick(b), share);
    this.wakingNs = mixed(({ wakingNs }) => wakingNs);
    this.latencyNs = mixed(({ latencyNs }) => latencyNs);
  }
}

const valueAt = (values: readonly number[], share: number): number => values[Math.floor(share * values.length)]!;
