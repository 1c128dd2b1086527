import { GSO_SEGMENTS_MAX, TCP_SEGMENT_BYTES_MIN, UDP_SEGMENTS_MAX } from '../limits.js';
import { EtherType, isTagType, readBe16, VLAN_TAG_BYTES } from './ethernet.js';
import {
  FrameLayout,
  findLayout,
  IPV6_HEADER_BYTES,
  IpProtocol,
  LayoutFault,
  TCP_HEADER_BYTES,
  UDP_HEADER_BYTES,
} from './frame-layout.js';
import { asksForOffload, GSO_ECN, GsoType, type NetHeader, NetHeaderFlag } from './net-header.js';
import { neededOffloads, Offload, UNKNOWN_OFFLOAD } from './offloads.js';

/** Bytes of an IP packet that is to be cut up: what their length fields hold. VIRTIO 1.3, 5.1.6.3 */
const IPV4_PACKET_BYTES_MAX = 65535;
const IPV6_PACKET_BYTES_MAX = IPV6_HEADER_BYTES + 65535;

/** Where a sum may begin, bytes: behind a tag that the frame may get on its way, the field still has to hold it. VIRTIO 1.3, 5.1.6 */
const CSUM_START_MAX = 0xffff - VLAN_TAG_BYTES;

/** Why a frame is not passed on with its header; besides these, values of `LayoutFault`. Zero is none. */
export const OffloadFault = {
  /** Asks for what was not negotiated: a checksum, a kind of segmentation, ECN. */
  NOT_NEGOTIATED: -40,
  /** The kind of segmentation is unknown, or fragmentation, which nobody is offered. */
  GSO_TYPE_UNKNOWN: -41,
  /** The sum would begin, or go, outside the frame or into its Ethernet or IP header, or where no header can say that it does. */
  CHECKSUM_OUTSIDE: -42,
  /**
   * The sum would not go where the packet's checksum is, but over something else of its header, ports or a type or addresses; or it is to
   * be cut up, and neither TCP nor UDP.
   */
  CHECKSUM_MISPLACED: -43,
  /** Segmentation without a checksum. */
  GSO_WITHOUT_CHECKSUM: -44,
  /** The packet is not of the kind that is to be cut up, or is a fragment. */
  GSO_PACKET_DIFFERS: -45,
  /** A segment would carry nothing, or less than anybody needs. */
  GSO_SIZE_INVALID: -46,
  /** Nothing to be cut up, or more than an IP packet can hold, or than IP says there is, or too many segments. */
  GSO_LENGTH_INVALID: -47,
  /** `hdr_len` goes beyond the frame. */
  HEADER_LENGTH_OUTSIDE: -48,
} as const;

const layout = new FrameLayout();

/**
 * Holds the header that a guest put before a frame against the frame itself. Returns 0, or an `OffloadFault` or `LayoutFault`;
 * then the frame must be dropped. VIRTIO 1.3, 5.1.6.2
 *
 * If it returns 0, the header holds what was found out and nothing else: flags that we do not know are gone, `hdrLen` is
 * what the headers really come to, fields that do not count are zero.
 *
 * @param frame - private memory with the first `FRAME_HEADERS_BYTES_MAX` bytes of the frame, or all of it.
 * @param length - bytes of the whole frame.
 * @param negotiated - bits of `Offload`.
 */
export function checkOffload(header: NetHeader, frame: Buffer, length: number, negotiated: number): number {
  if (!asksForOffload(header)) {
    header.clear();
    return 0;
  }
  const fault = findLayout(frame, length, layout);
  return fault !== 0 ? fault : checkWith(layout, header, frame, length, negotiated);
}

/** The same for a frame whose layout is known, and that asks for something. */
export function checkWith(
  layout: FrameLayout,
  header: NetHeader,
  frame: Buffer,
  length: number,
  negotiated: number,
): number {
  const needed = neededOffloads(header);
  if (needed === UNKNOWN_OFFLOAD) return OffloadFault.GSO_TYPE_UNKNOWN;
  if ((needed & ~negotiated) !== 0) return OffloadFault.NOT_NEGOTIATED;
  if ((needed & Offload.CSUM) === 0) return OffloadFault.GSO_WITHOUT_CHECKSUM;
  if (header.hdrLen > length) return OffloadFault.HEADER_LENGTH_OUTSIDE;
  const fault = checkChecksum(layout, header, frame, length);
  if (fault !== 0) return fault;
  if (header.gsoType === GsoType.NONE) {
    header.hdrLen = 0;
    header.gsoSize = 0;
  } else {
    const headerBytes = gsoHeaderBytes(layout, header, frame, length);
    if (headerBytes < 0) return headerBytes;
    header.hdrLen = headerBytes;
  }
  header.flags = NetHeaderFlag.NEEDS_CSUM;
  header.numBuffers = 0;
  return 0;
}

/**
 * Whoever completes the sum must not change by it what filters and switches have judged the frame by: they have looked at it before.
 * Its sender chooses what the sum comes to, so this would be any port or address that it likes.
 */
