/** Packets as bytes, from what they say. */
import { addressOf } from '../model/firewall-rules.js';

export const TCP = { FIN: 1, SYN: 2, RST: 4, PSH: 8, ACK: 16 } as const;

const BROADCAST = 'ff:ff:ff:ff:ff:ff';
const bytesOf = (mac: string) => Buffer.from(mac.replaceAll(':', ''), 'hex');

export interface Link {
  from: string;
  to?: string;
  tags?: { type?: number; vlan: number }[];
}

export function ethernet({ from, to = BROADCAST, tags = [] }: Link, type: number, payload: Buffer): Buffer {
  const tagged = tags.map(({ type = 0x8100, vlan }) => Buffer.from([type >> 8, type & 255, vlan >> 8, vlan & 255]));
  return Buffer.concat([bytesOf(to), bytesOf(from), ...tagged, Buffer.from([type >> 8, type & 255]), payload]);
}

export interface IpOptions {
  protocol: number;
  /** IPv6: headers before the payload, each with the number by which it is known. */
  extensions?: { number: number; bytes: Buffer }[];
  /** Start in bytes, and whether more follow. */
  fragment?: { id: number; start: number; more: boolean };
  hops?: number;
  /** Options of IPv4, a multiple of four bytes. */
  options?: Buffer;
  /** What the header says instead of the truth. */
  length?: number;
}

/** A packet of IPv4 or IPv6 with its type. */
export function ip(source: string, destination: string, payload: Buffer, more: IpOptions): [number, Buffer] {
  return source.includes(':')
    ? [0x86dd, ip6(source, destination, payload, more)]
    : [0x0800, ip4(source, destination, payload, more)];
}

function ip4(source: string, destination: string, payload: Buffer, more: IpOptions): Buffer {
  const { protocol, fragment, hops = 64, options = Buffer.alloc(0), length } = more;
  const header = Buffer.alloc(20);
  header[0] = 0x45 + options.length / 4;
  header.writeUInt16BE(length ?? 20 + options.length + payload.length, 2);
  if (fragment) {
    header.writeUInt16BE(fragment.id & 0xffff, 4);
    header.writeUInt16BE((fragment.more ? 0x2000 : 0) | (fragment.start >> 3), 6);
  }
  header[8] = hops;
  header[9] = protocol;
  header.writeUInt32BE(Number(addressOf(source)), 12);
  header.writeUInt32BE(Number(addressOf(destination)), 16);
  return Buffer.concat([header, options, payload]);
}

function ip6(source: string, destination: string, payload: Buffer, more: IpOptions): Buffer {
  const { protocol, fragment, hops = 64, extensions = [], length } = more;
  const all = [...extensions];
  if (fragment) {
    const bytes = Buffer.alloc(8);
    bytes.writeUInt16BE(fragment.start | (fragment.more ? 1 : 0), 2);
    bytes.writeUInt32BE(fragment.id, 4);
    all.push({ number: 44, bytes });
  }
  const headers = all.map(({ bytes }, i) => {
    const copy = Buffer.from(bytes);
    copy[0] = all[i + 1]?.number ?? protocol;
    return copy;
  });
  const body = Buffer.concat([...headers, payload]);
  const header = Buffer.alloc(40);
  header[0] = 0x60;
  header.writeUInt16BE(length ?? body.length, 4);
  header[6] = all[0]?.number ?? protocol;
  header[7] = hops;
  wide(addressOf(source)).copy(header, 8);
  wide(addressOf(destination)).copy(header, 24);
  return Buffer.concat([header, body]);
}

const wide = (address: bigint) => Buffer.from(address.toString(16).padStart(32, '0'), 'hex');

export interface TcpOptions {
  flags?: number;
  sequence?: number;
  acknowledgment?: number;
  data?: Buffer;
}

export function tcp(from: number, to: number, more: TcpOptions = {}): Buffer {
  const { flags = TCP.ACK, sequence = 0, acknowledgment = 0, data = Buffer.alloc(0) } = more;
  const header = Buffer.alloc(20);
  header.writeUInt16BE(from, 0);
  header.writeUInt16BE(to, 2);
  header.writeUInt32BE(sequence >>> 0, 4);
  header.writeUInt32BE(acknowledgment >>> 0, 8);
  header[12] = 0x50;
  header[13] = flags;
  return Buffer.concat([header, data]);
}

export function udp(from: number, to: number, data: Buffer = Buffer.alloc(8)): Buffer {
  const header = Buffer.alloc(8);
  header.writeUInt16BE(from, 0);
  header.writeUInt16BE(to, 2);
  header.writeUInt16BE(8 + data.length, 4);
  return Buffer.concat([header, data]);
}

/** `rest` are the four bytes behind the checksum; an echo's begin with its identifier. */
export function icmp(type: number, code = 0, rest = 0, data: Buffer = Buffer.alloc(0)): Buffer {
  const header = Buffer.alloc(8);
  header[0] = type;
  header[1] = code;
  header.writeUInt32BE(rest >>> 0, 4);
  return Buffer.concat([header, data]);
}

export const echo = (type: number, id: number): Buffer => icmp(type, 0, id * 65_536);

export function arp(operation: number, mac: string, address: string, target = '10.0.0.1'): Buffer {
  const bytes = Buffer.alloc(28);
  bytes.writeUInt32BE(0x0001_0800, 0);
  bytes.writeUInt16BE(0x0604, 4);
  bytes.writeUInt16BE(operation, 6);
  bytesOf(mac).copy(bytes, 8);
  bytes.writeUInt32BE(Number(addressOf(address)), 14);
  bytes.writeUInt32BE(Number(addressOf(target)), 24);
  return bytes;
}

/** A message of neighbour discovery: its target, if it has one, and an option that names a link-layer address. */
export function neighbour(type: number, target: string | undefined, option?: { type: number; mac: string }): Buffer {
  const parts = [target === undefined ? Buffer.alloc(type === 134 ? 8 : 0) : wide(addressOf(target))];
  if (type === 137) parts.push(Buffer.alloc(16));
  if (option) parts.push(Buffer.from([option.type, 1]), bytesOf(option.mac));
  return icmp(type, 0, 0, Buffer.concat(parts));
}
