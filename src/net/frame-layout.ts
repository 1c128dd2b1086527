import { EXTENSION_HEADERS_MAX, FRAME_HEADERS_BYTES_MAX, VLAN_TAGS_MAX } from '../limits.js';
import { ETHERNET_HEADER_BYTES, EtherType, isTagType, readBe16, VLAN_TAG_BYTES } from './ethernet.js';

/** Protocols above IP, and IPv6 extension headers. IANA, "Protocol Numbers" */
export const IpProtocol = {
  HOP_BY_HOP: 0,
  TCP: 6,
  UDP: 17,
  ROUTING: 43,
  FRAGMENT: 44,
  DESTINATION: 60,
} as const;

/** Bytes of headers without options. RFC 791, 8200, 9293 and 768 */
const IPV4_HEADER_BYTES = 20;
export const IPV6_HEADER_BYTES = 40;
export const TCP_HEADER_BYTES = 20;
export const UDP_HEADER_BYTES = 8;

/** Why the headers of a frame cannot be told apart. Zero is none. */
export const LayoutFault = {
  /** The frame ends within a header. */
  TRUNCATED: -60,
  /** The headers go on beyond `FRAME_HEADERS_BYTES_MAX`, or are too many. */
  HEADERS_EXCEEDED: -61,
  /** A header contradicts itself: wrong version, or shorter than it can be. */
  HEADER_INVALID: -62,
} as const;

/**
 * Where the headers of a frame lie, found out from the frame alone. Byte offsets from its start; made once and filled anew for
 * each frame.
 */
export class FrameLayout {
  /** Where the Ethernet header and its VLAN tags end. */
  l3 = 0;
  /** 4 or 6; 0 for all else, and then nothing below is known. */
  ipVersion = 0;
  /** Protocol above IP; -1 in a fragment other than the first, which has no header of it. */
  protocol = -1;
  /** The packet is a fragment, the first or a later one. */
  fragment = false;
  /** Where the headers of IP end, with extensions. */
  l4 = 0;
  /** Bytes from `l3` to the end of the packet as IP says; 0 if it does not say. */
  ipBytes = 0;
  /** Bytes in which all headers had to lie. */
  headersBytesMax = FRAME_HEADERS_BYTES_MAX;
}

/**
 * Finds the headers of a frame of `length` bytes, of which `frame` holds the first `FRAME_HEADERS_BYTES_MAX`, or all. Returns
 * 0 or a `LayoutFault`. TCP and UDP headers are not looked into.
 *
 * @param tagsAdded - VLAN tags, 0 or 1, that it may have got since it was found to be in order: what was is so still
 * @param start - where it begins in `frame`
 */
export function findLayout(frame: Buffer, length: number, into: FrameLayout, tagsAdded = 0, start = 0): number {
  into.headersBytesMax = FRAME_HEADERS_BYTES_MAX + tagsAdded * VLAN_TAG_BYTES;
  const end = Math.min(frame.length - start, length, into.headersBytesMax);
  into.ipVersion = 0;
  into.protocol = -1;
  into.fragment = false;
  into.l3 = into.l4 = 0;
  into.ipBytes = 0;
  if (end < ETHERNET_HEADER_BYTES) return LayoutFault.TRUNCATED;
  let l3 = ETHERNET_HEADER_BYTES;
  let type = readBe16(frame, start + l3 - 2);
  for (let tags = 0; tags < VLAN_TAGS_MAX + tagsAdded && isTagType(type); tags++) {
    l3 += VLAN_TAG_BYTES;
    if (l3 > end) return LayoutFault.TRUNCATED;
    type = readBe16(frame, start + l3 - 2);
  }
  into.l3 = into.l4 = l3;
  if (type === EtherType.IPV4) return findIpv4(frame, length, end, into, start);
  if (type === EtherType.IPV6) return findIpv6(frame, length, end, into, start);
  return 0;
}

/** RFC 791, 3.1 */
function findIpv4(frame: Buffer, length: number, end: number, into: FrameLayout, start: number): number {
  const l3 = into.l3;
  if (l3 + IPV4_HEADER_BYTES > end) return missing(l3 + IPV4_HEADER_BYTES, length);
  const versionAndWords = frame[start + l3]!;
  const headerBytes = (versionAndWords & 0xf) * 4;
  if (versionAndWords >>> 4 !== 4 || headerBytes < IPV4_HEADER_BYTES) return LayoutFault.HEADER_INVALID;
  if (l3 + headerBytes > end) return missing(l3 + headerBytes, length);
  const moreAndOffset = readBe16(frame, start + l3 + 6) & 0x3fff;
  into.ipVersion = 4;
  into.ipBytes = readBe16(frame, start + l3 + 2);
  into.fragment = moreAndOffset !== 0;
  into.protocol = (moreAndOffset & 0x1fff) === 0 ? frame[start + l3 + 9]! : -1;
  into.l4 = l3 + headerBytes;
  return 0;
}

/** RFC 8200, 3 and 4 */
function findIpv6(frame: Buffer, length: number, end: number, into: FrameLayout, start: number): number {
  const l3 = into.l3;
  if (l3 + IPV6_HEADER_BYTES > end) return missing(l3 + IPV6_HEADER_BYTES, length);
  if (frame[start + l3]! >>> 4 !== 6) return LayoutFault.HEADER_INVALID;
  const payloadBytes = readBe16(frame, start + l3 + 4);
  into.ipBytes = payloadBytes === 0 ? 0 : IPV6_HEADER_BYTES + payloadBytes;
  let protocol: number = frame[start + l3 + 6]!;
  let l4 = l3 + IPV6_HEADER_BYTES;
  for (let headers = 0; isExtension(protocol); headers++) {
    if (headers === EXTENSION_HEADERS_MAX) return LayoutFault.HEADERS_EXCEEDED;
    // All of them have at least eight bytes.
    if (l4 + 8 > end) return missing(l4 + 8, length);
    const next: number = frame[start + l4]!;
    let headerBytes = 8;
    let laterFragment = false;
    if (protocol === IpProtocol.FRAGMENT) {
      into.fragment = true;
      laterFragment = (readBe16(frame, start + l4 + 2) & 0xfff8) !== 0;
    } else {
      headerBytes += frame[start + l4 + 1]! * 8;
    }
    l4 += headerBytes;
    if (l4 > end) return missing(l4, length);
    protocol = next;
    // What follows in a later fragment is no header.
    if (laterFragment) {
      protocol = -1;
      break;
    }
  }
  into.ipVersion = 6;
  into.protocol = protocol;
  into.l4 = l4;
  return 0;
}

/** Headers that are looked through. Those of IPsec are none: what is behind them must not be changed. */
function isExtension(protocol: number): boolean {
  return (
    protocol === IpProtocol.HOP_BY_HOP ||
    protocol === IpProtocol.ROUTING ||
    protocol === IpProtocol.FRAGMENT ||
    protocol === IpProtocol.DESTINATION
  );
}

/** A header that ends at `needed` is not all there: is it the frame that is short, or what we look at of it? */
const missing = (needed: number, length: number): number =>
  needed > length ? LayoutFault.TRUNCATED : LayoutFault.HEADERS_EXCEEDED;
