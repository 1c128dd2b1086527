import type { FilterFrame } from '../../../filter/frame-contract.js';
import { EtherType } from '../../../net/ethernet.js';
import { Fragment, Key } from './key.js';
import type { Guard, Mac } from './options.js';
import { buildTrie, lookUp } from './prefix-trie.js';
import { PROTOCOLS } from './values.js';

/** What `check` finds wrong with what a guest sends. */
export const Forgery = { NONE: 0, MAC: 1, ARP: 2, ADDRESS: 3, NEIGHBOUR: 4, DHCP: 5 } as const;

/** ICMPv6 messages of neighbour discovery, 133 to 137, and reports of listeners. RFC 4861, 4; RFC 3810, 5.2 */
export const Neighbour = {
  ROUTER_SOLICITATION: 133,
  ROUTER_ADVERTISEMENT: 134,
  SOLICITATION: 135,
  ADVERTISEMENT: 136,
  REDIRECT: 137,
  LISTENER_REPORT: 143,
} as const;
export const isNeighbour = (type: number): boolean => type >= 133 && type <= 137;

/** Options of those that name a link-layer address: of the sender, of the target. RFC 4861, 4.6.1 */
const SOURCE_LINK_ADDRESS = 1;
const TARGET_LINK_ADDRESS = 2;
/** Bytes between the first eight of a message and its options, of types 133 to 137. RFC 4861, 4.1 to 4.5 */
const FIXED_BYTES = Uint8Array.of(0, 8, 16, 16, 32);
/** More options than any message has. */
const OPTIONS_MAX = 8;
/** RFC 2131, 4.1; RFC 8415, 7.2 */
const DHCP_SERVER = 67;
export const DHCP_CLIENT = 68;
const DHCPV6_SERVER = 547;
export const DHCPV6_CLIENT = 546;
export { DHCP_SERVER, DHCPV6_SERVER };

interface Trie {
  readonly nodes: Int32Array;
  readonly root: number;
}

/** Holds what a guest says it is against what it may say. */
export class SpoofGuard {
  readonly #options: Guard;
  /** Upper and lower parts of the addresses in turn; empty: any. */
  readonly #macs: Int32Array;
  readonly #guarded: boolean;
  readonly #trie4: Trie;
  readonly #trie6: Trie;
  readonly #words = new Int32Array(4);

  /** @param own - the card's address */
  constructor(options: Guard, own: Mac) {
    this.#options = options;
    const macs = options.macs === undefined ? [] : [own, ...options.macs];
    this.#macs = Int32Array.from(macs.flat());
    this.#guarded = options.addresses !== undefined;
    const trie = (family: 4 | 6): Trie => {
      const prefixes = (options.addresses ?? []).filter((prefix) => prefix.family === family);
      // Its own link-local address is made of the card's. RFC 4291, 2.5.1 and appendix A
      const local = family === 6 ? [own, ...macs].map((mac) => ({ words: linkLocal(mac), bits: 128 })) : [];
      const all = [...prefixes, ...local].map(({ words, bits }) => ({ words, bits, rule: 0 }));
      return buildTrie(
        all,
        new Uint32Array(1),
        (set) => (set[0] = 1),
        (set) => set[0]!,
      );
    };
    this.#trie4 = trie(4);
    this.#trie6 = trie(6);
  }

