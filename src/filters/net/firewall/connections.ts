import { FIREWALL_PROBES_MAX } from '../../../limits.js';
import { ENTRY_WORDS, Entry, Mark, STATE_MASK, State } from './entry.js';
import { Key } from './key.js';
import type { Tracking } from './options.js';
import { TcpFlag } from './read-key.js';
import { PROTOCOLS } from './values.js';

/** Seconds that an entry lives after a frame. */
const OPENING_S = 60;
const HALF_CLOSED_S = 300;
const CLOSED_S = 60;
const RESET_S = 10;
const UNANSWERED_S = 30;
const ECHO_S = 30;
const FRAGMENT_S = 30;

/** In META as the protocol, of packets of which the first fragment has passed. */
const FRAGMENTS = 0xff;

/** Words of the head of the memory: whether there are secrets, the secrets. */
const SECRETS_AT = 2;
const SECRETS = 21;
const HEAD_WORDS = 32;

/** What `advance` says. */
export const Standing = {
  /** The frame belongs to the connection. */
  KNOWN: 0,
  /** It begins something: the rules are asked. */
  NEW: 1,
  /** It begins a connection in place of one that is over: as above, and what is accepted is put in its place. */
  ANEW: 2,
} as const;

/** Slots for so many connections: a power of two. */
const slotsOf = (max: number): number => Math.max(FIREWALL_PROBES_MAX, 2 ** Math.ceil(Math.log2(max)));

/** Bytes of the memory of a table. */
export const connectionsBytes = (max: number): number => 4 * (HEAD_WORDS + slotsOf(max) * (1 + ENTRY_WORDS));

/**
 * The connections of one card, in shared memory. Belongs to the thread that serves the card; others may look.
 *
 * A connection lies in one of `FIREWALL_PROBES_MAX` slots of the set that its hash says, so that nothing takes longer than that. The
 * hash is a sum of products with secret factors (Dietzfelbinger's multiply-shift for vectors of 16-bit words): whatever two
 * connections somebody chooses, they share a set by chance only, one in as many as there are sets.
 *
 * Where a set is full, a new connection takes the place of one that has expired, or else of the one least sure to be a connection and of these the
 * first to expire; see `#rank`. One that the guest has begun and that was answered, or of TCP both of whose sides have shown that they
 * see what the other sends, is never pushed out; and what others begin does not push out what the guest has begun.
 */
export class Connections {
  readonly #words: Int32Array;
  readonly #tags: Int32Array;
  readonly #entries: Int32Array;
  readonly #secrets: Int32Array;
  readonly #shift: number;
  readonly #tracking: Tracking;
  /** What is looked for: the first words of an entry. */
  readonly #sought = new Int32Array(Entry.STATE);
  #hash = 0;
  /** Monotonic time, s. */
  nowS = 0;

