import { Connections, connectionsBytes } from './connections.js';
import type { FirewallOptions } from './options.js';

/** Of a firewall that tracks nothing: fragmented packets under way. */
const FRAGMENTED_MAX = 1024;

const tableOf = ({ track }: FirewallOptions) => (track.on ? track : { ...track, max: FRAGMENTED_MAX });

/** Bytes of the rules' hits, whole cache lines. */
const hitsBytes = ({ rules }: FirewallOptions): number => Math.ceil(rules.length / 8) * 64;

/** Bytes of a firewall's shared memory: how often each rule has decided, and the connections. */
export const memoryBytes = (options: FirewallOptions): number =>
  hitsBytes(options) + connectionsBytes(tableOf(options).max);

/** What is in it. */
export function openMemory(shared: SharedArrayBuffer, options: FirewallOptions) {
  return {
    hits: new Float64Array(shared, 0, options.rules.length),
    connections: new Connections(shared, hitsBytes(options), tableOf(options)),
  };
}
