import { FIREWALL_PROBES_MAX } from '../../../limits.js';
import {
  type Connection,
  FRAGMENTS,
  FRAGMENTS_INBOUND,
  FRAGMENTS_PROTOCOL_SHIFT,
  hasExpired,
  hasTag,
  Mark,
  metaOf,
  NAME_WORDS,
  Name,
  placeOf,
  Rank,
  rankOf,
  SET_WORDS,
  SetWord,
  Standing,
  State,
  UNANSWERED_MASK,
} from './entry.js';
import { KEY_WORDS, Key } from './key.js';
import type { Tracking } from './options.js';
import { advanceTcp, OPENING_S } from './tcp.js';
import { PROTOCOLS } from './values.js';

/** Seconds that an entry lives after a frame. */
const UNANSWERED_S = 30;
const ECHO_S = 30;
/** In place of ports, above the identifier of an echo. */
const GUEST_ASKS = 0x1_0000;
const FRAGMENT_S = 30;

/** Words of the head of the memory: whether there are secrets; the secrets, two for each word of a name, and one. */
const SECRETS_AT = 2;
const SECRETS = 21;
const HEAD_WORDS = 32;

/** Sets for so many connections: a power of two. */
const setsOf = (max: number): number => 2 ** Math.ceil(Math.log2(Math.max(max / FIREWALL_PROBES_MAX, 1)));

/** Bytes of the memory of a table. */
export const connectionsBytes = (max: number): number =>
  4 * (HEAD_WORDS + setsOf(max) * (SET_WORDS + FIREWALL_PROBES_MAX * NAME_WORDS));

/**
 * The connections of one card, in shared memory. Belongs to the thread that serves the card; others may look.
 *
 * A connection lies in one of `FIREWALL_PROBES_MAX` slots of the set that its hash says, so that nothing takes longer than that. The
 * hash is a sum of products with secret factors (Dietzfelbinger's multiply-shift for vectors of 16-bit words): whatever two
 * connections somebody chooses, they share a set by chance only, one in as many as there are sets.
 *
 * Where a set is full, a new connection takes the place of one that has expired, or else of any of those least sure to be connections;
 * see `Rank`. One that the guest has begun and that was answered, or of TCP both of whose sides have
 * shown that they see what the other sends, is never pushed out; and what others begin does not push out what the guest has begun.
 */
export class Connections {
  /** Monotonic time, s. */
  nowS = 0;
  readonly #sets: Int32Array;
  readonly #names: Int32Array;
  readonly #secrets: Int32Array;
  readonly #shift: number;
  readonly #tracking: Tracking;
  // What was looked for last.
  #ports = 0;
  #meta = 0;
  #hash = 0;

