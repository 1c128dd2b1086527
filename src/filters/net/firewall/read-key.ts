import type { FilterFrame } from '../../../filter/frame-contract.js';
import { ETHERNET_HEADER_BYTES, EtherType, VLAN_TAG_BYTES } from '../../../net/ethernet.js';
import { IPV6_HEADER_BYTES, IpProtocol, TCP_HEADER_BYTES, UDP_HEADER_BYTES } from '../../../net/frame-layout.js';
import { Fragment, Key } from './key.js';
import { isHidden, isSourceRouted } from './refused.js';
import { PROTOCOLS } from './values.js';

/** What `readKey` finds. */
export const Reading = {
  OK: 0,
  /** A header is cut off, or contradicts itself. */
  MALFORMED: 1,
  /** A fragment that cannot be judged, or that overwrites what others were judged by. RFC 1858, RFC 3128 */
  BAD_FRAGMENT: 2,
  /** TCP flags that no connection has. */
  BAD_FLAGS: 3,
} as const;

/** RFC 9293, 3.1 */
export const TcpFlag = { FIN: 1, SYN: 2, RST: 4, ACK: 16 } as const;

/** Bytes of ICMP's header with what follows it in every message. RFC 792, RFC 4443 */
const ICMP_HEADER_BYTES = 8;
/** No header of TCP or below it reaches into a fragment from here on, bytes: 60 of TCP, rounded up. */
const HEADERS_END = 64;

/** `readUsual` leaves it to the other. */
const UNUSUAL = -1;
const IPV4_HEADER_BYTES = 20;

/**
 * Fills a key with what a frame says. Returns one of `Reading`; the key is good only if that is OK.
 *
 * @param macs - whether Ethernet's addresses are wanted
 */
export function readKey(frame: FilterFrame, key: Int32Array, macs = true): number {
  const reading = readUsual(frame, key, macs);
  return reading === UNUSUAL ? readAny(frame, key) : reading;
}

/**
 * The same for frames as nearly all are: at most one tag, no options, no extensions, no fragments, TCP or UDP, nothing wrong. In one
 * piece and without calls, which takes a fraction of the time.
 */
