import type { FilterFrame } from '../../../filter/frame-contract.js';
import { EtherType } from '../../../net/ethernet.js';
import { IpProtocol } from '../../../net/frame-layout.js';
import { type Classify, makeClassifier, type Plan, planRules } from './classifier.js';
import { type Connections, isEchoRequest } from './connections.js';
import { Standing } from './entry.js';
import { DHCP_CLIENT, DHCP_SERVER, DHCPV6_CLIENT, DHCPV6_SERVER, isNeighbour, Neighbour, SpoofGuard } from './guard.js';
import { Fragment, KEY_WORDS, Key } from './key.js';
import type { FirewallOptions, Mac } from './options.js';
import { Reading, readKey, TcpFlag } from './read-key.js';
import { isIcmpError, Related } from './related.js';
import type { Family } from './rule-set.js';
import { PROTOCOLS } from './values.js';

/** Why a frame passes, or not: the order is that of `REASONS`. */
export const Reason = {
  ESTABLISHED: 0,
  RELATED: 1,
  RULE_ACCEPT: 2,
  BASICS: 3,
  DEFAULT_ACCEPT: 4,
  // From here on it is dropped.
  RULE_DROP: 5,
  DEFAULT_DROP: 6,
  MALFORMED: 7,
  FRAGMENT: 8,
  INVALID: 9,
  TABLE_FULL: 10,
  SPOOFED_MAC: 11,
  SPOOFED_ARP: 12,
  SPOOFED_ADDRESS: 13,
  NEIGHBOUR: 14,
  DHCP_SERVER: 15,
} as const;
/** By reason, as counters name it behind `out_` and `in_`. */
export const REASONS = [
  'established',
  'related',
  'accepted',
  'basics',
  'accepted_default',
  'dropped',
  'dropped_default',
  'malformed',
  'bad_fragment',
  'invalid',
  'table_full',
  'spoofed_mac',
  'spoofed_arp',
  'spoofed_address',
  'bad_neighbour',
  'dhcp_server',
] as const;

export const passes = (reason: number): boolean => reason < Reason.RULE_DROP;

/** What is wrong with a frame by what `readKey` says. */
const READING_REASON = Uint8Array.of(0, Reason.MALFORMED, Reason.FRAGMENT, Reason.INVALID);
/** By what the guard says. */
const FORGERY_REASON = Uint8Array.of(
  0,
  Reason.SPOOFED_MAC,
  Reason.SPOOFED_ARP,
  Reason.SPOOFED_ADDRESS,
  Reason.NEIGHBOUR,
  Reason.DHCP_SERVER,
);

/** All rules, ready for any thread: by direction, outbound first, and family. Plain data. */
export type Plans = readonly { readonly [family in Family]: Plan }[];

export const planAll = ({ rules }: Pick<FirewallOptions, 'rules'>): Plans =>
  [true, false].map((outbound) => ({
    4: planRules(rules, outbound, 4),
    6: planRules(rules, outbound, 6),
    0: planRules(rules, outbound, 0),
  }));

/** What decides about the frames of one card. */
export class Engine {
  readonly #options: FirewallOptions;
  readonly #guard: SpoofGuard;
  readonly #related = new Related();
  readonly #connections: Connections;
  readonly #hits: Float64Array;
  readonly #accepts: Uint8Array;
  readonly #tracks: Uint8Array;
  /** By direction and family. */
  readonly #out4: Classify;
  readonly #out6: Classify;
  readonly #outOther: Classify;
  readonly #in4: Classify;
  readonly #in6: Classify;
  readonly #inOther: Classify;
  readonly #key = new Int32Array(KEY_WORDS);
  /** Whether rules name Ethernet's addresses. */
  readonly #rulesNameMacs: boolean;

  /** @param hits - by rule, how often it has decided */
  constructor(options: FirewallOptions, plans: Plans, own: Mac, connections: Connections, hits: Float64Array) {
    this.#options = options;
    this.#guard = new SpoofGuard(options.guard, own);
    this.#connections = connections;
    this.#hits = hits;
    this.#accepts = Uint8Array.from(options.rules, ({ accept }) => Number(accept));
    this.#tracks = Uint8Array.from(options.rules, ({ track }) => Number(track));
    this.#rulesNameMacs = options.rules.some(({ fromMacs, toMacs }) => (fromMacs ?? toMacs) !== undefined);
    const [out, into] = plans as [Plans[0], Plans[0]];
    this.#out4 = makeClassifier(out[4]);
    this.#out6 = makeClassifier(out[6]);
    this.#outOther = makeClassifier(out[0]);
    this.#in4 = makeClassifier(into[4]);
    this.#in6 = makeClassifier(into[6]);
    this.#inOther = makeClassifier(into[0]);
  }