  constructor(memory: SharedArrayBuffer, byteOffset: number, tracking: Tracking) {
    const sets = setsOf(tracking.max);
    const head = new Int32Array(memory, byteOffset, HEAD_WORDS);
    this.#secrets = head.subarray(SECRETS_AT, SECRETS_AT + SECRETS);
    this.#sets = new Int32Array(memory, byteOffset + 4 * HEAD_WORDS, sets * SET_WORDS);
    const namesAt = byteOffset + 4 * (HEAD_WORDS + sets * SET_WORDS);
    this.#names = new Int32Array(memory, namesAt, sets * FIREWALL_PROBES_MAX * NAME_WORDS);
    this.#shift = 32 - Math.log2(sets);
    this.#tracking = tracking;
    if (head[0] !== 0) return;
    crypto.getRandomValues(this.#secrets);
    Atomics.store(head, 0, 1);
  }

  /** Where the connection of a frame is; -1 if it is not known. */
  find(key: Int32Array, outbound: boolean): number {
    const protocol = key[Key.PROTOCOL]!;
    const from = key[Key.SOURCE_PORT]!;
    const to = key[Key.DESTINATION_PORT]!;
    let ports = outbound ? (from << 16) | to : (to << 16) | from;
    // An echo has none. Both sides may ask, with the same identifier.
    if (from < 0) ports = (isEchoRequest(key) === outbound ? GUEST_ASKS : 0) | key[Key.ECHO_ID]!;
    return this.#find(key, outbound, ports, metaOf(key[Key.FAMILY]!, protocol, key[Key.VLAN]!));
  }

  /** Where the packet of a fragment is; -1 if its first fragment has not passed. */
  findFragments(key: Int32Array, outbound: boolean): number {
    const family = key[Key.FAMILY]!;
    let meta = metaOf(family, FRAGMENTS, key[Key.VLAN]!);
    if (!outbound) meta |= FRAGMENTS_INBOUND;
    if (family === 4) meta |= key[Key.PROTOCOL]! << FRAGMENTS_PROTOCOL_SHIFT;
    return this.#find(key, outbound, key[Key.FRAGMENT_ID]!, meta);
  }

  /** Has a connection go on with a frame that belongs to it by its addresses. Returns one of `Standing`. */
  advance(slot: number, key: Int32Array, outbound: boolean): number {
    const sets = this.#sets;
    const at = placeOf(slot);
    const state = sets[at + SetWord.STATE]!;
    const protocol = key[Key.PROTOCOL]!;
    if (protocol === PROTOCOLS.tcp)
      return advanceTcp(sets, at, key, outbound, this.nowS, this.#tracking.tcpEstablishedS);
    const beginner = ((state & Mark.OUTBOUND) !== 0) === outbound;
    if (protocol === PROTOCOLS.udp) {
      const marks = beginner ? state : state | Mark.REPLIED;
      if (marks !== state) sets[at + SetWord.STATE] = marks;
      sets[at + SetWord.EXPIRES] = this.nowS + ((marks & Mark.REPLIED) !== 0 ? this.#tracking.udpS : UNANSWERED_S);
      return Standing.KNOWN;
    }
    if (!beginner) sets[at + SetWord.STATE] = state | Mark.REPLIED;
    sets[at + SetWord.EXPIRES] = this.nowS + ECHO_S;
    return Standing.KNOWN;
  }

  /** Remembers the connection that `find` has not found, or has found to be over; false if there is no room. */
  insert(slot: number, key: Int32Array, outbound: boolean, takenUp: boolean, rule: number): boolean {
    const free = slot >= 0 ? slot : this.#vacancy(outbound);
    if (free < 0) return false;
    const tcp = ((this.#meta >>> 4) & 0xff) === PROTOCOLS.tcp;
    const marks = (outbound ? Mark.OUTBOUND : 0) | (takenUp ? Mark.TAKEN_UP : 0);
    this.#put(free, key, outbound, State.OPEN | marks, this.nowS + (tcp ? OPENING_S : UNANSWERED_S), 0, rule);
    return true;
  }

  /** Remembers the packet whose first fragment has passed; false if there is no room. */
  insertFragments(key: Int32Array, outbound: boolean): boolean {
    const known = this.findFragments(key, outbound);
    const free = known >= 0 ? known : this.#vacancy(outbound);
    if (free < 0) return false;
    const state = State.OPEN | (outbound ? Mark.OUTBOUND : 0);
    this.#put(free, key, outbound, state, this.nowS + FRAGMENT_S, key[Key.FRAGMENT_END]!, -1);
    return true;
  }

  /** Whether a later fragment leaves alone what the first one said. */
  isBehindFirst(slot: number, key: Int32Array): boolean {
    return key[Key.FRAGMENT_START]! >= this.#sets[placeOf(slot) + SetWord.EXPECTED]!;
  }

  /** How many there are, and a look at each, from any thread. */
  forEach(visit: (connection: Connection) => void): number {
    const names = this.#names;
    let count = 0;
    for (let slot = 0; slot < names.length / NAME_WORDS; slot++) {
      const at = placeOf(slot);
      const name = slot * NAME_WORDS;
      const meta = names[name + Name.META]!;
      const protocol = (meta >>> 4) & 0xff;
      if (this.#sets[at] === 0 || this.#sets[at + SetWord.EXPIRES]! <= this.nowS || protocol === FRAGMENTS) continue;
      count++;
      const words = (first: number, rest: number) => [first, rest, rest + 1, rest + 2].map((i) => names[name + i]!);
      const ports = names[name + Name.PORTS]!;
      visit({
        family: meta & 7,
        protocol,
        vlan: meta >>> 20,
        local: words(Name.LOCAL, Name.LOCAL_REST),
        remote: words(Name.REMOTE, Name.REMOTE_REST),
        ports: [ports >>> 16, ports & 0xffff],
        state: this.#sets[at + SetWord.STATE]!,
        expires: this.#sets[at + SetWord.EXPIRES]!,
        rule: names[name + Name.RULE]!,
      });
    }
    return count;
  }

  /** Forgets all, from any thread: one that is put in at the same moment stays. Returns how many there were. */
  forget(): number {
    let count = 0;
    for (let slot = 0; slot < this.#names.length / NAME_WORDS; slot++) {
      if (Atomics.exchange(this.#sets, placeOf(slot), 0) !== 0) count++;
      this.#sets[placeOf(slot) + SetWord.EXPIRES] = 0;
    }
    return count;
  }

  /** The rules have other numbers now. */
  renumber(ruleOf: (rule: number) => number): void {
    for (let name = 0; name < this.#names.length; name += NAME_WORDS)
      this.#names[name + Name.RULE] = ruleOf(this.#names[name + Name.RULE]!);
  }

  /** Takes over what is alive in another table, of other rules: by `ruleOf`. */
  adopt(other: Connections, ruleOf: (rule: number) => number): void {
    const key = new Int32Array(KEY_WORDS);
    other.nowS = this.nowS;
    other.forEach(({ family, protocol, vlan, local, remote, ports, state, expires, rule }) => {
      key.set(local, Key.SOURCE);
      key.set(remote, Key.DESTINATION);
      if (this.#find(key, true, (ports[0] << 16) | ports[1], metaOf(family, protocol, vlan)) >= 0) return;
      const free = this.#vacancy((state & Mark.OUTBOUND) !== 0);
      // What an answer is waited for is not taken along: it is one of a moment.
      if (free >= 0) this.#put(free, key, true, state, expires, 0, ruleOf(rule));
    });
  }

  #find(key: Int32Array, outbound: boolean, ports: number, meta: number): number {
    const local = outbound ? Key.SOURCE : Key.DESTINATION;
    const remote = outbound ? Key.DESTINATION : Key.SOURCE;
    const six = (meta & 7) === 6;
    const secrets = this.#secrets;
    let hash = (secrets[20]! + product(ports, secrets[0]!, secrets[1]!)) | 0;
    hash = (hash + product(meta, secrets[2]!, secrets[3]!)) | 0;
    hash = (hash + product(key[local]!, secrets[4]!, secrets[5]!)) | 0;
    hash = (hash + product(key[remote]!, secrets[6]!, secrets[7]!)) | 0;
    if (six) {
      for (let i = 1; i < 4; i++) {
        hash = (hash + product(key[local + i]!, secrets[6 + 2 * i]!, secrets[7 + 2 * i]!)) | 0;
        hash = (hash + product(key[remote + i]!, secrets[12 + 2 * i]!, secrets[13 + 2 * i]!)) | 0;
      }
    }
    if (hash === 0) hash = 1;
    this.#ports = ports;
    this.#meta = meta;
    this.#hash = hash;
    const sets = this.#sets;
    const names = this.#names;
    const set = this.#set();
    const at = set * SET_WORDS;
    if (!hasTag(sets, at, hash)) return -1;
    for (let i = 0; i < FIREWALL_PROBES_MAX; i++) {
      if (sets[at + i] !== hash || sets[at + i + SetWord.EXPIRES]! <= this.nowS) continue;
      const slot = set * FIREWALL_PROBES_MAX + i;
      const name = slot * NAME_WORDS;
      const same =
        names[name + Name.PORTS] === ports &&
        names[name + Name.META] === meta &&
        names[name + Name.LOCAL] === key[local] &&
        names[name + Name.REMOTE] === key[remote];
      if (same && (!six || this.#isSame(name, key, local, remote))) return slot;
    }
    return -1;
  }

  /** The rest of addresses of IPv6. */
  #isSame(name: number, key: Int32Array, local: number, remote: number): boolean {
    const names = this.#names;
    for (let i = 0; i < 3; i++) {
      if (names[name + Name.LOCAL_REST + i] !== key[local + 1 + i]) return false;
      if (names[name + Name.REMOTE_REST + i] !== key[remote + 1 + i]) return false;
    }
    return true;
  }

  /** The set of what was looked for. One set needs no bits, and a shift by 32 is one by 0. */
  #set(): number {
    return this.#shift === 32 ? 0 : this.#hash >>> this.#shift;
  }

  /** A slot of the set that may be taken; -1 if there is none. */
  #vacancy(outbound: boolean): number {
    const sets = this.#sets;
    const set = this.#set();
    const at = set * SET_WORDS;
    const now = this.nowS;
    if (hasExpired(sets, at, now)) {
      for (let i = 0; i < FIREWALL_PROBES_MAX; i++)
        if (sets[at + SetWord.EXPIRES + i]! <= now) return set * FIREWALL_PROBES_MAX + i;
    }
    const mayTake = outbound ? Rank.GUEST : Rank.ANSWERED;
    let found = -1;
    let least = mayTake + 1;
    // From somewhere on, so that it is not always the same one.
    for (let i = 0; i < FIREWALL_PROBES_MAX && least > Rank.OTHER; i++) {
      const slot = (this.#hash + i) & (FIREWALL_PROBES_MAX - 1);
      const state = sets[at + SetWord.STATE + slot]!;
      // In a flood it is mostly this one, which needs no call.
      const rank = (state & UNANSWERED_MASK) === State.OPEN ? Rank.OTHER : rankOf(state);
      if (rank >= least) continue;
      found = set * FIREWALL_PROBES_MAX + slot;
      least = rank;
    }
    return found;
  }

  /** The tag last: whoever takes over from a thread that died here finds an entry, or none. */
  #put(
    slot: number,
    key: Int32Array,
    outbound: boolean,
    state: number,
    expires: number,
    expected: number,
    rule: number,
  ): void {
    const sets = this.#sets;
    const names = this.#names;
    const local = outbound ? Key.SOURCE : Key.DESTINATION;
    const remote = outbound ? Key.DESTINATION : Key.SOURCE;
    const at = placeOf(slot);
    const name = slot * NAME_WORDS;
    sets[at] = 0;
    names[name + Name.PORTS] = this.#ports;
    names[name + Name.META] = this.#meta;
    names[name + Name.LOCAL] = key[local]!;
    names[name + Name.REMOTE] = key[remote]!;
    if ((this.#meta & 7) === 6) {
      for (let i = 0; i < 3; i++) {
        names[name + Name.LOCAL_REST + i] = key[local + 1 + i]!;
        names[name + Name.REMOTE_REST + i] = key[remote + 1 + i]!;
      }
    }
    names[name + Name.RULE] = rule;
    sets[at + SetWord.STATE] = state;
    sets[at + SetWord.EXPIRES] = expires;
    sets[at + SetWord.EXPECTED] = expected;
    sets[at] = this.#hash;
  }
}

/** Of both halves of a word. */
const product = (word: number, upper: number, lower: number): number =>
  (Math.imul(word >>> 16, upper) + Math.imul(word & 0xffff, lower)) | 0;

export function isEchoRequest(key: Int32Array): boolean {
  return key[Key.ICMP]! >> 8 === (key[Key.FAMILY] === 4 ? 8 : 128);
}
