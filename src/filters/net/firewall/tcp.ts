import { ANY_RESET, Mark, SetWord, STATE_MASK, Standing, State } from './entry.js';
import { Key } from './key.js';
import { TcpFlag } from './read-key.js';

/** Seconds that a connection lives after a segment. */
export const OPENING_S = 60;
const HALF_CLOSED_S = 300;
const CLOSED_S = 60;
const RESET_S = 10;
/** How far beyond the answer the third segment may acknowledge: what the other side has sent by then. */
const AHEAD_MAX = 0x1_0000;

/**
 * Has a TCP connection, whose words in its set are from `at` on, go on with a segment. Returns one of `Standing`.
 *
 * Sequence numbers are not held against windows: a segment that its receiver will not take may change what is remembered, but
 * only so that the entry expires sooner, after at least ten seconds without a frame. RST counts until whoever it is said to come from
 * sends another segment: one that has reset a connection does not.
 */
export function advanceTcp(
  sets: Int32Array,
  at: number,
  key: Int32Array,
  outbound: boolean,
  nowS: number,
  establishedS: number,
): number {
  const before = sets[at + SetWord.STATE]!;
  const beginner = ((before & Mark.OUTBOUND) !== 0) === outbound;
  const flags = key[Key.TCP_FLAGS]!;
  const state = before & STATE_MASK;
  if ((flags & (TcpFlag.SYN | TcpFlag.ACK)) === TcpFlag.SYN) {
    if (state === State.CLOSING || (before & ANY_RESET) !== 0) return Standing.ANEW;
    return beginner ? Standing.KNOWN : Standing.NEW;
  }
  let next = state;
  const reset = outbound ? Mark.RESET_LOCAL : Mark.RESET_REMOTE;
  let marks = before & ~STATE_MASK & ~reset;
  if ((flags & TcpFlag.RST) !== 0) {
    marks |= reset;
  } else if (state === State.OPEN) {
    if (!beginner && (flags & TcpFlag.SYN) !== 0) {
      next = State.ANSWERED;
      marks |= Mark.REPLIED;
      sets[at + SetWord.EXPECTED] = key[Key.SEQUENCE]! + 1;
    } else if (!beginner && (marks & Mark.TAKEN_UP) !== 0) {
      // One that knows nothing of it would have answered with RST.
      next = State.ESTABLISHED;
      marks |= Mark.REPLIED;
    }
  } else if (state === State.ANSWERED) {
    const ahead = (key[Key.ACKNOWLEDGMENT]! - sets[at + SetWord.EXPECTED]!) >>> 0;
    if (beginner && (flags & TcpFlag.ACK) !== 0 && ahead < AHEAD_MAX) next = State.ESTABLISHED;
  }
  if ((flags & TcpFlag.FIN) !== 0) {
    marks |= outbound ? Mark.FIN_LOCAL : Mark.FIN_REMOTE;
    if ((marks & Mark.FIN_LOCAL) !== 0 && (marks & Mark.FIN_REMOTE) !== 0) next = State.CLOSING;
  }
  if ((next | marks) !== before) sets[at + SetWord.STATE] = next | marks;
  sets[at + SetWord.EXPIRES] = nowS + lifeS(next, marks, establishedS);
  return Standing.KNOWN;
}

function lifeS(state: number, marks: number, establishedS: number): number {
  if ((marks & ANY_RESET) !== 0) return RESET_S;
  if (state === State.CLOSING) return CLOSED_S;
  if (state !== State.ESTABLISHED) return OPENING_S;
  return (marks & (Mark.FIN_LOCAL | Mark.FIN_REMOTE)) !== 0 ? HALF_CLOSED_S : establishedS;
}
