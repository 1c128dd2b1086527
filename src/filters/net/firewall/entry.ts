/** Of a TCP connection; others are OPEN. */
export const State = {
  FREE: 0,
  /** The first frame was seen. */
  OPEN: 1,
  /** TCP: the answer to it was seen, and what the third segment has to acknowledge. */
  ANSWERED: 2,
  /** TCP: both sides have shown that they know of it. */
  ESTABLISHED: 3,
  /** TCP: both sides have ended it, or one has reset it. */
  CLOSING: 4,
} as const;

/** Words of an entry. Those up to META are what it is found by: the guest's side is the local one. */
export const Entry = {
  LOCAL: 0,
  REMOTE: 4,
  PORTS: 8,
  META: 9,
  STATE: 10,
  EXPIRES: 11,
  EXPECTED: 12,
  RULE: 13,
} as const;
export const ENTRY_WORDS = 16;
/** In STATE, above the state: the guest has begun it, there was an answer, who has sent FIN, no beginning was seen, there was RST. */
export const Mark = {
  OUTBOUND: 0x100,
  REPLIED: 0x200,
  FIN_LOCAL: 0x400,
  FIN_REMOTE: 0x800,
  TAKEN_UP: 0x1000,
  RESET: 0x2000,
} as const;
/** The state, without the marks. */
export const STATE_MASK = 0xff;
