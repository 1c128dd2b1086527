import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { check } from '../../test/support/seed.js';
import {
  FRAME_BYTES_MAX,
  FRAME_HEADERS_BYTES_MAX,
  GSO_SEGMENTS_MAX,
  TCP_SEGMENT_BYTES_MIN,
  UDP_SEGMENTS_MAX,
} from '../limits.js';
import { LayoutFault } from './frame-layout.js';
import { GSO_ECN, GsoType, NetHeader, NetHeaderFlag } from './net-header.js';
import { checkOffload, OffloadFault } from './offload-check.js';
import { Offload } from './offloads.js';
import { buildPacket, type Packet, type PacketPlan, plans } from './packets.test.js';

const ALL = Offload.CSUM | Offload.TSO4 | Offload.TSO6 | Offload.ECN | Offload.USO4 | Offload.USO6;

const gsoTypeOf = (plan: PacketPlan) =>
  !plan.tcp ? GsoType.UDP_L4 : plan.version === 4 ? GsoType.TCPV4 : GsoType.TCPV6;

function headerFor(plan: PacketPlan, { l4, checksumOffset }: Packet, gsoSize: number): NetHeader {
  const header = new NetHeader();
  header.flags = NetHeaderFlag.NEEDS_CSUM;
  header.csumStart = l4;
  header.csumOffset = checksumOffset;
  if (gsoSize > 0) {
    header.gsoType = gsoTypeOf(plan);
    header.gsoSize = gsoSize;
  }
  return header;
}

const head = (frame: Buffer) => Buffer.from(frame.subarray(0, FRAME_HEADERS_BYTES_MAX));

const example: PacketPlan = {
  tags: [],
  version: 4,
  tcp: true,
  optionWords: 0,
  extensions: [],
  tcpOptionWords: 3,
  flags: 0x018,
  sequence: 1000,
  id: 7,
  salt: Uint8Array.from({ length: 64 }, (_, i) => i * 3 + 1),
  payload: new Uint8Array(4000),
  lengthUnsaid: false,
};

/** What is found in the example, with changes to plan, header and frame. */
function verdict(
  change: Partial<NetHeader>,
  options: {
    plan?: Partial<PacketPlan>;
    gsoSize?: number;
    negotiated?: number;
    frame?: (frame: Buffer, packet: Packet) => void;
    length?: number;
  } = {},
): number {
  const plan = { ...example, ...options.plan };
  const packet = buildPacket(plan);
  options.frame?.(packet.frame, packet);
  const header = Object.assign(headerFor(plan, packet, options.gsoSize ?? 1448), change);
  return checkOffload(header, head(packet.frame), options.length ?? packet.frame.length, options.negotiated ?? ALL);
}