function readUsual(frame: FilterFrame, key: Int32Array, macs: boolean): number {
  const bytes = frame.bytes;
  const start = frame.start;
  const end = start + frame.headBytes;
  if (start + ETHERNET_HEADER_BYTES + IPV4_HEADER_BYTES + TCP_HEADER_BYTES > end) return UNUSUAL;
  let l3 = start + ETHERNET_HEADER_BYTES;
  let type = (bytes[l3 - 2]! << 8) | bytes[l3 - 1]!;
  if (type === EtherType.VLAN) {
    l3 += VLAN_TAG_BYTES;
    type = (bytes[l3 - 2]! << 8) | bytes[l3 - 1]!;
  }
  let family: number;
  let protocol: number;
  let l4: number;
  /** Of IP, with its header. */
  let ipBytes: number;
  if (type === EtherType.IPV4) {
    l4 = l3 + IPV4_HEADER_BYTES;
    // More fragments, or not the first.
    if (bytes[l3] !== 0x45 || ((bytes[l3 + 6]! & 0x3f) | bytes[l3 + 7]!) !== 0) return UNUSUAL;
    family = 4;
    protocol = bytes[l3 + 9]!;
    ipBytes = (bytes[l3 + 2]! << 8) | bytes[l3 + 3]!;
    key[Key.SOURCE] = (bytes[l3 + 12]! << 24) | (bytes[l3 + 13]! << 16) | (bytes[l3 + 14]! << 8) | bytes[l3 + 15]!;
    key[Key.DESTINATION] = (bytes[l3 + 16]! << 24) | (bytes[l3 + 17]! << 16) | (bytes[l3 + 18]! << 8) | bytes[l3 + 19]!;
  } else if (type === EtherType.IPV6) {
    l4 = l3 + IPV6_HEADER_BYTES;
    if (bytes[l3]! >>> 4 !== 6 || l4 > end) return UNUSUAL;
    family = 6;
    protocol = bytes[l3 + 6]!;
    ipBytes = IPV6_HEADER_BYTES + ((bytes[l3 + 4]! << 8) | bytes[l3 + 5]!);
    for (let i = 0; i < 8; i++) {
      const at = l3 + 8 + 4 * i;
      key[Key.SOURCE + i] = (bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!;
    }
  } else return UNUSUAL;
  const tcp = protocol === IpProtocol.TCP;
  if (!tcp && protocol !== IpProtocol.UDP) return UNUSUAL;
  if (ipBytes < l4 - l3 + (tcp ? TCP_HEADER_BYTES : UDP_HEADER_BYTES)) return UNUSUAL;
  if (l4 + (tcp ? TCP_HEADER_BYTES : UDP_HEADER_BYTES) > end) return UNUSUAL;
  if (tcp) {
    const headerBytes = (bytes[l4 + 12]! >>> 4) * 4;
    const left = Math.min(ipBytes, frame.byteLength - (l3 - start)) - (l4 - l3);
    const flags = bytes[l4 + 13]! & (TcpFlag.FIN | TcpFlag.SYN | TcpFlag.RST | TcpFlag.ACK);
    if (headerBytes < TCP_HEADER_BYTES || headerBytes > left) return UNUSUAL;
    if (flags === 0 || ((flags & TcpFlag.SYN) !== 0 && (flags & (TcpFlag.FIN | TcpFlag.RST)) !== 0)) return UNUSUAL;
    key[Key.SEQUENCE] = (bytes[l4 + 4]! << 24) | (bytes[l4 + 5]! << 16) | (bytes[l4 + 6]! << 8) | bytes[l4 + 7]!;
    key[Key.ACKNOWLEDGMENT] =
      (bytes[l4 + 8]! << 24) | (bytes[l4 + 9]! << 16) | (bytes[l4 + 10]! << 8) | bytes[l4 + 11]!;
    key[Key.TCP_FLAGS] = flags;
  }
  key[Key.SOURCE_PORT] = (bytes[l4]! << 8) | bytes[l4 + 1]!;
  key[Key.DESTINATION_PORT] = (bytes[l4 + 2]! << 8) | bytes[l4 + 3]!;
  key[Key.ICMP] = -1;
  key[Key.PROTOCOL] = protocol;
  key[Key.FAMILY] = family;
  key[Key.ETHER_TYPE] = type;
  key[Key.VLAN] = frame.vlan;
  key[Key.FRAGMENT] = Fragment.NONE;
  if (!macs) return Reading.OK;
  key[Key.DESTINATION_MAC] = (bytes[start]! << 8) | bytes[start + 1]!;
  key[Key.DESTINATION_MAC + 1] =
    (bytes[start + 2]! << 24) | (bytes[start + 3]! << 16) | (bytes[start + 4]! << 8) | bytes[start + 5]!;
  key[Key.SOURCE_MAC] = (bytes[start + 6]! << 8) | bytes[start + 7]!;
  key[Key.SOURCE_MAC + 1] =
    (bytes[start + 8]! << 24) | (bytes[start + 9]! << 16) | (bytes[start + 10]! << 8) | bytes[start + 11]!;
  return Reading.OK;
}

/** The same for all frames, by what the framework has found. */
export function readAny(frame: FilterFrame, key: Int32Array): number {
  if (frame.fault !== 0) return Reading.MALFORMED;
  const family = frame.ipVersion;
  const etherType = frame.etherType;
  key[Key.SOURCE_MAC] = frame.sourceHigh;
  key[Key.SOURCE_MAC + 1] = frame.sourceLow;
  key[Key.DESTINATION_MAC] = frame.destinationHigh;
  key[Key.DESTINATION_MAC + 1] = frame.destinationLow;
  key[Key.ETHER_TYPE] = etherType;
  key[Key.VLAN] = frame.vlan;
  key[Key.FAMILY] = family;
  key[Key.SOURCE_PORT] = -1;
  key[Key.DESTINATION_PORT] = -1;
  key[Key.ICMP] = -1;
  key[Key.FRAGMENT] = Fragment.NONE;
  if (family === 0) {
    key[Key.PROTOCOL] = -1;
    return isHidden(frame, etherType) || (etherType === EtherType.ARP && frame.arpOperation < 0)
      ? Reading.MALFORMED
      : Reading.OK;
  }
  const l3 = frame.l3;
  const l4 = frame.l4;
  let protocol = frame.protocol;
  let end: number;
  key[Key.SOURCE] = frame.sourceAddress(0);
  key[Key.DESTINATION] = frame.destinationAddress(0);
  if (family === 4) {
    end = l3 + frame.word16(l3 + 2);
  } else {
    for (let i = 1; i < 4; i++) {
      key[Key.SOURCE + i] = frame.sourceAddress(i);
      key[Key.DESTINATION + i] = frame.destinationAddress(i);
    }
    // Zero is that of a jumbogram, of which there are none here. RFC 2675
    end = l3 + IPV6_HEADER_BYTES + frame.word16(l3 + 4);
  }
  if (end > frame.byteLength) end = frame.byteLength;
  if (end < l4 || isSourceRouted(frame)) return Reading.MALFORMED;
  if (frame.fragment) {
    const reading = readFragment(frame, key, end);
    if (reading !== Reading.OK) return reading;
    if (key[Key.FRAGMENT] === Fragment.LATER) return Reading.OK;
    protocol = frame.protocol;
  }
  key[Key.PROTOCOL] = protocol;
  const bytes = Math.min(end, frame.headBytes) - l4;
  // In a first fragment, a header that is cut off is one that somebody hides.
  const short = key[Key.FRAGMENT] === Fragment.FIRST ? Reading.BAD_FRAGMENT : Reading.MALFORMED;
  if (protocol === IpProtocol.TCP) {
    if (bytes < TCP_HEADER_BYTES) return short;
    const headerBytes = (frame.byte(l4 + 12) >>> 4) * 4;
    if (headerBytes < TCP_HEADER_BYTES) return Reading.MALFORMED;
    if (headerBytes > end - l4) return short;
    const ports = frame.word32(l4);
    key[Key.SOURCE_PORT] = ports >>> 16;
    key[Key.DESTINATION_PORT] = ports & 0xffff;
    key[Key.SEQUENCE] = frame.word32(l4 + 4);
    key[Key.ACKNOWLEDGMENT] = frame.word32(l4 + 8);
    const flags = frame.byte(l4 + 13) & (TcpFlag.FIN | TcpFlag.SYN | TcpFlag.RST | TcpFlag.ACK);
    key[Key.TCP_FLAGS] = flags;
    const opens = (flags & TcpFlag.SYN) !== 0;
    if (flags === 0 || (opens && (flags & (TcpFlag.FIN | TcpFlag.RST)) !== 0)) return Reading.BAD_FLAGS;
    return Reading.OK;
  }
  if (protocol === IpProtocol.UDP) {
    if (bytes < UDP_HEADER_BYTES) return short;
    const ports = frame.word32(l4);
    key[Key.SOURCE_PORT] = ports >>> 16;
    key[Key.DESTINATION_PORT] = ports & 0xffff;
    return Reading.OK;
  }
  if (protocol === (family === 4 ? PROTOCOLS.icmp : PROTOCOLS.icmpv6)) {
    if (bytes < ICMP_HEADER_BYTES) return short;
    key[Key.ICMP] = frame.word16(l4);
    key[Key.ECHO_ID] = frame.word16(l4 + 4);
  }
  return Reading.OK;
}

/** What a fragment says of itself. RFC 791, 3.1; RFC 8200, 4.5 */
function readFragment(frame: FilterFrame, key: Int32Array, end: number): number {
  const l3 = frame.l3;
  let payload = frame.l4;
  let start: number;
  let more: boolean;
  if (key[Key.FAMILY] === 4) {
    const word = frame.word16(l3 + 6);
    start = (word & 0x1fff) * 8;
    more = (word & 0x2000) !== 0;
    key[Key.FRAGMENT_ID] = frame.word16(l3 + 4);
    key[Key.PROTOCOL] = frame.byte(l3 + 9);
  } else {
    let at = l3 + IPV6_HEADER_BYTES;
    let next = frame.byte(l3 + 6);
    // The framework has been through them: this ends, and within the head.
    while (next !== IpProtocol.FRAGMENT) {
      if (at >= payload) return Reading.MALFORMED;
      next = frame.byte(at);
      at += 8 + 8 * frame.byte(at + 1);
    }
    const word = frame.word16(at + 2);
    start = word & 0xfff8;
    more = (word & 1) !== 0;
    key[Key.FRAGMENT_ID] = frame.word32(at + 4);
    // Fragments of one packet may say different things here.
    key[Key.PROTOCOL] = IpProtocol.FRAGMENT;
    payload = at + 8;
  }
  key[Key.FRAGMENT_START] = start;
  key[Key.FRAGMENT_END] = start + end - payload;
  // A packet in one piece, or a fragment within a fragment: its rest would be judged by nobody.
  if (start === 0 && frame.protocol < 0) return Reading.MALFORMED;
  if (start === 0) {
    if (more) key[Key.FRAGMENT] = Fragment.FIRST;
    return Reading.OK;
  }
  key[Key.FRAGMENT] = Fragment.LATER;
  if (start < HEADERS_END || key[Key.FRAGMENT_END]! > 65_535 || end <= payload) return Reading.BAD_FRAGMENT;
  return Reading.OK;
}
