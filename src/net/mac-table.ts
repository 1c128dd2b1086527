import { assert } from '../errors.js';
import { MAC_AGE_S, MAC_PORT_ENTRIES_MAX, MAC_PORTS_MAX, MAC_PROBES_MAX, MAC_SLOTS } from '../limits.js';
import { isStation } from './ethernet.js';

/** What `learn` did. */
export const Learn = {
  /** The address was known to be there. */
  KNOWN: 0,
  ADDED: 1,
  /** It was behind another port. */
  MOVED: 2,
  /** No address of a station, or the port has as many as it may, or there was no room that it may take. */
  REFUSED: -1,
} as const;

/** `lookup` knows no port. */
export const MAC_UNKNOWN = -1;

/** In `#keys`: the slot is taken. Below it 12 bits of VLAN id and 16 of address. */
const TAKEN = 1 << 31;
/** In `#seen`: expected, so that it does not age. */
const EXPECTED = 0xffff_ffff;

/**
 * Which port an address is behind, as learned from the frames that came from there. IEEE 802.1Q, 8.7 and 8.8
 *
 * Open addressing without tombstones: an address lies in one of `MAC_PROBES_MAX` slots from where its hash says, so that
 * nothing takes longer than that. The hash has a secret, so that nobody can choose addresses that lie in the same slots.
 *
 * No port can push out what was learned on another: a new address takes a free slot, one whose address was not seen for
 * `ageS`, or the least recent one of the same port in its window; otherwise it is not learned, and frames to it go to all
 * ports. A port may take over an address (a guest that has moved sends from elsewhere), but only within the number of addresses
 * that it may have. Addresses that are *expected* behind a port before they were heard from do not age, until they move.
 *
 * Belongs to one thread. Times are whole seconds of a clock that does not go back, 0 … 2^32 - 2.
 */
export class MacTable {
  readonly #mask: number;
  readonly #keys: Int32Array;
  readonly #lows: Int32Array;
  readonly #seen: Uint32Array;
  readonly #ports: Uint16Array;
  /** By port: addresses learned, and how many may be. */
  readonly #counts = new Int32Array(MAC_PORTS_MAX);
  readonly #quotas: Int32Array;
  readonly #ageS: number;
  readonly #secretA: number;
  readonly #secretB: number;
  /** Where `sweep` goes on. */
  #swept = 0;

  /**
   * @param secrets - two random 32-bit numbers
   * @param quotas - by port, how many addresses it may have; several tables may share them
   */
  constructor(options: {
    readonly secrets: readonly [number, number];
    readonly slots?: number;
    readonly quotas?: Int32Array;
    readonly ageS?: number;
  }) {
    const { secrets, slots = MAC_SLOTS, ageS = MAC_AGE_S } = options;
    assert(slots >= MAC_PROBES_MAX && (slots & (slots - 1)) === 0, 'the slots of a MAC table are a power of two');
    // The last window goes beyond the end, so that none has to wrap.
    const count = slots + MAC_PROBES_MAX - 1;
    this.#mask = slots - 1;
    this.#keys = new Int32Array(count);
    this.#lows = new Int32Array(count);
    this.#seen = new Uint32Array(count);
    this.#ports = new Uint16Array(count);
    this.#quotas = options.quotas ?? new Int32Array(MAC_PORTS_MAX).fill(MAC_PORT_ENTRIES_MAX);
    this.#ageS = ageS;
    this.#secretA = secrets[0] | 0;
    this.#secretB = secrets[1] | 0;
  }

  /** The port that an address of a VLAN is behind, or `MAC_UNKNOWN`. */
  lookup(vlan: number, high: number, low: number, nowS: number): number {
    const at = this.#find(TAKEN | (vlan << 16) | high, low | 0);
    return at >= 0 && !this.#isOld(at, nowS) ? this.#ports[at]! : MAC_UNKNOWN;
  }