describe('an offload header', () => {
  it('of any packet passes, and is left with the truth', () => {
    const lies = fc.record({ flags: fc.nat(255), hdrLen: fc.nat(20), numBuffers: fc.nat(0xffff) });
    check(
      fc.property(plans(3000), fc.boolean(), lies, (plan, cut, { flags, hdrLen, numBuffers }) => {
        const packet = buildPacket(plan);
        const { frame, l4, checksumOffset, headerBytes } = packet;
        const header = headerFor(plan, packet, cut ? 100 : 0);
        header.flags |= flags;
        header.hdrLen = hdrLen;
        header.numBuffers = numBuffers;
        if (!cut) header.gsoSize = 77;
        assert.equal(checkOffload(header, head(frame), frame.length, ALL), 0);
        assert.deepEqual(
          { ...header },
          {
            flags: NetHeaderFlag.NEEDS_CSUM,
            gsoType: cut ? gsoTypeOf(plan) : GsoType.NONE,
            gsoSize: cut ? 100 : 0,
            hdrLen: cut ? headerBytes : 0,
            csumStart: l4,
            csumOffset: checksumOffset,
            numBuffers: 0,
          },
        );
      }),
      1000,
    );
  });

  it('that asks for nothing passes, and says nothing', () => {
    const header = Object.assign(new NetHeader(), {
      flags: 0xfe,
      csumStart: 5,
      csumOffset: 6,
      gsoSize: 7,
      hdrLen: 60000,
    });
    assert.equal(checkOffload(header, Buffer.alloc(3), 3, 0), 0);
    assert.deepEqual(header, new NetHeader());
  });

  it('passes for what is inside a tunnel, or of a protocol that we do not know', () => {
    assert.equal(verdict({ csumStart: 84, csumOffset: 16 }, { gsoSize: 0, plan: { tcp: false } }), 0);
    const dccp = (frame: Buffer, { l3 }: Packet) => void (frame[l3 + 9] = 33);
    assert.equal(verdict({ csumOffset: 6 }, { gsoSize: 0, frame: dccp }), 0);
    const other = (frame: Buffer) => void frame.writeUInt16BE(0x88b5, 12);
    assert.equal(verdict({ csumStart: 14, csumOffset: 0 }, { gsoSize: 0, frame: other }), 0);
    const laterFragment = (frame: Buffer, { l3 }: Packet) => void frame.writeUInt16BE(8, l3 + 6);
    assert.equal(verdict({ csumStart: 36, csumOffset: 0 }, { gsoSize: 0, frame: laterFragment }), 0);
    const icmp = (frame: Buffer, { l3 }: Packet) => void (frame[l3 + 9] = 1);
    assert.equal(verdict({ csumOffset: 2 }, { gsoSize: 0, frame: icmp }), 0);
  });

  it('never has the sum go over what a frame is judged by', () => {
    const misplaced = (fields: Partial<NetHeader>, more: Parameters<typeof verdict>[1]) => {
      const text = JSON.stringify(fields);
      assert.equal(verdict(fields, { gsoSize: 0, ...more }), OffloadFault.CHECKSUM_MISPLACED, text);
    };
    // Ports, numbers and flags, whichever way the place is written.
    for (let at = 1; at < 19; at++) misplaced({ csumStart: 34 + at, csumOffset: 0 }, {});
    for (let at = 1; at < 19; at++) misplaced({ csumStart: 35, csumOffset: at - 1 }, {});
    assert.equal(verdict({ csumStart: 35, csumOffset: 19 }, { gsoSize: 0 }), 0);
    for (let at = 1; at < 8; at++) misplaced({ csumStart: 34 + at, csumOffset: 0 }, { plan: { tcp: false } });
    for (let at = 1; at < 20; at++) misplaced({ csumStart: 54 + at, csumOffset: 0 }, { plan: { version: 6 } });
    const protocol =
      (number: number) =>
      (frame: Buffer, { l3 }: Packet) =>
        void (frame[l3 + 9] = number);
    for (const number of [33, 132, 136]) {
      for (let at = 0; at < 4; at++) misplaced({ csumStart: 34 + at, csumOffset: 0 }, { frame: protocol(number) });
      for (let at = 0; at < 4; at++) misplaced({ csumStart: 34, csumOffset: at }, { frame: protocol(number) });
    }
    // Of ICMP all is judged: types, identifiers, what neighbours say.
    for (const number of [1, 58])
      for (const at of [0, 1, 3, 4, 8, 16, 24]) {
        misplaced({ csumStart: 34, csumOffset: at }, { frame: protocol(number) });
        misplaced({ csumStart: 35 + at, csumOffset: 0 }, { frame: protocol(number) });
      }
    const arp = (frame: Buffer) => void frame.writeUInt16BE(0x0806, 12);
    for (let at = 0; at < 28; at++) misplaced({ csumStart: 14 + at, csumOffset: 0 }, { frame: arp });
    // Where there are more tags than are looked through, the switch may take one away.
    const tagged = (frame: Buffer) => {
      for (const at of [12, 16, 20]) frame.writeUInt16BE(0x88a8, at);
    };
    for (let at = 22; at < 80; at++) misplaced({ csumStart: at, csumOffset: 0 }, { frame: tagged });
  });

  it('may ask for what was negotiated only', () => {
    const all: [number, Partial<PacketPlan>, number][] = [
      [Offload.TSO4, {}, GsoType.TCPV4],
      [Offload.TSO6, { version: 6 }, GsoType.TCPV6],
      [Offload.USO4 | Offload.USO6, { tcp: false }, GsoType.UDP_L4],
      [Offload.USO4 | Offload.USO6, { tcp: false, version: 6 }, GsoType.UDP_L4],
      [Offload.TSO4 | Offload.ECN, {}, GsoType.TCPV4 | GSO_ECN],
    ];
    for (const [bits, plan, gsoType] of all) {
      assert.equal(verdict({ gsoType }, { plan, negotiated: Offload.CSUM | bits }), 0);
      for (const bit of [...Object.values(Offload)].filter((bit) => ((bits | Offload.CSUM) & bit) !== 0)) {
        assert.equal(verdict({ gsoType }, { plan, negotiated: ALL & ~bit }), OffloadFault.NOT_NEGOTIATED);
      }
    }
    assert.equal(verdict({}, { gsoSize: 0, negotiated: 0 }), OffloadFault.NOT_NEGOTIATED);
    for (const gsoType of [2, GsoType.UDP, 6, 0x21, 0x41, GSO_ECN, GSO_ECN | GsoType.UDP_L4, 255]) {
      assert.equal(verdict({ gsoType }), OffloadFault.GSO_TYPE_UNKNOWN, `${gsoType}`);
    }
  });

  it('must put the sum behind the addresses and into the frame', () => {
    const length = buildPacket(example).frame.length;
    for (const [csumStart, csumOffset] of [
      [0, 0],
      [0, 34 + 16],
      [13, 0],
      [33, 17],
      [length, 0],
      [length - 1, 0],
      [34, length - 34 - 1],
      [65535, 65535],
      // 34 + 65518 + 2 is 18 in 16 bits.
      [34, 65518],
      [65535, 3],
    ] as const) {
      for (const gsoSize of [0, 1448]) {
        assert.equal(verdict({ csumStart, csumOffset }, { gsoSize }), OffloadFault.CHECKSUM_OUTSIDE);
      }
    }
    assert.equal(verdict({ csumStart: length - 2, csumOffset: 0 }, { gsoSize: 0 }), 0);
    assert.equal(verdict({ csumStart: length - 2, csumOffset: 0 }), OffloadFault.CHECKSUM_MISPLACED);
    assert.equal(verdict({ csumOffset: 6 }, { gsoSize: 0 }), OffloadFault.CHECKSUM_MISPLACED);
    assert.equal(verdict({ csumOffset: 16 }, { gsoSize: 0, plan: { tcp: false } }), OffloadFault.CHECKSUM_MISPLACED);
    assert.equal(verdict({ csumStart: 18 }, { gsoSize: 0, plan: { tags: [5] } }), OffloadFault.CHECKSUM_OUTSIDE);
  });

  it('leaves room for a tag where it says where the sum begins', () => {
    const frame = Buffer.alloc(FRAME_BYTES_MAX);
    frame.writeUInt16BE(0x88b5, 12);
    const check = (csumStart: number) => {
      const header = new NetHeader();
      Object.assign(header, { flags: NetHeaderFlag.NEEDS_CSUM, csumStart, csumOffset: 3 });
      return checkOffload(header, frame, frame.length, -1);
    };
    assert.equal(check(0xffff - 4), 0);
    for (const csumStart of [0xfffc, 0xfffd, 0xffff]) assert.equal(check(csumStart), OffloadFault.CHECKSUM_OUTSIDE);
  });

  it('must be about a packet of its kind', () => {
    const differs = OffloadFault.GSO_PACKET_DIFFERS;
    assert.equal(verdict({ gsoType: GsoType.TCPV6 }), differs);
    assert.equal(verdict({ gsoType: GsoType.TCPV4 }, { plan: { version: 6 } }), differs);
    assert.equal(verdict({ gsoType: GsoType.UDP_L4 }), differs);
    assert.equal(verdict({ gsoType: GsoType.TCPV4 }, { plan: { tcp: false } }), differs);
    const fragment = (frame: Buffer, { l3 }: Packet) => void (frame[l3 + 6] = 0x20);
    assert.equal(verdict({}, { frame: fragment }), differs);
    assert.equal(verdict({}, { frame: fragment, gsoSize: 0 }), 0);
    const other = (frame: Buffer) => void frame.writeUInt16BE(0x88b5, 12);
    assert.equal(verdict({}, { frame: other }), differs);
    const shortTcp = (frame: Buffer, { l4 }: Packet) => void (frame[l4 + 12] = 0x40);
    assert.equal(verdict({}, { frame: shortTcp }), LayoutFault.HEADER_INVALID);
    assert.equal(verdict({ flags: 0 }), OffloadFault.GSO_WITHOUT_CHECKSUM);
  });

  it('must say sizes that make sense', () => {
    const invalid = OffloadFault.GSO_LENGTH_INVALID;
    const bytes = buildPacket(example).frame.length;
    assert.equal(verdict({ gsoSize: 0 }), OffloadFault.GSO_SIZE_INVALID);
    assert.equal(verdict({ hdrLen: bytes }), 0);
    assert.equal(verdict({ hdrLen: bytes + 1 }), OffloadFault.HEADER_LENGTH_OUTSIDE);
    assert.equal(verdict({}, { plan: { payload: new Uint8Array(0) } }), invalid);
    assert.equal(verdict({}, { plan: { payload: new Uint8Array(1) } }), 0);
    // What IP says and what is there.
    assert.equal(verdict({}, { length: bytes - 1 }), invalid);
    assert.equal(verdict({}, { length: bytes + 1 }), invalid);
    assert.equal(verdict({}, { length: bytes - 1, plan: { lengthUnsaid: true } }), 0);
    assert.equal(verdict({}, { length: 14 + 65535, plan: { lengthUnsaid: true } }), 0);
    assert.equal(verdict({}, { length: 14 + 65536, plan: { lengthUnsaid: true } }), invalid);
    const version6: Partial<PacketPlan> = { version: 6, lengthUnsaid: true };
    assert.equal(verdict({}, { length: 14 + 40 + 65535, plan: version6 }), 0);
    assert.equal(verdict({}, { length: 14 + 40 + 65536, plan: version6 }), invalid);
    const many = (extra: number) => ({ plan: { payload: new Uint8Array(48 * GSO_SEGMENTS_MAX + extra) } });
    assert.equal(verdict({ gsoSize: 48 }, many(0)), 0);
    assert.equal(verdict({ gsoSize: 48 }, many(1)), invalid);
  });

  it('must not ask for smaller segments of TCP than anybody needs, nor for more datagrams', () => {
    const options = 4 * example.tcpOptionWords;
    const invalid = OffloadFault.GSO_SIZE_INVALID;
    assert.equal(verdict({ gsoSize: TCP_SEGMENT_BYTES_MIN - options }), 0);
    assert.equal(verdict({ gsoSize: TCP_SEGMENT_BYTES_MIN - options - 1 }), invalid);
    const bare = { plan: { tcpOptionWords: 0 } };
    assert.equal(verdict({ gsoSize: TCP_SEGMENT_BYTES_MIN }, bare), 0);
    assert.equal(verdict({ gsoSize: TCP_SEGMENT_BYTES_MIN - 1 }, bare), invalid);
    const datagrams = (bytes: number) => ({ plan: { tcp: false, payload: new Uint8Array(bytes) }, gsoSize: 20 });
    assert.equal(verdict({}, datagrams(20 * UDP_SEGMENTS_MAX)), 0);
    assert.equal(verdict({}, datagrams(20 * UDP_SEGMENTS_MAX + 1)), OffloadFault.GSO_LENGTH_INVALID);
  });

  it('is not believed about headers that are not there', () => {
    // The class of CVE-2024-11614: a sum that begins behind what was received.
    for (let length = 0; length < 66; length++) {
      assert.notEqual(verdict({ hdrLen: 0 }, { length, plan: { lengthUnsaid: true } }), 0, `${length}`);
    }
    assert.equal(verdict({}, { length: 53, plan: { lengthUnsaid: true } }), LayoutFault.TRUNCATED);
    const longTcp = (frame: Buffer, { l4 }: Packet) => void (frame[l4 + 12] = 0xf0);
    const plan = { payload: new Uint8Array(20), tcpOptionWords: 0 };
    assert.equal(verdict({ hdrLen: 54 }, { plan, frame: longTcp }), OffloadFault.GSO_LENGTH_INVALID);
    const extensions = Array.from({ length: 7 }, () => ({ kind: 60, units: 3 }));
    assert.equal(verdict({}, { plan: { version: 6, extensions } }), LayoutFault.HEADERS_EXCEEDED);
    const six = [...extensions.slice(0, 5), { kind: 0, units: 2 }];
    assert.equal(
      verdict({}, { plan: { version: 6, extensions: six, tcpOptionWords: 4 } }),
      LayoutFault.HEADERS_EXCEEDED,
    );
    assert.equal(verdict({}, { plan: { version: 6, extensions: six.slice(1), tcpOptionWords: 4 } }), 0);
  });

  it('that passes is safe to act upon, whatever header and frame are', () => {
    let passed = 0;
    const number = fc.oneof(fc.nat(0xffff), fc.nat(100), fc.constantFrom(6, 16, 34, 54, 1448, 65535));
    const headers = fc.record({
      flags: fc.constantFrom(1, 1, 0, 3, 255),
      gsoType: fc.oneof(fc.constantFrom<number>(...Object.values(GsoType), 0x81, 0x84), fc.nat(255)),
      hdrLen: number,
      gsoSize: number,
      csumStart: number,
      csumOffset: number,
    });
    const flips = fc.array(fc.tuple(fc.nat(140), fc.nat(255)), { maxLength: 4 });
    check(
      fc.property(plans(400), headers, fc.subarray(Object.keys(new NetHeader())), flips, fc.nat(70_000), (...all) => {
        const [plan, wild, which, changes, anyLength] = all;
        const packet = buildPacket(plan);
        const { frame } = packet;
        const header = headerFor(plan, packet, 300);
        for (const key of which) if (key in wild) Object.assign(header, { [key]: wild[key as keyof typeof wild] });
        for (const [at, value] of changes) if (at < frame.length) frame[at] = value;
        const length = anyLength % 3 === 0 ? anyLength : frame.length;
        const whole = Buffer.alloc(Math.max(length, 256));
        frame.copy(whole, 0, 0, length);
        const twin = new NetHeader();
        twin.copyFrom(header);
        const result = checkOffload(header, whole, length, ALL);
        // The first bytes are enough, however many there are.
        assert.equal(checkOffload(twin, head(whole), length, ALL), result);
        if (result !== 0 || header.flags === 0) return;
        passed++;
        assert.deepEqual(twin, header);
        assert.equal(header.flags, NetHeaderFlag.NEEDS_CSUM);
        assert.ok(header.csumStart >= 14 && header.csumStart + header.csumOffset + 2 <= length);
        if (header.gsoType === GsoType.NONE) return;
        assert.ok(header.gsoSize > 0 && header.hdrLen < length && header.hdrLen <= FRAME_HEADERS_BYTES_MAX);
        assert.ok(header.csumStart + header.csumOffset + 2 <= header.hdrLen);
        assert.ok((length - header.hdrLen) / header.gsoSize <= GSO_SEGMENTS_MAX);
      }),
      3000,
    );
    assert.ok(passed > 100, `${passed}`);
  });
});
