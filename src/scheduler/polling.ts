/** When a kind of sidecore polls its queues. */
export interface PollingRule {
  /** Mean time between the kicks of a watched queue at which it is polled, ns: infinite for at the first, zero for never. */
  readonly kickGapNs: number;
  /** How long a polled queue is without work before it waits for kicks again, ns; and at most, where it comes back soon each time. */
  readonly idleNs: number;
  readonly idleNsMax: number;
}

/** The rules of the modes; docs/notification.md has the measurements. */
export const POLLING_RULES = {
  /** The core polls in any case: a queue leaves the list only so that hundreds of idle ones do not slow the others down. */
  sidecore: { kickGapNs: Number.POSITIVE_INFINITY, idleNs: 100e6, idleNsMax: 1600e6 },
  adaptive: { kickGapNs: 1e6, idleNs: 1e6, idleNsMax: 8e6 },
  baseline: { kickGapNs: 0, idleNs: 0, idleNsMax: 0 },
} as const satisfies Record<string, PollingRule>;

/** How much smaller than the rule says the gap must be where polling has brought nothing, at most. */
const STRICTNESS_MAX = 8;
/** A gap counts as at most so many times what is asked for: a pause, however long, is made up for by a few quick kicks. */
const GAP_CAP = 4;
/** A queue that stayed away for so many idle times was right to leave. */
const AWAY_TIMES = 8;

/** Slots of `#numbers`. */
const Slot = { LAST_KICK: 0, GAP: 1, LEFT: 2, IDLE: 3, STRICTNESS: 4 } as const;

/**
 * When one queue is polled and when it waits for kicks. No clock: it is told the time, ns. A kick that does not make polling worth
 * its while is served, and the queue waits for the next.
 *
 * Hysteresis, both ways and bounded: a queue that leaves the poll list and is kicked before it was away as long as it had been waited
 * for gets twice the idle time; one that was polled for nothing needs twice the rate to be polled again. Either is taken back when the
 * opposite happens. Paper: polling begins at one event a jiffy and ends after an idle time.
 */
export class Polling {
  /** Whether it stays in the poll list when it is out of work, for a while. */
  polls = false;
  readonly #rule: PollingRule;
  readonly #numbers = new Float64Array(Object.keys(Slot).length);

  constructor(rule: PollingRule) {
    this.#rule = rule;
    const numbers = this.#numbers;
    numbers[Slot.LAST_KICK] = Number.NEGATIVE_INFINITY;
    numbers[Slot.LEFT] = Number.NEGATIVE_INFINITY;
    numbers[Slot.GAP] = GAP_CAP * rule.kickGapNs;
    numbers[Slot.IDLE] = rule.idleNs;
    numbers[Slot.STRICTNESS] = 1;
  }

  /** It was found with work, or started, without a kick: as if it had been kicked often. */
  started(): void {
    this.polls = this.#rule.kickGapNs > 0;
  }

  /** It was kicked while it waited for that. Decides on `polls`. */
  kicked(nowNs: number): void {
    const { kickGapNs, idleNs, idleNsMax } = this.#rule;
    const numbers = this.#numbers;
    const away = nowNs - numbers[Slot.LEFT]!;
    // While it was polled it had no reason to kick: that time does not count.
    const gap = Math.min(away, nowNs - numbers[Slot.LAST_KICK]!, GAP_CAP * kickGapNs);
    numbers[Slot.LAST_KICK] = nowNs;
    numbers[Slot.GAP] = (numbers[Slot.GAP]! + gap) / 2;
    const idle = numbers[Slot.IDLE]!;
    if (away < idle) numbers[Slot.IDLE] = Math.min(2 * idle, idleNsMax);
    else if (away > AWAY_TIMES * idle) numbers[Slot.IDLE] = Math.max(idle / 2, idleNs);
    this.polls = kickGapNs > 0 && numbers[Slot.GAP]! <= kickGapNs / numbers[Slot.STRICTNESS]!;
  }

  /**
   * Whether it has been without work for as long as it is waited for, and shall wait for kicks.
   *
   * @param now - and `lastWork`: times, ns, in arrays of one: asked often, and a number that is passed may be boxed
   */
  isIdle(now: Float64Array, lastWork: Float64Array): boolean {
    return !this.polls || now[0]! - lastWork[0]! >= this.#numbers[Slot.IDLE]!;
  }

  /** It left the poll list. @param found - whether there was work in it, after the first, that nobody had kicked for */
  left(nowNs: number, found: boolean): void {
    if (!this.polls) return;
    this.polls = false;
    const numbers = this.#numbers;
    numbers[Slot.LEFT] = nowNs;
    numbers[Slot.STRICTNESS] = found ? 1 : Math.min(2 * numbers[Slot.STRICTNESS]!, STRICTNESS_MAX);
  }
}
