import { ETHERNET_HEADER_BYTES, EthernetOffset } from '../../src/net/ethernet.js';
import { NET_HEADER_BYTES } from '../../src/net/features.js';
import { GsoType, NetHeaderFlag, NetHeaderOffset } from '../../src/net/net-header.js';

const IPV4_TYPE = 0x0800;
const IP_BYTES = 20;
/** A TCP header with time stamps, as Linux has it. */
const TCP_BYTES = 32;
const TCP = 6;
const UDP = 17;
const UDP_BYTES = 8;
/** Whoever gets what goes there forgets it. RFC 863 */
const DISCARD_PORT = 9;
const TCP_CHECKSUM_OFFSET = 16;
const ACK_FLAG = 0x10;

/** Bytes that each segment of a large packet carries, in an MTU of 1,500 with time stamps. */
export const SEGMENT_BYTES = 1500 - IP_BYTES - TCP_BYTES;
const HEADERS_BYTES = ETHERNET_HEADER_BYTES + IP_BYTES + TCP_BYTES;
/** The longest packet of whole segments that IPv4 allows: 45 of them, 65,160 bytes of payload. */
export const LARGE_FRAME_BYTES =
  HEADERS_BYTES + SEGMENT_BYTES * Math.floor((65535 - IP_BYTES - TCP_BYTES) / SEGMENT_BYTES);

/** Writes a plain frame, UDP over IPv4, behind a virtio header that asks for nothing. */
export function writeFrame(buffer: Buffer, from: Uint8Array, to: Uint8Array, frameBytes: number): void {
  writeEthernet(buffer, from, to, IPV4_TYPE);
  const ip = NET_HEADER_BYTES + ETHERNET_HEADER_BYTES;
  writeIp(buffer.subarray(ip), frameBytes - ETHERNET_HEADER_BYTES, UDP, [addressOf(from), addressOf(to)]);
  const udp = ip + IP_BYTES;
  buffer.writeUInt16BE(DISCARD_PORT, udp);
  buffer.writeUInt16BE(DISCARD_PORT, udp + 2);
  buffer.writeUInt16BE(frameBytes - ETHERNET_HEADER_BYTES - IP_BYTES, udp + 4);
  buffer.fill(0x5a, udp + UDP_BYTES, NET_HEADER_BYTES + frameBytes);
}

/** An address of network 10 for each card. */
const addressOf = (mac: Uint8Array): readonly number[] => [10, mac[3]!, mac[4]!, mac[5]!];

function writeIp(
  header: Buffer,
  packetBytes: number,
  protocol: number,
  [source, destination]: readonly (readonly number[])[],
): void {
  header[0] = 0x45;
  header.writeUInt16BE(packetBytes, 2);
  header[8] = 64;
  header[9] = protocol;
  header.set([...source!, ...destination!], 12);
  header.writeUInt16BE(headerSum(header.subarray(0, IP_BYTES)), 10);
}

/** Writes a TCP packet of 64 KiB that is still to be cut up and has no checksum yet: what a guest with TSO sends. */
export function writeLargeFrame(buffer: Buffer, from: Uint8Array, to: Uint8Array): void {
  writeEthernet(buffer, from, to, IPV4_TYPE);
  buffer[NetHeaderOffset.FLAGS] = NetHeaderFlag.NEEDS_CSUM;
  buffer[NetHeaderOffset.GSO_TYPE] = GsoType.TCPV4;
  buffer.writeUInt16LE(HEADERS_BYTES, NetHeaderOffset.HDR_LEN);
  buffer.writeUInt16LE(SEGMENT_BYTES, NetHeaderOffset.GSO_SIZE);
  buffer.writeUInt16LE(ETHERNET_HEADER_BYTES + IP_BYTES, NetHeaderOffset.CSUM_START);
  buffer.writeUInt16LE(TCP_CHECKSUM_OFFSET, NetHeaderOffset.CSUM_OFFSET);
  const ip = NET_HEADER_BYTES + ETHERNET_HEADER_BYTES;
  const addresses = [
    [10, 0, 0, 1],
    [10, 0, 0, 2],
  ];
  writeIp(buffer.subarray(ip), LARGE_FRAME_BYTES - ETHERNET_HEADER_BYTES, TCP, addresses);
  const tcp = ip + IP_BYTES;
  buffer.writeUInt16BE(5001, tcp);
  buffer.writeUInt16BE(5001, tcp + 2);
  buffer[tcp + 12] = (TCP_BYTES / 4) << 4;
  buffer[tcp + 13] = ACK_FLAG;
  // No-operation twice, then a time stamp of zeros. RFC 7323
  buffer.set([1, 1, 8, 10], tcp + 20);
  buffer.fill(0x5a, tcp + TCP_BYTES, NET_HEADER_BYTES + LARGE_FRAME_BYTES);
}

function writeEthernet(buffer: Buffer, from: Uint8Array, to: Uint8Array, type: number): void {
  buffer.fill(0);
  buffer.set(to, NET_HEADER_BYTES + EthernetOffset.DESTINATION);
  buffer.set(from, NET_HEADER_BYTES + EthernetOffset.SOURCE);
  buffer.writeUInt16BE(type, NET_HEADER_BYTES + EthernetOffset.TYPE);
}

/** RFC 1071 */
function headerSum(header: Buffer): number {
  let sum = 0;
  for (let at = 0; at < header.length; at += 2) sum += header.readUInt16BE(at);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}
