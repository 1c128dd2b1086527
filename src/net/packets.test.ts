/** Packets for the tests of this folder, and a slow second opinion about them that shares no code with what is tested. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { GSO_ECN, GsoType, NetHeader, NetHeaderFlag } from './net-header.js';

/** Flags of TCP. RFC 9293, 3.1 */
const FIN = 0x01;
const PSH = 0x08;
const CWR = 0x80;

export interface PacketPlan {
  /** VLAN tags: none, one or two. */
  readonly tags: readonly number[];
  readonly version: 4 | 6;
  readonly tcp: boolean;
  /** Words of IPv4 options, or extension headers of IPv6 by kind and further units of eight bytes. */
  readonly optionWords: number;
  readonly extensions: readonly { readonly kind: number; readonly units: number }[];
  /** TCP: words of options, flags with the three reserved bits, sequence number. */
  readonly tcpOptionWords: number;
  readonly flags: number;
  readonly sequence: number;
  readonly id: number;
  /** Bytes that addresses, ports and options are taken from. */
  readonly salt: Uint8Array;
  readonly payload: Uint8Array;
  /** IP says that it does not know how long the packet is. */
  readonly lengthUnsaid: boolean;
}

export interface Packet {
  readonly frame: Buffer;
  readonly l3: number;
  readonly l4: number;
  readonly headerBytes: number;
  readonly checksumOffset: number;
}

export const plans = (payloadMax: number): fc.Arbitrary<PacketPlan> =>
  fc.record({
    tags: fc.array(fc.integer({ min: 0, max: 0xffff }), { maxLength: 2 }),
    version: fc.constantFrom<4 | 6>(4, 6),
    tcp: fc.boolean(),
    optionWords: fc.oneof(fc.constant(0), fc.integer({ min: 0, max: 10 })),
    extensions: fc.array(fc.record({ kind: fc.constantFrom(0, 43, 60), units: fc.integer({ min: 0, max: 2 }) }), {
      maxLength: 4,
    }),
    tcpOptionWords: fc.constantFrom(0, 3, 10),
    flags: fc.integer({ min: 0, max: 0xfff }),
    sequence: fc.oneof(fc.integer({ min: 0, max: 2 ** 32 - 1 }), fc.constantFrom(2 ** 32 - 1, 2 ** 31 - 1, 0)),
    id: fc.oneof(fc.integer({ min: 0, max: 0xffff }), fc.constant(0xffff)),
    salt: fc.uint8Array({ minLength: 64, maxLength: 64 }),
    payload: fc.oneof(
      fc.uint8Array({ minLength: 1, maxLength: payloadMax, size: 'max' }),
      // Sums of all ones and of nothing are where checksums go wrong.
      fc.integer({ min: 1, max: payloadMax }).map((length) => new Uint8Array(length).fill(0xff)),
      fc.integer({ min: 1, max: payloadMax }).map((length) => new Uint8Array(length)),
    ),
    lengthUnsaid: fc.boolean(),
  });

const be16 = (value: number) => [(value >>> 8) & 0xff, value & 0xff];
const be32 = (value: number) => [...be16(Math.floor(value / 65536)), ...be16(value % 65536)];

/** A frame with the sum of the pseudo-header where its checksum goes, as a driver with NEEDS_CSUM leaves it. */
export function buildPacket(plan: PacketPlan): Packet {
  let salt = 0;
  const some = (count: number) => Array.from({ length: count }, () => plan.salt[salt++ % plan.salt.length]!);
  const protocol = plan.tcp ? 6 : 17;
  const l4Bytes = (plan.tcp ? 20 + plan.tcpOptionWords * 4 : 8) + plan.payload.length;
  const ethernet = [...some(12), ...plan.tags.flatMap((tag) => [0x81, 0x00, ...be16(tag)])];
  let ip: number[];
  let addresses: number[];
  if (plan.version === 4) {
    ethernet.push(0x08, 0x00);
    addresses = some(8);
    const headerBytes = 20 + plan.optionWords * 4;
    const total = plan.lengthUnsaid ? 0 : headerBytes + l4Bytes;
    ip = [0x40 | (headerBytes / 4), 0x02, ...be16(total), ...be16(plan.id), 0x40, 0, 64, protocol, 0, 0, ...addresses];
    ip.push(...some(plan.optionWords * 4));
    const sum = 65535 - slowSum(ip);
    ip[10] = sum >>> 8;
    ip[11] = sum & 0xff;
  } else {
    ethernet.push(0x86, 0xdd);
    addresses = some(32);
    const kinds = [...plan.extensions.map(({ kind }) => kind), protocol];
    const extensions = plan.extensions.flatMap(({ units }, i) => [kinds[i + 1]!, units, ...some(6 + 8 * units)]);
    const payload = plan.lengthUnsaid ? 0 : extensions.length + l4Bytes;
    ip = [0x60, 0x21, 0x12, 0x34, ...be16(payload), kinds[0]!, 64, ...addresses, ...extensions];
  }
  const pseudo = be16(slowSum([...addresses, 0, protocol, ...be32(l4Bytes)]));
  const l4 = plan.tcp
    ? [
        ...[...some(4), ...be32(plan.sequence), ...some(4)],
        ...[...be16(((5 + plan.tcpOptionWords) << 12) | plan.flags), ...some(2), ...pseudo, ...some(2)],
        ...some(plan.tcpOptionWords * 4),
      ]
    : [...some(4), ...be16(l4Bytes), ...pseudo];
  const head = [...ethernet, ...ip, ...l4];
  return {
    frame: Buffer.concat([Uint8Array.from(head), plan.payload]),
    l3: ethernet.length,
    l4: ethernet.length + ip.length,
    headerBytes: head.length,
    checksumOffset: plan.tcp ? 16 : 6,
  };
}

