import { FIREWALL_RULES_MAX } from '../../../limits.js';
import { Connections, connectionsBytes } from './connections.js';
import type { FirewallOptions, Rule } from './options.js';

/** Of a firewall that tracks nothing: fragmented packets under way. */
const FRAGMENTED_MAX = 1024;

/** In front, what the rest was written for; then a place for the hits of as many rules as there may be. So what has the same size has the same layout. */
const STAMP_BYTES = 64;
/** Words of that: rules; a number that tells this memory from others, because each message to a thread makes another object of it. */
const Stamp = { RULES: 0, ID: 1 } as const;
const ID_WORDS = 4;
const HITS_BYTES = 8 * FIREWALL_RULES_MAX;

const tableOf = ({ track }: FirewallOptions) => (track.on ? track : { ...track, max: FRAGMENTED_MAX });

/** Bytes of a firewall's shared memory. */
export const memoryBytes = (options: FirewallOptions): number =>
  STAMP_BYTES + HITS_BYTES + connectionsBytes(tableOf(options).max);

/** A firewall's shared memory: how often each rule has decided, and the connections. */
export class FirewallMemory {
  readonly hits: Float64Array;
  readonly connections: Connections;
  readonly #options: FirewallOptions;
  readonly #stamp: Int32Array;

  constructor(shared: SharedArrayBuffer, options: FirewallOptions) {
    this.#options = options;
    this.#stamp = new Int32Array(shared, 0, Stamp.ID + ID_WORDS);
    if (this.#stamp[Stamp.ID] === 0) crypto.getRandomValues(this.#stamp.subarray(Stamp.ID));
    this.hits = new Float64Array(shared, STAMP_BYTES, options.rules.length);
    this.connections = new Connections(shared, STAMP_BYTES + HITS_BYTES, tableOf(options));
  }

  /**
   * Makes it that of these rules, on the thread that serves the card. A rule that was there before keeps its hits and its
   * connections; connections of others stay as well, and are nobody's. The connections' clock has to be right.
   *
   * @param before - the firewall whose place it takes, if that is known; its memory may be the same
   */
  settle(before: FirewallMemory | undefined): void {
    const own = this.#options.rules.map(nameOf);
    const stamp = stampOf(own);
    const places = new Map(own.map((name, place) => [name, place]));
    const old = before === undefined ? [] : before.#options.rules.map(nameOf);
    const placeOf = (rule: number): number => places.get(old[rule]!) ?? -1;
    if (before !== undefined && !this.#isThatOf(before)) this.connections.adopt(before.connections, placeOf);
    else if (this.#stamp[Stamp.RULES] !== stamp) this.connections.renumber(placeOf);
    if (before !== undefined || this.#stamp[Stamp.RULES] !== stamp) {
      const hits = before === undefined ? [] : [...before.hits];
      this.hits.fill(0);
      for (const [rule, count] of hits.entries()) {
        const place = placeOf(rule);
        if (place >= 0) this.hits[place] = count;
      }
    }
    this.#stamp[Stamp.RULES] = stamp;
  }

  #isThatOf(other: FirewallMemory): boolean {
    const others = other.#stamp.subarray(Stamp.ID);
    return this.#stamp.subarray(Stamp.ID).every((word, i) => word === others[i]);
  }
}

const nameOf = (rule: Rule): string => JSON.stringify(rule);

/** Tells rules from others: FNV-1a, and never zero. */
function stampOf(names: readonly string[]): number {
  let hash = 0x811c_9dc5;
  for (const byte of Buffer.from(names.join())) hash = Math.imul(hash ^ byte, 0x0100_0193);
  return hash | 1;
}