  /** Notes that a frame came from an address by a port. Returns a value of `Learn`. */
  learn(vlan: number, high: number, low: number, port: number, nowS: number): number {
    const key = TAKEN | (vlan << 16) | high;
    const at = this.#find(key, low | 0);
    if (at < 0) return isStation(high, low) ? this.#add(key, low | 0, port, nowS) : Learn.REFUSED;
    const before = this.#ports[at]!;
    if (before === port) {
      // Mostly nothing has changed, and what is not written stays in every cache that has it.
      const seen = this.#seen[at]!;
      if (seen !== nowS && seen !== EXPECTED) this.#seen[at] = nowS;
      return Learn.KNOWN;
    }
    if (this.#counts[port]! >= this.#quotas[port]!) return Learn.REFUSED;
    if (this.#seen[at] !== EXPECTED) this.#counts[before]!--;
    this.#counts[port]!++;
    this.#ports[at] = port;
    this.#seen[at] = nowS;
    return Learn.MOVED;
  }

  /**
   * Notes that an address is behind a port, for good, until a frame comes from it elsewhere. It counts against nobody, and takes the
   * place of what was learned, if there is no other. Nothing is noted if it is no station's, or its window is full of expected ones.
   */
  expect(vlan: number, high: number, low: number, port: number, nowS: number): void {
    if (!isStation(high, low)) return;
    const key = TAKEN | (vlan << 16) | high;
    let at = this.#find(key, low | 0);
    if (at < 0) at = this.#vacancy(this.#start(key, low | 0), nowS, ANY_PORT);
    if (at < 0) return;
    this.#remove(at);
    this.#put(at, key, low | 0, port, EXPECTED);
  }

  /** How many addresses may be learned on a port. What it has beyond that ages away. */
  setQuota(port: number, entriesMax: number): void {
    this.#quotas[port] = entriesMax;
  }

  /**
   * Forgets what is old in the next `slots` slots, and returns how many that were. To be called now and then: old addresses
   * are not found any more, but count against their ports until they are swept.
   */
  sweep(slots: number, nowS: number): number {
    let count = 0;
    let at = this.#swept;
    for (let i = 0; i < slots; i++) {
      if (this.#keys[at] !== 0 && this.#isOld(at, nowS)) {
        this.#remove(at);
        count++;
      }
      at = at + 1 === this.#keys.length ? 0 : at + 1;
    }
    this.#swept = at;
    return count;
  }

  /** Where an address is, or -1. */
  #find(key: number, low: number): number {
    const keys = this.#keys;
    const lows = this.#lows;
    const start = this.#start(key, low);
    for (let at = start; at < start + MAC_PROBES_MAX; at++) {
      if (lows[at] === low && keys[at] === key) return at;
    }
    return -1;
  }

  /** The first slot of an address's window. The finalizer of MurmurHash3, once for each half and once for both. */
  #start(key: number, low: number): number {
    let hash = Math.imul(low ^ this.#secretA, 0x85eb_ca6b);
    hash = Math.imul(hash ^ (hash >>> 15) ^ key ^ this.#secretB, 0xc2b2_ae35);
    hash = Math.imul(hash ^ (hash >>> 13), 0x27d4_eb2f);
    return (hash ^ (hash >>> 16)) & this.#mask;
  }

  #add(key: number, low: number, port: number, nowS: number): number {
    assert(port >= 0 && port < MAC_PORTS_MAX, 'the port of an address is one of the table');
    const full = this.#counts[port]! >= this.#quotas[port]!;
    const start = this.#start(key, low);
    const at = full ? this.#leastRecent(start, port) : this.#vacancy(start, nowS, port);
    if (at < 0) return Learn.REFUSED;
    this.#remove(at);
    this.#put(at, key, low, port, nowS);
    this.#counts[port]!++;
    return Learn.ADDED;
  }

  /** A slot of a window that is free or old, or else the least recent one of a port; -1 if there is none. */
  #vacancy(start: number, nowS: number, port: number): number {
    for (let at = start; at < start + MAC_PROBES_MAX; at++) {
      if (this.#keys[at] === 0 || this.#isOld(at, nowS)) return at;
    }
    return this.#leastRecent(start, port);
  }

  /** The slot of a window whose address, learned on `port`, was not seen for longest; -1 if there is none. */
  #leastRecent(start: number, port: number): number {
    let found = -1;
    let least = EXPECTED;
    for (let at = start; at < start + MAC_PROBES_MAX; at++) {
      const seen = this.#seen[at]!;
      if (this.#keys[at] === 0 || seen >= least || (port !== ANY_PORT && this.#ports[at] !== port)) continue;
      found = at;
      least = seen;
    }
    return found;
  }

  #isOld(at: number, nowS: number): boolean {
    const seen = this.#seen[at]!;
    return seen !== EXPECTED && nowS - seen > this.#ageS;
  }

  /** Expected ones count against no port. */
  #put(at: number, key: number, low: number, port: number, seen: number): void {
    this.#keys[at] = key;
    this.#lows[at] = low;
    this.#ports[at] = port;
    this.#seen[at] = seen;
  }

  #remove(at: number): void {
    if (this.#keys[at] !== 0 && this.#seen[at] !== EXPECTED) this.#counts[this.#ports[at]!]!--;
    this.#keys[at] = 0;
  }
}

/** To `#leastRecent`: of whichever port. */
const ANY_PORT = -1;