/** The ones' complement sum, as the remainder that it is; 65535 for what is not nothing and comes to zero. */
export function slowSum(bytes: ArrayLike<number>): number {
  let sum = 0n;
  for (let i = 0; i < bytes.length; i++) sum += BigInt(bytes[i]!) << (i % 2 === 0 ? 8n : 0n);
  return sum === 0n ? 0 : Number(((sum - 1n) % 65535n) + 1n);
}

/** Takes a finished frame apart and asserts that lengths and checksums are right. `plan` says which headers it has. */
export function dissect(frame: Buffer, plan: PacketPlan) {
  const l3 = 14 + 4 * plan.tags.length;
  let l4: number;
  let addresses: Buffer;
  let id = 0;
  if (plan.version === 4) {
    l4 = l3 + 20 + plan.optionWords * 4;
    addresses = frame.subarray(l3 + 12, l3 + 20);
    assert.equal(frame.readUInt16BE(l3 + 2), frame.length - l3, 'total length');
    assert.equal(slowSum(frame.subarray(l3, l4)), 65535, 'checksum of IPv4');
    id = frame.readUInt16BE(l3 + 4);
  } else {
    l4 = l3 + 40 + plan.extensions.reduce((bytes, { units }) => bytes + 8 + 8 * units, 0);
    addresses = frame.subarray(l3 + 8, l3 + 40);
    assert.equal(frame.readUInt16BE(l3 + 4), frame.length - l3 - 40, 'payload length');
  }
  const above = frame.subarray(l4);
  const pseudo = [...addresses, 0, plan.tcp ? 6 : 17, ...be32(above.length)];
  assert.equal(slowSum([...pseudo, ...above]), 65535, 'checksum of TCP or UDP');
  if (!plan.tcp) {
    assert.equal(above.readUInt16BE(4), above.length, 'length of UDP');
    assert.notEqual(above.readUInt16BE(6), 0, 'UDP says that there is a checksum');
  }
  const headerBytes = l4 + (plan.tcp ? 20 + plan.tcpOptionWords * 4 : 8);
  return {
    id,
    sequence: plan.tcp ? above.readUInt32BE(4) : 0,
    flags: plan.tcp ? above.readUInt16BE(12) & 0xfff : 0,
    headerBytes,
    payload: frame.subarray(headerBytes),
  };
}

/** What a driver says of a packet that is to be cut up, or only summed if `gsoSize` is zero. */
export function offloadHeader(plan: PacketPlan, packet: Packet, gsoSize: number): NetHeader {
  const header = new NetHeader();
  header.flags = NetHeaderFlag.NEEDS_CSUM;
  header.csumStart = packet.l4;
  header.csumOffset = packet.checksumOffset;
  if (gsoSize === 0) return header;
  header.gsoType = !plan.tcp ? GsoType.UDP_L4 : plan.version === 4 ? GsoType.TCPV4 : GsoType.TCPV6;
  if (plan.tcp && (plan.flags & CWR) !== 0) header.gsoType |= GSO_ECN;
  header.gsoSize = gsoSize;
  return header;
}

/** Each segment must be what a packet with this part of the data is, built anew, and `dissect` must find its sums right. */
export function expectSegments(plan: PacketPlan, packet: Packet, gsoSize: number, segments: Buffer[]): void {
  const count = Math.ceil(plan.payload.length / gsoSize);
  assert.equal(segments.length, count);
  for (const [i, segment] of segments.entries()) {
    const first = i === 0;
    const last = i === count - 1;
    const payload = plan.payload.subarray(i * gsoSize, (i + 1) * gsoSize);
    let flags = plan.flags;
    if (!last) flags &= ~(FIN | PSH);
    if (!first) flags &= ~CWR;
    const id = (plan.id + i) % 65536;
    const sequence = (plan.sequence + i * gsoSize) % 2 ** 32;
    const own = dissect(segment, plan);
    assert.deepEqual(
      { id: own.id, flags: own.flags, sequence: own.sequence, headerBytes: own.headerBytes },
      {
        id: plan.version === 4 ? id : 0,
        flags: plan.tcp ? flags : 0,
        sequence: plan.tcp ? sequence : 0,
        headerBytes: packet.headerBytes,
      },
    );
    assert.ok(own.payload.equals(payload));
    // All else is as in a packet that was made like this from the start, but for the checksum that is not in it yet.
    const alone = buildPacket({ ...plan, payload, flags, id, sequence, lengthUnsaid: false }).frame;
    const at = packet.l4 + packet.checksumOffset;
    assert.ok(segment.subarray(0, at).equals(alone.subarray(0, at)));
    assert.ok(segment.subarray(at + 2).equals(alone.subarray(at + 2)));
  }
}

describe('the packets of these tests', () => {
  it('add up as in the example of RFC 1071', () => {
    assert.equal(slowSum([0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), 0xddf2);
  });

  it('add up as in the IPv4 header that is everywhere', () => {
    // Wikipedia, "Internet checksum": the checksum of this header is b861.
    const header = Buffer.from('45000073000040004011b861c0a80001c0a800c7', 'hex');
    assert.equal(slowSum(header), 65535);
  });
});