  constructor(memory: SharedArrayBuffer, byteOffset: number, tracking: Tracking) {
    const slots = slotsOf(tracking.max);
    this.#words = new Int32Array(memory, byteOffset, HEAD_WORDS + slots * (1 + ENTRY_WORDS));
    this.#secrets = this.#words.subarray(SECRETS_AT, SECRETS_AT + SECRETS);
    this.#tags = this.#words.subarray(HEAD_WORDS, HEAD_WORDS + slots);
    this.#entries = this.#words.subarray(HEAD_WORDS + slots);
    this.#shift = 32 - Math.log2(slots / FIREWALL_PROBES_MAX);
    this.#tracking = tracking;
    if (this.#words[0] !== 0) return;
    crypto.getRandomValues(this.#secrets);
    Atomics.store(this.#words, 0, 1);
  }

  /** Where the connection of a frame is; -1 if it is not known. */
  find(key: Int32Array, outbound: boolean): number {
    const protocol = key[Key.PROTOCOL]!;
    const icmp = protocol === PROTOCOLS.icmp || protocol === PROTOCOLS.icmpv6;
    const mine = outbound ? key[Key.SOURCE_PORT]! : key[Key.DESTINATION_PORT]!;
    const theirs = outbound ? key[Key.DESTINATION_PORT]! : key[Key.SOURCE_PORT]!;
    this.#seek(key, outbound, icmp ? key[Key.ECHO_ID]! : (mine << 16) | theirs, protocol);
    return this.#find();
  }

  /** Where the packet of a fragment is; -1 if its first fragment has not passed. */
  findFragments(key: Int32Array, outbound: boolean): number {
    this.#seek(key, outbound, key[Key.FRAGMENT_ID]!, FRAGMENTS);
    // Of the other direction it would be another packet.
    this.#sought[Entry.META]! ^= (outbound ? 0 : 8) ^ (key[Key.FAMILY] === 4 ? key[Key.PROTOCOL]! << 12 : 0);
    this.#rehash();
    return this.#find();
  }

  /**
   * Has a connection go on with a frame that belongs to it by its addresses. Returns one of `Standing`.
   *
   * Sequence numbers are not held against windows: a segment that its receiver will not take may change what is remembered, but
   * only so that the entry expires sooner, after at least ten seconds without a frame.
   */
  advance(slot: number, key: Int32Array, outbound: boolean): number {
    const entries = this.#entries;
    const at = slot * ENTRY_WORDS;
    const state = entries[at + Entry.STATE]!;
    const beginner = ((state & Mark.OUTBOUND) !== 0) === outbound;
    const protocol = key[Key.PROTOCOL]!;
    if (protocol === PROTOCOLS.tcp) return this.#advanceTcp(at, key, outbound, beginner);
    if (protocol === PROTOCOLS.udp) {
      const marks = beginner ? state : state | Mark.REPLIED;
      if (marks !== state) entries[at + Entry.STATE] = marks;
      entries[at + Entry.EXPIRES] = this.nowS + ((marks & Mark.REPLIED) !== 0 ? this.#tracking.udpS : UNANSWERED_S);
      return Standing.KNOWN;
    }
    // Both sides may ask with the same identifier.
    if (isEchoRequest(key) !== beginner) return Standing.NEW;
    if (!beginner) entries[at + Entry.STATE] = state | Mark.REPLIED;
    entries[at + Entry.EXPIRES] = this.nowS + ECHO_S;
    return Standing.KNOWN;
  }

  /** Remembers the connection that `find` has not found, or has found to be over; false if there is no room. */
  insert(slot: number, outbound: boolean, takenUp: boolean, rule: number): boolean {
    const free = slot >= 0 ? slot : this.#vacancy(outbound);
    if (free < 0) return false;
    const tcp = ((this.#sought[Entry.META]! >>> 4) & 0xff) === PROTOCOLS.tcp;
    const marks = (outbound ? Mark.OUTBOUND : 0) | (takenUp ? Mark.TAKEN_UP : 0);
    this.#put(free, State.OPEN | marks, this.nowS + (tcp ? OPENING_S : UNANSWERED_S), 0, rule);
    return true;
  }

  /** Remembers the packet whose first fragment has passed; false if there is no room. */
  insertFragments(key: Int32Array, outbound: boolean): boolean {
    const known = this.findFragments(key, outbound);
    const free = known >= 0 ? known : this.#vacancy(outbound);
    if (free < 0) return false;
    this.#put(free, State.OPEN | (outbound ? Mark.OUTBOUND : 0), this.nowS + FRAGMENT_S, key[Key.FRAGMENT_END]!, -1);
    return true;
  }

  /** Whether a later fragment leaves alone what the first one said. */
  isBehindFirst(slot: number, key: Int32Array): boolean {
    return key[Key.FRAGMENT_START]! >= this.#entries[slot * ENTRY_WORDS + Entry.EXPECTED]!;
  }

  /** How many there are, and each of them: the entries' words, and where in them it begins. For looks from beside. */
  forEach(visit: (words: Int32Array, at: number) => void): number {
    let count = 0;
    for (let slot = 0; slot < this.#tags.length; slot++) {
      if (Atomics.load(this.#tags, slot) === 0) continue;
      const at = slot * ENTRY_WORDS;
      if (this.#entries[at + Entry.EXPIRES]! <= this.nowS || isFragments(this.#entries, at)) continue;
      count++;
      visit(this.#entries, at);
    }
    return count;
  }

  /** Forgets all, from any thread: an entry that is put in at the same moment stays. Returns how many there were. */
  forget(): number {
    let count = 0;
    for (let slot = 0; slot < this.#tags.length; slot++) if (Atomics.exchange(this.#tags, slot, 0) !== 0) count++;
    return count;
  }

  /** Takes over what is alive in another table. */
  adopt(other: Connections): void {
    other.nowS = this.nowS;
    other.forEach((words, at) => {
      for (let i = 0; i < Entry.STATE; i++) this.#sought[i] = words[at + i]!;
      this.#rehash();
      const slot = this.#vacancy((words[at + Entry.STATE]! & Mark.OUTBOUND) !== 0);
      if (slot < 0) return;
      this.#put(
        slot,
        words[at + Entry.STATE]!,
        words[at + Entry.EXPIRES]!,
        words[at + Entry.EXPECTED]!,
        words[at + Entry.RULE]!,
      );
    });
  }

  #advanceTcp(at: number, key: Int32Array, outbound: boolean, beginner: boolean): number {
    const entries = this.#entries;
    const before = entries[at + Entry.STATE]!;
    const flags = key[Key.TCP_FLAGS]!;
    const state = before & STATE_MASK;
    if ((flags & (TcpFlag.SYN | TcpFlag.ACK)) === TcpFlag.SYN) {
      if (state === State.CLOSING) return Standing.ANEW;
      return beginner ? Standing.KNOWN : Standing.NEW;
    }
    let next = state;
    let marks = before & ~STATE_MASK;
    if ((flags & TcpFlag.RST) !== 0) {
      next = State.CLOSING;
      marks |= Mark.RESET;
    } else if (state === State.OPEN) {
      if (!beginner && (flags & TcpFlag.SYN) !== 0) {
        next = State.ANSWERED;
        marks |= Mark.REPLIED;
        entries[at + Entry.EXPECTED] = key[Key.SEQUENCE]! + 1;
      } else if (!beginner && (marks & Mark.TAKEN_UP) !== 0) {
        // One that knows nothing of it would have answered with RST.
        next = State.ESTABLISHED;
        marks |= Mark.REPLIED;
      }
    } else if (state === State.ANSWERED) {
      const ahead = (key[Key.ACKNOWLEDGMENT]! - entries[at + Entry.EXPECTED]!) >>> 0;
      if (beginner && (flags & TcpFlag.ACK) !== 0 && ahead < 0x1_0000) next = State.ESTABLISHED;
    }
    if ((flags & TcpFlag.FIN) !== 0) {
      marks |= outbound ? Mark.FIN_LOCAL : Mark.FIN_REMOTE;
      if ((marks & Mark.FIN_LOCAL) !== 0 && (marks & Mark.FIN_REMOTE) !== 0) next = State.CLOSING;
    }
    if ((next | marks) !== before) entries[at + Entry.STATE] = next | marks;
    entries[at + Entry.EXPIRES] = this.nowS + this.#lifeS(next, marks);
    return Standing.KNOWN;
  }

  #lifeS(state: number, marks: number): number {
    if (state === State.CLOSING) return (marks & Mark.RESET) !== 0 ? RESET_S : CLOSED_S;
    if (state !== State.ESTABLISHED) return OPENING_S;
    return (marks & (Mark.FIN_LOCAL | Mark.FIN_REMOTE)) !== 0 ? HALF_CLOSED_S : this.#tracking.tcpEstablishedS;
  }

  #seek(key: Int32Array, outbound: boolean, ports: number, protocol: number): void {
    const sought = this.#sought;
    const local = outbound ? Key.SOURCE : Key.DESTINATION;
    const remote = outbound ? Key.DESTINATION : Key.SOURCE;
    const family = key[Key.FAMILY]!;
    const count = family === 4 ? 1 : 4;
    for (let i = 0; i < count; i++) {
      sought[Entry.LOCAL + i] = key[local + i]!;
      sought[Entry.REMOTE + i] = key[remote + i]!;
    }
    for (let i = count; i < 4; i++) sought[Entry.LOCAL + i] = sought[Entry.REMOTE + i] = 0;
    sought[Entry.PORTS] = ports;
    sought[Entry.META] = family | (protocol << 4) | (key[Key.VLAN]! << 20);
    this.#rehash();
  }

  #rehash(): void {
    const sought = this.#sought;
    const secrets = this.#secrets;
    const four = (sought[Entry.META]! & 7) === 4;
    let hash = secrets[SECRETS - 1]!;
    hash = (hash + product(sought[Entry.PORTS]!, secrets[16]!, secrets[17]!)) | 0;
    hash = (hash + product(sought[Entry.META]!, secrets[18]!, secrets[19]!)) | 0;
    hash = (hash + product(sought[Entry.LOCAL]!, secrets[0]!, secrets[1]!)) | 0;
    hash = (hash + product(sought[Entry.REMOTE]!, secrets[8]!, secrets[9]!)) | 0;
    if (!four)
      for (let i = 1; i < 4; i++) {
        hash = (hash + product(sought[Entry.LOCAL + i]!, secrets[2 * i]!, secrets[2 * i + 1]!)) | 0;
        hash = (hash + product(sought[Entry.REMOTE + i]!, secrets[8 + 2 * i]!, secrets[9 + 2 * i]!)) | 0;
      }
    this.#hash = hash;
  }

  /** First slot of the set. One set needs no bits, and a shift by 32 is one by 0. */
  #start(): number {
    return this.#shift === 32 ? 0 : (this.#hash >>> this.#shift) * FIREWALL_PROBES_MAX;
  }

  #find(): number {
    const tag = this.#hash === 0 ? 1 : this.#hash;
    const start = this.#start();
    for (let slot = start; slot < start + FIREWALL_PROBES_MAX; slot++) {
      if (this.#tags[slot] === tag && this.#isSought(slot * ENTRY_WORDS)) return slot;
    }
    return -1;
  }

  #isSought(at: number): boolean {
    const entries = this.#entries;
    if (entries[at + Entry.EXPIRES]! <= this.nowS) return false;
    const sought = this.#sought;
    for (let i = 0; i < Entry.STATE; i++) if (entries[at + i] !== sought[i]) return false;
    return true;
  }

  /** A slot of the set that may be taken; -1 if there is none. */
  #vacancy(outbound: boolean): number {
    const start = this.#start();
    const mayTake = outbound ? 2 : 1;
    let found = -1;
    let leastRank = mayTake + 1;
    let leastExpires = 0;
    for (let slot = start; slot < start + FIREWALL_PROBES_MAX; slot++) {
      const at = slot * ENTRY_WORDS;
      const expires = this.#entries[at + Entry.EXPIRES]!;
      if (this.#tags[slot] === 0 || expires <= this.nowS) return slot;
      const rank = rankOf(this.#entries[at + Entry.STATE]!);
      if (rank > mayTake || rank > leastRank || (rank === leastRank && expires >= leastExpires)) continue;
      found = slot;
      leastRank = rank;
      leastExpires = expires;
    }
    return found;
  }

  /** The tag last: whoever takes over from a thread that died here finds an entry, or none. */
  #put(slot: number, state: number, expires: number, expected: number, rule: number): void {
    const entries = this.#entries;
    const at = slot * ENTRY_WORDS;
    Atomics.store(this.#tags, slot, 0);
    for (let i = 0; i < Entry.STATE; i++) entries[at + i] = this.#sought[i]!;
    entries[at + Entry.STATE] = state;
    entries[at + Entry.EXPIRES] = expires;
    entries[at + Entry.EXPECTED] = expected;
    entries[at + Entry.RULE] = rule;
    Atomics.store(this.#tags, slot, this.#hash === 0 ? 1 : this.#hash);
  }
}

/** How sure it is that an entry is a connection. 0 and 1: others have begun it; 2: the guest; 3: it stays. */
function rankOf(state: number): number {
  if ((state & STATE_MASK) === State.ESTABLISHED) return 3;
  const replied = (state & Mark.REPLIED) !== 0 && (state & STATE_MASK) !== State.CLOSING;
  if ((state & Mark.OUTBOUND) === 0) return replied ? 1 : 0;
  return replied ? 3 : 2;
}

/** Of both halves of a word. */
const product = (word: number, upper: number, lower: number): number =>
  (Math.imul(word >>> 16, upper) + Math.imul(word & 0xffff, lower)) | 0;

export function isEchoRequest(key: Int32Array): boolean {
  return key[Key.ICMP]! >> 8 === (key[Key.FAMILY] === 4 ? 8 : 128);
}

const isFragments = (words: Int32Array, at: number): boolean => ((words[at + Entry.META]! >>> 4) & 0xff) === FRAGMENTS;