  /** Decides about a frame. Returns one of `Reason`. The connections' clock has to be right. */
  decide(frame: FilterFrame, outbound: boolean): number {
    const key = this.#key;
    const reading = readKey(frame, key, outbound || this.#rulesNameMacs);
    if (reading !== Reading.OK) return READING_REASON[reading]!;
    if (outbound) {
      const forgery = this.#guard.check(frame, key);
      if (forgery !== 0) return FORGERY_REASON[forgery]!;
    }
    const family = key[Key.FAMILY]!;
    if (family === 0) return this.#askRules(outbound ? this.#outOther : this.#inOther, outbound, false, -1);
    const connections = this.#connections;
    if (key[Key.FRAGMENT] === Fragment.LATER) {
      const slot = connections.findFragments(key, outbound);
      return slot >= 0 && connections.isBehindFirst(slot, key) ? Reason.RELATED : Reason.FRAGMENT;
    }
    const reason = this.#decideIp(frame, family, outbound);
    // The fragments that follow do as this one.
    if (key[Key.FRAGMENT] === Fragment.FIRST && passes(reason) && !connections.insertFragments(key, outbound))
      return Reason.TABLE_FULL;
    return reason;
  }

  #decideIp(frame: FilterFrame, family: number, outbound: boolean): number {
    const key = this.#key;
    const protocol = key[Key.PROTOCOL]!;
    const icmp = key[Key.ICMP]! >= 0;
    if (icmp && family === 6 && isNeighbour(key[Key.ICMP]! >> 8)) {
      // From this link, and whole: RFC 4861, 6.1 and 7.1; RFC 6980.
      if (frame.byte(frame.l3 + 7) !== 255 || key[Key.FRAGMENT] !== Fragment.NONE) return Reason.NEIGHBOUR;
    }
    let classify: Classify;
    if (family === 4) classify = outbound ? this.#out4 : this.#in4;
    else classify = outbound ? this.#out6 : this.#in6;
    if (!this.#options.track.on) return this.#askRules(classify, outbound, false, -1);
    if (icmp && isIcmpError(key) && this.#related.find(frame, key, outbound, this.#connections)) return Reason.RELATED;
    const tracked = protocol === IpProtocol.TCP || protocol === IpProtocol.UDP || (icmp && isEcho(key));
    if (!tracked) return this.#askRules(classify, outbound, false, -1);
    const connections = this.#connections;
    const slot = connections.find(key, outbound);
    if (slot < 0) return this.#askRules(classify, outbound, true, -1);
    const standing = connections.advance(slot, key, outbound);
    if (standing === Standing.KNOWN) return Reason.ESTABLISHED;
    return this.#askRules(classify, outbound, standing === Standing.ANEW, slot);
  }

  /** @param track - what is accepted is put in the place of `slot`, or in a free one if that is -1 */
  #askRules(classify: Classify, outbound: boolean, track: boolean, slot: number): number {
    const rule = classify(this.#key);
    if (rule >= 0) {
      this.#hits[rule]!++;
      if (this.#accepts[rule] === 0) return Reason.RULE_DROP;
      return track && this.#tracks[rule] === 1
        ? this.#begin(outbound, slot, rule, Reason.RULE_ACCEPT)
        : Reason.RULE_ACCEPT;
    }
    if (this.#options.basics && this.#isBasic(outbound)) return Reason.BASICS;
    const standard = this.#options.default;
    if (!(outbound ? standard.outbound : standard.inbound)) return Reason.DEFAULT_DROP;
    return track ? this.#begin(outbound, slot, -1, Reason.DEFAULT_ACCEPT) : Reason.DEFAULT_ACCEPT;
  }

  /** Remembers what is accepted, if it begins something. Returns the reason, or why not. */
  #begin(outbound: boolean, slot: number, rule: number, reason: number): number {
    const key = this.#key;
    let takenUp = false;
    if (key[Key.PROTOCOL] === IpProtocol.TCP) {
      const flags = key[Key.TCP_FLAGS]!;
      if ((flags & (TcpFlag.SYN | TcpFlag.ACK)) !== TcpFlag.SYN) {
        if (!this.#options.track.pickup) return Reason.INVALID;
        // The end of something, or the answer to what was never seen.
        if ((flags & (TcpFlag.RST | TcpFlag.FIN | TcpFlag.SYN)) !== 0) return reason;
        takenUp = true;
      }
    } else if (key[Key.PROTOCOL] !== IpProtocol.UDP && !isEchoRequest(key)) return reason;
    return this.#connections.insert(slot, key, outbound, takenUp, rule) ? reason : Reason.TABLE_FULL;
  }

  /** What no card can do without: ARP, neighbour discovery and reports of listeners, DHCP of a client. */
  #isBasic(outbound: boolean): boolean {
    const key = this.#key;
    const family = key[Key.FAMILY]!;
    if (family === 0) return key[Key.ETHER_TYPE] === EtherType.ARP;
    const protocol = key[Key.PROTOCOL]!;
    if (family === 6 && protocol === PROTOCOLS.icmpv6) {
      const type = key[Key.ICMP]! >> 8;
      if (type >= 130 && type <= 132) return true;
      return (isNeighbour(type) && type !== Neighbour.REDIRECT) || type === Neighbour.LISTENER_REPORT;
    }
    if (protocol !== IpProtocol.UDP) return false;
    const from = key[Key.SOURCE_PORT]!;
    const to = key[Key.DESTINATION_PORT]!;
    const client = family === 4 ? DHCP_CLIENT : DHCPV6_CLIENT;
    const server = family === 4 ? DHCP_SERVER : DHCPV6_SERVER;
    const asksServer = from === client && to === server;
    const asksClient = from === server && to === client;
    if (outbound) return asksServer || (this.#options.guard.dhcpServer && asksClient);
    return asksClient || (this.#options.guard.dhcpServer && asksServer);
  }
}

/** Request or reply. */
function isEcho(key: Int32Array): boolean {
  const type = key[Key.ICMP]! >> 8;
  return key[Key.FAMILY] === 4 ? type === 8 || type === 0 : type === 128 || type === 129;
}