  /** Returns one of `Forgery`. */
  check(frame: FilterFrame, key: Int32Array): number {
    const { arp, dhcpServer } = this.#options;
    if (!this.#mayHave(key[Key.SOURCE_MAC]!, key[Key.SOURCE_MAC + 1]!)) return Forgery.MAC;
    const family = key[Key.FAMILY]!;
    if (family === 0) {
      if (key[Key.ETHER_TYPE] !== EtherType.ARP || !arp) return Forgery.NONE;
      return this.#arpIsHonest(frame, key) ? Forgery.NONE : Forgery.ARP;
    }
    const udp = key[Key.PROTOCOL] === PROTOCOLS.udp;
    const port = key[Key.SOURCE_PORT]!;
    if (udp && !dhcpServer && port === (family === 4 ? DHCP_SERVER : DHCPV6_SERVER)) return Forgery.DHCP;
    if (this.#guarded && !this.#sourceIsHonest(key, family)) return Forgery.ADDRESS;
    if (family === 6 && key[Key.PROTOCOL] === PROTOCOLS.icmpv6 && key[Key.FRAGMENT] !== Fragment.LATER) {
      if (isNeighbour(key[Key.ICMP]! >> 8) && !this.#neighbourIsHonest(frame, key)) return Forgery.NEIGHBOUR;
    }
    return Forgery.NONE;
  }

  #mayHave(high: number, low: number): boolean {
    const macs = this.#macs;
    if (macs.length === 0) return true;
    for (let i = 0; i < macs.length; i += 2) if (macs[i] === high && macs[i + 1] === low) return true;
    return false;
  }

  /** The sender is the one that sends; and has an address of its own, or none yet. RFC 826, RFC 5227 */
  #arpIsHonest(frame: FilterFrame, key: Int32Array): boolean {
    const high = frame.arpSenderHigh;
    const low = frame.arpSenderLow;
    const same = high === key[Key.SOURCE_MAC] && low === key[Key.SOURCE_MAC + 1];
    if (!same && (this.#macs.length === 0 || !this.#mayHave(high, low))) return false;
    const address = frame.arpSenderAddress;
    if (!this.#guarded || address === 0) return true;
    this.#words[0] = address;
    return lookUp(this.#trie4.nodes, this.#trie4.root, this.#words, 0) === 1;
  }

  #sourceIsHonest(key: Int32Array, family: number): boolean {
    const { nodes, root } = family === 4 ? this.#trie4 : this.#trie6;
    if (lookUp(nodes, root, key, Key.SOURCE) === 1) return true;
    if (family === 4)
      return (
        key[Key.SOURCE] === 0 &&
        key[Key.PROTOCOL] === PROTOCOLS.udp &&
        key[Key.SOURCE_PORT] === DHCP_CLIENT &&
        key[Key.DESTINATION_PORT] === DHCP_SERVER
      );
    const none = (key[Key.SOURCE]! | key[Key.SOURCE + 1]! | key[Key.SOURCE + 2]! | key[Key.SOURCE + 3]!) === 0;
    if (!none || key[Key.PROTOCOL] !== PROTOCOLS.icmpv6) return false;
    const type = key[Key.ICMP]! >> 8;
    return (
      type === Neighbour.SOLICITATION || type === Neighbour.ROUTER_SOLICITATION || type === Neighbour.LISTENER_REPORT
    );
  }

  #neighbourIsHonest(frame: FilterFrame, key: Int32Array): boolean {
    const type = key[Key.ICMP]! >> 8;
    if (key[Key.FRAGMENT] !== Fragment.NONE) return false;
    if (type === Neighbour.ROUTER_ADVERTISEMENT || type === Neighbour.REDIRECT) {
      if (!this.#options.router) return false;
    } else if (!this.#options.arp) return true;
    const body = frame.l4 + 8;
    if (type === Neighbour.ADVERTISEMENT && this.#guarded) {
      for (let i = 0; i < 4; i++) this.#words[i] = frame.word32(body + 4 * i);
      if (lookUp(this.#trie6.nodes, this.#trie6.root, this.#words, 0) !== 1) return false;
    }

    return this.#optionsAreHonest(
      frame,
      body + FIXED_BYTES[type - Neighbour.ROUTER_SOLICITATION]!,
      type === Neighbour.REDIRECT,
    );
  }

  #optionsAreHonest(frame: FilterFrame, from: number, redirect: boolean): boolean {
    let at = from;
    const end = frame.byteLength;
    for (let i = 0; i < OPTIONS_MAX; i++) {
      if (at + 8 > end) return true;
      if (at + 8 > frame.headBytes) return false;
      const kind = frame.byte(at);
      const bytes = 8 * frame.byte(at + 1);
      if (bytes === 0) return false;
      // That of a redirect's target is another's.
      if (kind === SOURCE_LINK_ADDRESS || (kind === TARGET_LINK_ADDRESS && !redirect)) {
        if (!this.#mayHave(frame.word16(at + 2), frame.word32(at + 4))) return false;
      }
      at += bytes;
    }
    return at + 8 > end;
  }
}

/** fe80:: and the EUI-64 of an address. */
function linkLocal([high, low]: Mac): number[] {
  const upper = (high ^ 0x0200) & 0xffff;
  return [0xfe80_0000 | 0, 0, (upper << 16) | ((low >>> 24) << 8) | 0xff, (0xfe << 24) | (low & 0xff_ffff)];
}
