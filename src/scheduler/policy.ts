import type { Entry } from './entry.js';

export const POLICIES = ['fair', 'elvis', 'round-robin'] as const;
export type PolicyName = (typeof POLICIES)[number];

/** How queues are scheduled. Times in ns. */
export interface SchedulerOptions {
  readonly policy: PolicyName;
  /** `fair`: the longest turn of the heaviest account, where others wait. */
  readonly quantumNs: number;
  /** `elvis`: bytes below which a turn goes on, and above which it ends. */
  readonly minBytes: number;
  readonly maxBytes: number;
  /** `elvis`: a queue is stuck that has waited so long with at most so many items that have not become more. */
  readonly stuckNs: number;
  readonly stuckItems: number;
  /** How long queues that were kicked, and the mailbox, wait for a turn to end. */
  readonly notifiedNs: number;
}

/** What a policy knows of the turn that is going on. */
export interface Turn {
  readonly items: number;
  readonly bytes: number;
  /** Time that it has taken, ns: slot `TURN_NS` of `times`. */
  readonly times: Float64Array;
}

/** Slots of `Turn.times`, ns. */
export const TurnTime = { NOW: 0, BEGUN: 1, TURN_NS: 2, PIECE_NS: 3 } as const;

/** Decides whose turn it is and when it ends; remembers nothing but the accounts. */
export interface Policy {
  /** A round begins, the heaviest account with work in the one before had this weight. */
  beginRound(round: number, heaviest: number): void;
  /** Whether a queue that has work may have a turn in this round. */
  admits(entry: Entry): boolean;
  /** A turn begins, or goes on after an interruption; before its time in the round if `rescued`. */
  begin(entry: Entry, rescued: boolean): void;
  /** A piece of the turn took so long as slot `PIECE_NS` says. Not an argument: a number that is passed may be boxed. */
  charge(entry: Entry, turn: Turn): void;
  /** After a piece of work, with more waiting: whether the turn goes on as far as the queue itself is concerned. */
  goesOn(entry: Entry, turn: Turn): boolean;
  /** Whether to look for stuck queues, after so much of a turn. */
  yields(turn: Turn): boolean;
  /** Whether another queue is served before its turn, that has so many items waiting and was not seen to change for so long. */
  rescues(entry: Entry, pending: number, waitedNs: number): boolean;
  /** Whether a turn that ended for a stuck queue is taken up again right after it. */
  resumes(entry: Entry, turn: Turn): boolean;
}

/** What is used where nothing else is asked for; docs/scheduler.md says how it was found. */
export const SCHEDULER_DEFAULTS: SchedulerOptions = {
  policy: 'fair',
  quantumNs: 20_000,
  minBytes: 1500,
  maxBytes: 524_288,
  stuckNs: 7000,
  stuckItems: 50,
  notifiedNs: 20_000,
};
