/** What the sidecores did in one window. */
export interface ElasticSample {
  /** Cores in use; zero if everything is served on the shared thread. */
  readonly cores: number;
  /** Time in useful work, as a number of cores. */
  readonly work: number;
  /** CPU time that it took, with empty polling, as a number of cores. */
  readonly cpu: number;
  /** Requests and frames a second. */
  readonly rate: number;
}

/** Why the number of cores changes. */
export type ElasticReason = 'saturated' | 'idle' | 'regret' | 'limits';

export interface ElasticDecision {
  readonly cores: number;
  readonly reason: ElasticReason;
}

/** Share of time in work from which on cores are saturated. On the shared thread less, since it also sleeps between a guest's requests. */
const SATURATED = 0.9;
const SHARED_SATURATED = 0.5;
/** Share of time in work that the cores which are left may come to. A request takes more time on the shared thread. */
const ROOM = 0.65;
const SHARED_ROOM = 0.05;
/** Windows in a row that show the same before cores are added, or taken away. */
const GROW_WINDOWS = 3;
const SHRINK_WINDOWS = 12;
/** Windows after a change that say nothing, and windows before and after it that are compared. */
const SETTLE_WINDOWS = 2;
const JUDGE_WINDOWS = 4;
/** Rates that differ by less than this share are of the same offered load. */
const SIMILAR = 0.15;
/** Requests per CPU second that are less by this share are worse. */
const WORSE = 0.05;
/** Windows in which a change that was undone is not tried again: the first time, and at most; each time twice as long. */
const BAN_WINDOWS = 40;
const BAN_WINDOWS_MAX = 2560;

type Direction = 'grow' | 'shrink';

interface Mean {
  readonly work: number;
  readonly cpu: number;
  readonly rate: number;
}

/**
 * Decides how many cores serve, from what they did in one window after the other: one more when they are saturated, one less when
 * what they do fits the others with room, always between minimum and maximum. A change after which requests per CPU second are worse, at
 * a similar load, is undone, and not tried again for a while. It has no clock and no effect of its own.
 */
export class Elastic {
  readonly #max: number;
  readonly #min: number;
  #round = 0;
  /** As of the last sample. */
  #cores = -1;
  #saturated = 0;
  #idle = 0;
  #lately: ElasticSample[] = [];
  /** The change that is being judged. */
  #trial: { readonly from: number; readonly before: Mean } | undefined;
  readonly #bans = { grow: { until: 0, windows: 0 }, shrink: { until: 0, windows: 0 } };

  /** @param min - at least zero; @param max - at least one, and not less than `min` */
  constructor(min: number, max: number) {
    this.#min = min;
    this.#max = max;
  }

  /** Takes the sample of a window; undefined if all stays as it is. */
  decide(sample: ElasticSample): ElasticDecision | undefined {
    this.#round++;
    if (sample.cores !== this.#cores) this.#begin(sample.cores);
    const within = Math.min(this.#max, Math.max(this.#min, sample.cores));
    if (within !== sample.cores) return this.#change(within, 'limits');
    this.#lately.push(sample);
    if (this.#trial !== undefined) return this.#judge(this.#trial);
    if (this.#lately.length > JUDGE_WINDOWS) this.#lately.shift();
    this.#count(sample);
    const { cores } = sample;
    if (this.#saturated >= GROW_WINDOWS && cores < this.#max && this.#mayTry('grow'))
      return this.#try(cores + 1, 'saturated');
    if (this.#idle >= SHRINK_WINDOWS && cores > this.#min && this.#mayTry('shrink'))
      return this.#try(cores - 1, 'idle');
    return undefined;
  }

  /** Another number of cores is in use than in the window before. */
  #begin(cores: number): void {
    if (this.#trial !== undefined && Math.abs(cores - this.#trial.from) !== 1) this.#trial = undefined;
    this.#cores = cores;
    this.#saturated = this.#idle = 0;
    this.#lately = [];
  }

  #count({ cores, work }: ElasticSample): void {
    const saturated = cores === 0 ? work >= SHARED_SATURATED : work >= SATURATED * cores;
    const room = cores <= 1 ? SHARED_ROOM : ROOM * (cores - 1);
    this.#saturated = saturated ? this.#saturated + 1 : 0;
    this.#idle = work <= room ? this.#idle + 1 : 0;
  }

  #mayTry(direction: Direction): boolean {
    return this.#round >= this.#bans[direction].until;
  }

  #try(cores: number, reason: ElasticReason): ElasticDecision {
    const trial = { from: this.#cores, before: mean(this.#lately) };
    const decision = this.#change(cores, reason);
    this.#trial = trial;
    return decision;
  }

  #change(cores: number, reason: ElasticReason): ElasticDecision {
    this.#begin(cores);
    this.#trial = undefined;
    return { cores, reason };
  }

  /** Looks at what a change has brought, once there is enough to see. */
  #judge({ from, before }: { from: number; before: Mean }): ElasticDecision | undefined {
    if (this.#lately.length < SETTLE_WINDOWS + JUDGE_WINDOWS) return undefined;
    const after = mean(this.#lately.slice(SETTLE_WINDOWS));
    const direction = this.#cores > from ? 'grow' : 'shrink';
    const ban = this.#bans[direction];
    this.#trial = undefined;
    if (!isWorse(before, after, this.#cores)) {
      ban.windows = 0;
      return undefined;
    }
    ban.windows = Math.min(Math.max(BAN_WINDOWS, 2 * ban.windows), BAN_WINDOWS_MAX);
    ban.until = this.#round + ban.windows;
    return this.#change(from, 'regret');
  }
}

function mean(samples: readonly ElasticSample[]): Mean {
  const of = (pick: (sample: ElasticSample) => number) =>
    samples.reduce((sum, sample) => sum + pick(sample), 0) / samples.length;
  return { work: of(({ work }) => work), cpu: of(({ cpu }) => cpu), rate: of(({ rate }) => rate) };
}

/**
 * At a similar load, fewer requests per CPU second are worse. Where cores are saturated and do less than before, the load may be as it
 * was, and cannot be served.
 */
function isWorse(before: Mean, after: Mean, cores: number): boolean {
  const perCpu = ({ rate, cpu }: Mean) => rate / Math.max(cpu, Number.EPSILON);
  const similar = Math.abs(after.rate - before.rate) <= SIMILAR * before.rate;
  if (similar && before.rate > 0) return perCpu(after) < (1 - WORSE) * perCpu(before);
  return after.work >= SATURATED * Math.max(1, cores) && after.rate < before.rate;
}
