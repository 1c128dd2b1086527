import { MAC_PORT_ENTRIES_MAX, MAC_PORTS_MAX } from '../limits.js';

/** Words of an entry: the sidecore's number plus one, zero if nobody has the port yet; the network; address and VLAN of its station. */
const Entry = { CORE: 0, NETWORK: 1, VLAN: 2, HIGH: 3, LOW: 4 } as const;
const ENTRY_WORDS = Object.keys(Entry).length;
/** Words of the whole: changes so far, by port its quota of addresses, by port its entry. */
const CHANGES = 0;
const QUOTAS_AT = 16;
const ENTRIES_AT = QUOTAS_AT + MAC_PORTS_MAX;
const HEAD_BYTES = 4 * (ENTRIES_AT + MAC_PORTS_MAX * ENTRY_WORDS);

/** A port, where it is served, and the station that is expected behind it; none if its VLAN is `VLAN_DROP`. */
export interface DirectoryEntry {
  readonly number: number;
  readonly core: number;
  readonly network: number;
  readonly vlan: number;
  readonly high: number;
  readonly low: number;
}

/**
 * What all sidecores of a daemon know of each other's networks, in shared memory: who has ports in which of them, so that nothing
 * crosses in vain; which station is expected behind which port; how many addresses a port may have. It outlives their threads.
 */
export class Directory {
  /** By port: addresses that may be learned on it, for `MacTable`. */
  readonly quotas: Int32Array;
  readonly #words: Int32Array;
  /** By sidecore and network: whether there are ports. */
  readonly #present: Uint8Array;
  readonly #networks: number;

  static create(cores: number, networks: number): SharedArrayBuffer {
    const shared = new SharedArrayBuffer(HEAD_BYTES + cores * networks);
    new Int32Array(shared, 4 * QUOTAS_AT, MAC_PORTS_MAX).fill(MAC_PORT_ENTRIES_MAX);
    return shared;
  }

  constructor(shared: SharedArrayBuffer, networks: number) {
    this.#words = new Int32Array(shared, 0, HEAD_BYTES / 4);
    this.quotas = this.#words.subarray(QUOTAS_AT, ENTRIES_AT);
    this.#present = new Uint8Array(shared, HEAD_BYTES);
    this.#networks = networks;
  }

  note(core: number, network: number): void {
    this.#present[core * this.#networks + network] = 1;
  }

  /** A sidecore has no ports in a network any more. */
  forget(core: number, network: number): void {
    this.#present[core * this.#networks + network] = 0;
  }

  has(core: number, network: number): boolean {
    return this.#present[core * this.#networks + network] === 1;
  }

  /** Counts entries that were made or changed. */
  get changes(): number {
    return Atomics.load(this.#words, CHANGES);
  }

  /** Makes the entry of a port. A thread that takes over says the same: what the entry says is changed by `move` only. */
  enter({ number, core, network, vlan, high, low }: DirectoryEntry): void {
    const words = this.#words;
    const at = ENTRIES_AT + number * ENTRY_WORDS;
    if (words[at + Entry.CORE] !== 0) return;
    words[at + Entry.NETWORK] = network;
    words[at + Entry.VLAN] = vlan;
    words[at + Entry.HIGH] = high;
    words[at + Entry.LOW] = low;
    Atomics.store(words, at + Entry.CORE, core + 1);
    Atomics.add(words, CHANGES, 1);
  }

  /** A port is served by another sidecore from now on. Nothing happens if nobody has heard of it yet. */
  move(number: number, core: number): void {
    const at = ENTRIES_AT + number * ENTRY_WORDS + Entry.CORE;
    if (Atomics.load(this.#words, at) === 0) return;
    Atomics.store(this.#words, at, core + 1);
    Atomics.add(this.#words, CHANGES, 1);
  }

  /** The sidecore that serves a port; below zero if nobody has heard of it yet. */
  coreOf(number: number): number {
    return Atomics.load(this.#words, ENTRIES_AT + number * ENTRY_WORDS + Entry.CORE) - 1;
  }

  /** All entries so far. */
  *entries(): Generator<DirectoryEntry> {
    const words = this.#words;
    for (let number = 0; number < MAC_PORTS_MAX; number++) {
      const at = ENTRIES_AT + number * ENTRY_WORDS;
      const core = Atomics.load(words, at + Entry.CORE) - 1;
      if (core < 0) continue;
      yield {
        number,
        core,
        network: words[at + Entry.NETWORK]!,
        vlan: words[at + Entry.VLAN]!,
        high: words[at + Entry.HIGH]!,
        low: words[at + Entry.LOW]!,
      };
    }
  }
}