function checkChecksum(layout: FrameLayout, header: NetHeader, frame: Buffer, length: number): number {
  const { csumStart, csumOffset } = header;
  const { l3, l4, ipVersion, protocol } = layout;
  // Sums of 16-bit numbers do not wrap here, as they would in C.
  if (csumStart < l4 || csumStart > CSUM_START_MAX) return OffloadFault.CHECKSUM_OUTSIDE;
  if (csumStart + csumOffset + 2 > length) return OffloadFault.CHECKSUM_OUTSIDE;
  if (ipVersion === 0) {
    const type = readBe16(frame, l3 - 2);
    // Behind more tags than are looked through there may be anything, which is looked at when one of them is gone.
    return type === EtherType.ARP || isTagType(type) ? OffloadFault.CHECKSUM_MISPLACED : 0;
  }
  const own = csumStart === l4 ? checksumAt(protocol) : NONE;
  if (own !== NONE) return csumOffset === own ? 0 : OffloadFault.CHECKSUM_MISPLACED;
  // Elsewhere in the frame it belongs to a protocol that we do not know, such as what is inside a tunnel.
  return csumStart + csumOffset < l4 + headerBytesOf(protocol) ? OffloadFault.CHECKSUM_MISPLACED : 0;
}

/** Where a protocol's header has its checksum; `NONE` if that is not known. */
function checksumAt(protocol: number): number {
  if (protocol === IpProtocol.TCP) return TCP_CHECKSUM;
  if (protocol === IpProtocol.UDP) return UDP_CHECKSUM;
  return protocol === IpProtocol.ICMP || protocol === IpProtocol.ICMPV6 ? ICMP_CHECKSUM : NONE;
}

/** Bytes of its header that nothing else goes to. All of ICMP is judged; what a later fragment has is not; of others it is ports, or a type. */
function headerBytesOf(protocol: number): number {
  if (protocol === IpProtocol.TCP) return TCP_HEADER_BYTES;
  if (protocol === IpProtocol.UDP) return UDP_HEADER_BYTES;
  if (protocol === IpProtocol.ICMP || protocol === IpProtocol.ICMPV6) return Number.POSITIVE_INFINITY;
  return protocol < 0 ? 0 : PORTS_BYTES;
}

/** Bytes of the headers that each segment gets, or a fault. Only what the packet itself says counts. */
function gsoHeaderBytes(layout: FrameLayout, header: NetHeader, frame: Buffer, length: number): number {
  const { l3, l4, ipVersion, protocol } = layout;
  const type = header.gsoType & ~GSO_ECN;
  const isTcp = type !== GsoType.UDP_L4;
  if (layout.fragment || protocol !== (isTcp ? IpProtocol.TCP : IpProtocol.UDP)) return OffloadFault.GSO_PACKET_DIFFERS;
  if (isTcp && ipVersion !== (type === GsoType.TCPV4 ? 4 : 6)) return OffloadFault.GSO_PACKET_DIFFERS;
  if (header.csumStart !== l4) return OffloadFault.CHECKSUM_MISPLACED;
  let headerBytes = l4 + (isTcp ? TCP_HEADER_BYTES : UDP_HEADER_BYTES);
  if (headerBytes > length) return LayoutFault.TRUNCATED;
  if (headerBytes > layout.headersBytesMax) return LayoutFault.HEADERS_EXCEEDED;
  if (isTcp) {
    const tcpBytes = (frame[l4 + TCP_DATA_OFFSET]! >>> 4) * 4;
    if (tcpBytes < TCP_HEADER_BYTES) return LayoutFault.HEADER_INVALID;
    headerBytes = l4 + tcpBytes;
    if (headerBytes > layout.headersBytesMax) return LayoutFault.HEADERS_EXCEEDED;
  }
  const payloadBytes = length - headerBytes;
  const packetBytesMax = ipVersion === 4 ? IPV4_PACKET_BYTES_MAX : IPV6_PACKET_BYTES_MAX;
  if (payloadBytes <= 0 || length - l3 > packetBytesMax) return OffloadFault.GSO_LENGTH_INVALID;
  // Some drivers leave it to whoever cuts the packet up to say how long it is.
  if (layout.ipBytes !== 0 && layout.ipBytes !== length - l3) return OffloadFault.GSO_LENGTH_INVALID;
  const optionBytes = headerBytes - l4 - TCP_HEADER_BYTES;
  const { gsoSize } = header;
  if (gsoSize === 0 || (isTcp && gsoSize + optionBytes < TCP_SEGMENT_BYTES_MIN)) return OffloadFault.GSO_SIZE_INVALID;
  if (payloadBytes > gsoSize * (isTcp ? GSO_SEGMENTS_MAX : UDP_SEGMENTS_MAX)) return OffloadFault.GSO_LENGTH_INVALID;
  return headerBytes;
}

/** Offsets in the headers of TCP, UDP and ICMP, bytes. RFC 9293, 3.1; RFC 768; RFC 792 and 4443 */
const TCP_DATA_OFFSET = 12;
const TCP_CHECKSUM = 16;
const UDP_CHECKSUM = 6;
const ICMP_CHECKSUM = 2;
const NONE = -1;
/** Bytes in front of SCTP, DCCP and their like, and of what says what a tunnel carries. */
const PORTS_BYTES = 4;
