import { assert } from '../../../errors.js';
import { FIREWALL_PROBES_MAX } from '../../../limits.js';

/** Of a TCP connection; others are OPEN. */
export const State = {
  /** The first frame was seen. */
  OPEN: 1,
  /** TCP: the answer to it was seen, and what the third segment has to acknowledge. */
  ANSWERED: 2,
  /** TCP: both sides have shown that they know of it. */
  ESTABLISHED: 3,
  /** TCP: both sides have ended it. */
  CLOSING: 4,
} as const;
/** The state, without the marks. */
export const STATE_MASK = 0xff;

/** Above the state: the guest has begun it, there was an answer, who has sent FIN, no beginning was seen, whose last segment was RST. */
export const Mark = {
  OUTBOUND: 0x100,
  REPLIED: 0x200,
  FIN_LOCAL: 0x400,
  FIN_REMOTE: 0x800,
  TAKEN_UP: 0x1000,
  RESET_LOCAL: 0x2000,
  RESET_REMOTE: 0x4000,
} as const;
export const ANY_RESET = Mark.RESET_LOCAL | Mark.RESET_REMOTE;

/**
 * What changes about the connections of a set lies together, in two cache lines: of each slot a tag, zero if it is free; the time, s, when
 * it expires; state and marks; what is expected. Words from the start of the set.
 */
export const SetWord = {
  TAG: 0,
  EXPIRES: FIREWALL_PROBES_MAX,
  STATE: 2 * FIREWALL_PROBES_MAX,
  EXPECTED: 3 * FIREWALL_PROBES_MAX,
} as const;
export const SET_WORDS = 4 * FIREWALL_PROBES_MAX;

assert(FIREWALL_PROBES_MAX === 8, 'what is written out for each slot of a set is so for eight');

/** Whether a slot has this tag in the set whose words begin at `at`. Written out: a loop over so few takes twice as long. */
export const hasTag = (sets: Int32Array, at: number, tag: number): boolean =>
  sets[at] === tag ||
  sets[at + 1] === tag ||
  sets[at + 2] === tag ||
  sets[at + 3] === tag ||
  sets[at + 4] === tag ||
  sets[at + 5] === tag ||
  sets[at + 6] === tag ||
  sets[at + 7] === tag;

/** Whether a slot is free in it, or has one that has expired. */
export const hasExpired = (sets: Int32Array, at: number, now: number): boolean =>
  sets[at + SetWord.EXPIRES]! <= now ||
  sets[at + SetWord.EXPIRES + 1]! <= now ||
  sets[at + SetWord.EXPIRES + 2]! <= now ||
  sets[at + SetWord.EXPIRES + 3]! <= now ||
  sets[at + SetWord.EXPIRES + 4]! <= now ||
  sets[at + SetWord.EXPIRES + 5]! <= now ||
  sets[at + SetWord.EXPIRES + 6]! <= now ||
  sets[at + SetWord.EXPIRES + 7]! <= now;

/** What a connection is found by, elsewhere by slot; the guest's side is the local one. First what IPv4 has. */
export const Name = { PORTS: 0, META: 1, LOCAL: 2, REMOTE: 3, LOCAL_REST: 4, REMOTE_REST: 7, RULE: 10 } as const;
export const NAME_WORDS = 12;

/** META: version of IP (3 bits), direction of fragments, protocol (8 bits), protocol of fragments (8 bits), VLAN (12 bits). */
export const metaOf = (family: number, protocol: number, vlan: number): number =>
  family | (protocol << 4) | (vlan << 20);
export const FRAGMENTS_INBOUND = 8;
export const FRAGMENTS_PROTOCOL_SHIFT = 12;
/** In place of the protocol, of packets of which the first fragment has passed. */
export const FRAGMENTS = 0xff;

/** What `advance` says. */
export const Standing = {
  /** The frame belongs to the connection. */
  KNOWN: 0,
  /** It begins something: the rules are asked. */
  NEW: 1,
  /** It begins a connection in place of one that is over: as above, and what is accepted is put in its place. */
  ANEW: 2,
} as const;

/** How sure it is that an entry is a connection: others have begun it; it was answered; the guest has begun it; it stays. */
export const Rank = { OTHER: 0, ANSWERED: 1, GUEST: 2, SURE: 3 } as const;

/** Of what others have begun and nobody has answered, this of state and marks is OPEN. */
export const UNANSWERED_MASK = STATE_MASK | Mark.OUTBOUND | Mark.REPLIED;

export function rankOf(state: number): number {
  const ends = (state & ANY_RESET) !== 0 || (state & STATE_MASK) === State.CLOSING;
  if ((state & STATE_MASK) === State.ESTABLISHED && !ends) return Rank.SURE;
  const replied = (state & Mark.REPLIED) !== 0 && !ends;
  if ((state & Mark.OUTBOUND) === 0) return replied ? Rank.ANSWERED : Rank.OTHER;
  return replied ? Rank.SURE : Rank.GUEST;
}

/** Where a slot's first word in its set is. */
export const placeOf = (slot: number): number =>
  (slot & -FIREWALL_PROBES_MAX) * (SET_WORDS / FIREWALL_PROBES_MAX) + (slot & (FIREWALL_PROBES_MAX - 1));

/** A connection as it is shown. */
export interface Connection {
  readonly family: number;
  readonly protocol: number;
  readonly vlan: number;
  readonly local: readonly number[];
  readonly remote: readonly number[];
  /** Of TCP and UDP: local and remote. Of an echo the second is the identifier. */
  readonly ports: readonly [number, number];
  /** State and marks. */
  readonly state: number;
  readonly expires: number;
  readonly rule: number;
}
