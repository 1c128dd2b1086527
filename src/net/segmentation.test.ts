import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { check } from '../../test/support/seed.js';
import { GsoType, type NetHeader } from './net-header.js';
import { OffloadFault } from './offload-check.js';
import { buildPacket, dissect, expectSegments, offloadHeader, type PacketPlan, plans } from './packets.test.js';
import { SEGMENT_NO_ROOM, Segmenter } from './segmentation.js';

/** Cuts a packet up, with a guard around each segment. */
function cut(segmenter: Segmenter, frame: Buffer, header: NetHeader): Buffer[] {
  assert.equal(segmenter.start(frame, frame.length, header), 0);
  const segments: Buffer[] = [];
  for (;;) {
    const into = Buffer.alloc(frame.length + 20, 0xa5);
    const byteLength = segmenter.next(into, 10);
    assert.ok(into.subarray(0, 10).every((byte) => byte === 0xa5));
    assert.ok(into.subarray(10 + byteLength).every((byte) => byte === 0xa5));
    if (byteLength === 0) return segments;
    segments.push(into.subarray(10, 10 + byteLength));
  }
}

const example = (more: Partial<PacketPlan> = {}): PacketPlan => ({
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
  payload: Uint8Array.from({ length: 4000 }, (_, i) => i * 7),
  lengthUnsaid: false,
  ...more,
});

describe('segments', () => {
  it('are those that the sender would have made itself', () => {
    const segmenter = new Segmenter();
    check(
      fc.property(plans(6000), fc.integer({ min: 48, max: 3000 }), (plan, gsoSize) => {
        const packet = buildPacket(plan);
        const header = offloadHeader(plan, packet, gsoSize);
        expectSegments(plan, packet, gsoSize, cut(segmenter, packet.frame, header));
        assert.equal(header.hdrLen, packet.headerBytes);
      }),
      1500,
    );
  });

  it('come from the largest packets too', () => {
    const segmenter = new Segmenter();
    for (const version of [4, 6] as const) {
      for (const tcp of [true, false]) {
        const room = 65535 - (version === 4 ? 20 : 0) - (tcp ? 32 : 8);
        const payload = Uint8Array.from({ length: room }, (_, i) => (i * i) >>> 3);
        const plan = example({ version, tcp, payload, tags: [0x2005, 9], id: 0xfff0, sequence: 2 ** 32 - 5000 });
        const packet = buildPacket(plan);
        expectSegments(plan, packet, 1448, cut(segmenter, packet.frame, offloadHeader(plan, packet, 1448)));
      }
    }
  });

  it('carry the end of the data last, and the answer to congestion first', () => {
    const plan = example({ flags: 0x1ff });
    const packet = buildPacket(plan);
    const segments = cut(new Segmenter(), packet.frame, offloadHeader(plan, packet, 1448));
    assert.deepEqual(
      segments.map((segment) => dissect(segment, plan).flags),
      [0x1f6, 0x176, 0x17f],
    );
  });

  it('are one, finished, if the packet is small enough', () => {
    const plan = example({ flags: 0x099, payload: Uint8Array.of(1, 2, 3) });
    const packet = buildPacket(plan);
    const segments = cut(new Segmenter(), packet.frame, offloadHeader(plan, packet, 1448));
    assert.equal(segments.length, 1);
    assert.equal(dissect(segments[0]!, plan).flags, 0x099);
  });

  it('keep the sum that the driver began with, which may be about an address behind a routing header', () => {
    const plan = example({ version: 6, extensions: [{ kind: 43, units: 2 }] });
    const packet = buildPacket(plan);
    const at = packet.l4 + packet.checksumOffset;
    packet.frame.writeUInt16BE((packet.frame.readUInt16BE(at) + 5) % 65535, at);
    for (const segment of cut(new Segmenter(), packet.frame, offloadHeader(plan, packet, 1448))) {
      // As much as the destination that the packet shows is short of the true one.
      const word = segment.readUInt16BE(packet.l3 + 38);
      segment.writeUInt16BE((word + 5) % 65535, packet.l3 + 38);
      dissect(segment, plan);
    }
  });
});

describe('a segmenter', () => {
  const plan = example();
  const packet = buildPacket(plan);

  it('waits for room', () => {
    const segmenter = new Segmenter();
    segmenter.start(packet.frame, packet.frame.length, offloadHeader(plan, packet, 4000));
    const into = Buffer.alloc(packet.frame.length + 3);
    assert.equal(segmenter.next(into, 4), SEGMENT_NO_ROOM);
    assert.ok(into.every((byte) => byte === 0));
    assert.equal(segmenter.next(into, 3), packet.frame.length);
    assert.equal(segmenter.next(into, 3), 0);
    assert.equal(segmenter.next(into, 0), 0);
  });

  it('has no segments before it has a frame, or of one that is wrong', () => {
    const segmenter = new Segmenter();
    const into = Buffer.alloc(9000);
    assert.equal(segmenter.next(into, 0), 0);
    const start = (change: (header: NetHeader) => void): number => {
      const header = offloadHeader(plan, packet, 1448);
      change(header);
      return segmenter.start(packet.frame, packet.frame.length, header);
    };
    assert.equal(
      start(() => {}),
      0,
    );
    assert.ok(segmenter.next(into, 0) > 0);
    const wrong: [number, (header: NetHeader) => void][] = [
      [OffloadFault.GSO_TYPE_UNKNOWN, (header) => (header.gsoType = GsoType.NONE)],
      [OffloadFault.GSO_TYPE_UNKNOWN, (header) => (header.gsoType = GsoType.UDP)],
      [OffloadFault.GSO_PACKET_DIFFERS, (header) => (header.gsoType = GsoType.TCPV6)],
      [OffloadFault.GSO_PACKET_DIFFERS, (header) => (header.gsoType = GsoType.UDP_L4)],
      [OffloadFault.GSO_SIZE_INVALID, (header) => (header.gsoSize = 0)],
      [OffloadFault.CHECKSUM_MISPLACED, (header) => (header.csumOffset = 6)],
    ];
    for (const [fault, change] of wrong) {
      assert.equal(start(change), fault);
      assert.equal(segmenter.next(into, 0), 0);
    }
  });

  it('makes sound segments, or none, of whatever bytes it is given', () => {
    const segmenter = new Segmenter();
    let started = 0;
    const flips = fc.array(fc.tuple(fc.nat(120), fc.nat(255)), { maxLength: 3 });
    check(
      fc.property(plans(600), fc.nat(0xffff), flips, fc.nat(700), (random, gsoSize, changes, length) => {
        const { frame, ...rest } = buildPacket(random);
        const header = offloadHeader(random, { frame, ...rest }, gsoSize);
        for (const [at, value] of changes) if (at < frame.length) frame[at] = value;
        const bytes = Math.min(frame.length, length + 300);
        const into = Buffer.alloc(1500);
        if (segmenter.start(frame, bytes, header) !== 0) return;
        started++;
        let payload = 0;
        let segments = 0;
        for (let got = segmenter.next(into, 0); got !== 0; got = segmenter.next(into, 0)) {
          assert.ok(got > header.hdrLen && got <= header.hdrLen + gsoSize);
          payload += got - header.hdrLen;
          segments++;
        }
        assert.equal(payload, bytes - header.hdrLen);
        assert.ok(segments <= 512);
      }),
      1500,
    );
    assert.ok(started > 100, `${started}`);
  });
});
