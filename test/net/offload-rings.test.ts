/**
 * Checksums and segmentation that a sender leaves to others, from its ring to its receivers': who takes them gets the frame as it
 * is, who does not gets frames that are finished, right by a slow second opinion.
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import type { FilterFrame, NextFrame } from '../../src/filter/frame-contract.js';
import { FRAME_BYTES_MAX } from '../../src/limits.js';
import { NET_FEATURES, OFFLOAD_FEATURES } from '../../src/net/features.js';
import { GSO_ECN, GsoType, NetHeader, NetHeaderFlag } from '../../src/net/net-header.js';
import { buildPacket, expectSegments, offloadHeader, type PacketPlan, plans } from '../../src/net/packets.test.js';
import { accessPort } from '../../src/net/vlan.js';
import { RING_FEATURES } from '../../src/virtio/features.js';
import { frameFilter, type TestFrameFilter } from '../support/frame-filters.js';
import { BROADCAST, expectSame, macOf, makeFrame, withTag } from '../support/frames.js';
import { type Guest, headerBytes, type NetRig, withRig } from '../support/net-rig.js';
import { check } from '../support/seed.js';

const PLAIN = RING_FEATURES.VERSION_1 | RING_FEATURES.INDIRECT_DESC | NET_FEATURES.MRG_RXBUF;
const ALL = PLAIN | OFFLOAD_FEATURES;
const ROOM = { buffers: 70 };

/** The plan of a packet between two guests; an outer tag is one that a trunk carries. */
function between(plan: PacketPlan, to: Uint8Array, from: Uint8Array): PacketPlan {
  const [outer, ...inner] = plan.tags;
  const id = Math.min(Math.max(1, (outer ?? 0) & 0xfff), 4094);
  const tags = outer === undefined ? [] : [(outer & 0xf000) | id, ...inner];
  return { ...plan, tags, salt: Uint8Array.from([...to, ...from, ...plan.salt.subarray(12)]) };
}

const bytesOf = ({ numBuffers: _, ...fields }: NetHeader): Buffer => {
  const { flags, gsoType, hdrLen, gsoSize, csumStart, csumOffset } = fields;
  return headerBytes({
    FLAGS: flags,
    GSO_TYPE: gsoType,
    HDR_LEN: hdrLen,
    GSO_SIZE: gsoSize,
    CSUM_START: csumStart,
    CSUM_OFFSET: csumOffset,
  });
};

/** The one frame that came is the packet as it was sent, behind a header that says what is left to do. */
function expectWhole(to: Guest, plan: PacketPlan, gsoSize: number): void {
  const packet = buildPacket(plan);
  const received = to.received();
  expectSame(
    received.map(({ frame }) => frame),
    [packet.frame],
  );
  const { header, written } = received[0]!;
  const expected = offloadHeader(plan, packet, gsoSize);
  if (gsoSize > 0) expected.hdrLen = packet.headerBytes;
  expected.numBuffers = written.length;
  assert.deepEqual(header, expected);
}

/** What came are finished frames that need nothing, and together are the packet. */
function expectFinished(to: Guest, plan: PacketPlan, gsoSize: number): void {
  const received = to.received();
  const plain = new NetHeader();
  for (const { header, written } of received) {
    plain.numBuffers = written.length;
    assert.deepEqual(header, plain);
  }
  const frames = received.map(({ frame }) => frame);
  expectSegments(plan, buildPacket(plan), gsoSize === 0 ? plan.payload.length : gsoSize, frames);
}

const example = (to: Uint8Array, from: Uint8Array, more: Partial<PacketPlan> = {}): PacketPlan =>
  between(
    {
      tags: [],
      version: 4,
      tcp: true,
      optionWords: 0,
      extensions: [],
      tcpOptionWords: 3,
      flags: 0x018,
      sequence: 2 ** 32 - 1000,
      id: 0xfffe,
      salt: Uint8Array.from({ length: 64 }, (_, i) => i * 3 + 1),
      payload: Uint8Array.from({ length: 4000 }, (_, i) => i * 7),
      lengthUnsaid: false,
      ...more,
    },
    to,
    from,
  );

function send(rig: NetRig, from: Guest, plan: PacketPlan, gsoSize: number, cuts: readonly number[] = [], skew = 0) {
  const packet = buildPacket(plan);
  const header = bytesOf(offloadHeader(plan, packet, gsoSize));
  from.send(packet.frame, { header, cuts, skew });
  rig.run();
  from.reclaim();
}

/** Keeps each frame until its next turn. */
function keepAWhile(): TestFrameFilter {
  return frameFilter(
    ({ goOn }) => {
      const tokens: number[] = [];
      const keep = (frame: FilterFrame) => tokens.push(frame.defer());
      const tick = () => {
        for (const token of tokens.splice(0)) goOn(token);
      };
      return { outbound: keep, inbound: keep, tick };
    },
    { defers: true },
  );
}

function countFrames(count: () => void): TestFrameFilter {
  const pass = (frame: FilterFrame, next: NextFrame) => {
    count();
    next(frame);
  };
  return frameFilter({ outbound: pass, inbound: pass });
}

describe('offloads between rings', () => {
  it('are kept whoever receives: any packet, to all at once or to one', () => {
    const pieces = fc.record({ cuts: fc.array(fc.nat(120), { maxLength: 6 }), skew: fc.nat(3) });
    const cutAt = fc.oneof({ weight: 1, arbitrary: fc.constant(0) }, { weight: 3, arbitrary: fc.nat(2000) });
    for (const [kind, filtered] of [
      ['split', false],
      ['packed', false],
      ['split', true],
    ] as const) {
      withRig((rig) => {
        // Filters look at a packet once, whoever cuts it up, and may keep it meanwhile.
        let seen = 0;
        const filters = filtered ? [countFrames(() => seen++), keepAWhile()] : [];
        const sender = rig.guest({ layout: kind, features: ALL, filters });
        const able = rig.guest({ layout: kind, features: ALL, ...ROOM, filters: filtered ? [keepAWhile()] : [] });
        const ableSmall = rig.guest({ layout: kind, features: ALL, buffers: 128, bufferBytes: 200, gapBytes: 3 });
        const unableFilters = filtered ? [countFrames(() => seen++)] : [];
        const unable = rig.guest({ layout: kind, features: PLAIN, buffers: 150, filters: unableFilters });
        const unableSmall = rig.guest({ layout: kind, features: PLAIN, buffers: 250, bufferBytes: 300, gapBytes: 1 });
        check(
          fc.property(plans(6000), cutAt, pieces, fc.nat(4), (any, size, { cuts, skew }, which) => {
            // Neither too many segments, nor more than the receivers have buffers for.
            const gsoSize = size === 0 ? 0 : Math.max(size, 80, Math.ceil(any.payload.length / 50));
            const sum = { ...any, lengthUnsaid: gsoSize > 0 && any.lengthUnsaid };
            const to = which === 0 ? BROADCAST : macOf(which);
            const plan = between(sum, to, sender.mac);
            // All are known in the packet's VLAN.
            for (const guest of [able, ableSmall, unable, unableSmall]) {
              const hello = makeFrame(sender.mac, guest.mac, 60, 0);
              guest.send(plan.tags.length === 0 ? hello : withTag(hello, plan.tags[0]!));
            }
            rig.run();
            for (const guest of rig.guests) {
              guest.received();
              guest.reclaim();
            }
            seen = 0;
            send(rig, sender, plan, gsoSize, cuts, skew);
            if (filtered) assert.equal(seen, which === 0 || rig.guests[which] === unable ? 2 : 1);
            const receivers = which === 0 ? [able, ableSmall, unable, unableSmall] : [rig.guests[which]!];
            for (const guest of receivers) {
              if (guest === able || guest === ableSmall) expectWhole(guest, plan, gsoSize);
              else expectFinished(guest, plan, gsoSize);
            }
            for (const guest of rig.guests) assert.equal(guest.received().length, 0);
          }),
          150,
        );
        const clean = { DROPPED_NO_BUFFER: 0, DROPPED_OFFLOAD: 0, DROPPED_MALFORMED: 0 };
        for (const guest of rig.guests)
          for (const name of Object.keys(clean)) assert.equal(guest.count(name as keyof typeof clean), 0, name);
        assert.ok(unable.count('SOFTWARE_OFFLOADS') > 0 && unableSmall.count('SOFTWARE_OFFLOADS') > 0);
        assert.equal(able.count('SOFTWARE_OFFLOADS'), 0);
      });
    }
  });

  it('are left to a receiver as far as it has said that it does them', () => {
    const { GUEST_CSUM, GUEST_TSO4, GUEST_TSO6, GUEST_ECN, GUEST_USO4, GUEST_USO6 } = NET_FEATURES;
    const kinds = [
      { name: 'checksum', needs: GUEST_CSUM, plan: {}, gsoSize: 0 },
      { name: 'TSO4', needs: GUEST_CSUM | GUEST_TSO4, plan: {}, gsoSize: 1448 },
      { name: 'TSO6', needs: GUEST_CSUM | GUEST_TSO6, plan: { version: 6 as const }, gsoSize: 1448 },
      { name: 'TSO4, ECN', needs: GUEST_CSUM | GUEST_TSO4 | GUEST_ECN, plan: { flags: 0x098 }, gsoSize: 1000 },
      { name: 'USO', needs: GUEST_CSUM | GUEST_USO4 | GUEST_USO6, plan: { tcp: false }, gsoSize: 1200 },
      {
        name: 'USO6',
        needs: GUEST_CSUM | GUEST_USO4 | GUEST_USO6,
        plan: { tcp: false, version: 6 as const },
        gsoSize: 1200,
      },
    ];
    const bits = [GUEST_CSUM, GUEST_TSO4, GUEST_TSO6, GUEST_ECN, GUEST_USO4, GUEST_USO6];
    withRig((rig) => {
      const sender = rig.guest({ features: ALL });
      for (let choice = 0; choice < 2 ** bits.length; choice++) {
        const taken = bits.reduce((mask, bit, i) => mask | ((choice >>> i) & 1 ? bit : 0n), 0n);
        const to = rig.guest({ features: PLAIN | taken, ...ROOM });
        for (const { needs, plan: more, gsoSize } of kinds) {
          const plan = example(to.mac, sender.mac, more);
          send(rig, sender, plan, gsoSize);
          if ((taken & needs) === needs) expectWhole(to, plan, gsoSize);
          else expectFinished(to, plan, gsoSize);
        }
        for (const guest of rig.guests) if (guest !== to) guest.received();
      }
    });
  });

  it('move with the tag that is put into a frame or taken out of it', () => {
    for (const { version, tcp } of [
      { version: 4, tcp: true },
      { version: 6, tcp: true },
      { version: 4, tcp: false },
    ] as const) {
      for (const gsoSize of [0, 1000]) {
        withRig((rig) => {
          const inside = rig.guest({ features: ALL, vlans: accessPort(77), ...ROOM });
          const trunk = rig.guest({ features: ALL, ...ROOM });
          const plainTrunk = rig.guest({ features: PLAIN, ...ROOM });
          const plainInside = rig.guest({ features: PLAIN, vlans: accessPort(77), ...ROOM });
          const other = rig.guest({ features: ALL, vlans: accessPort(78), ...ROOM });
          const untagged = example(BROADCAST, inside.mac, { version, tcp });
          send(rig, inside, untagged, gsoSize);
          const tagged = { ...untagged, tags: [77] };
          expectWhole(trunk, tagged, gsoSize);
          expectFinished(plainTrunk, tagged, gsoSize);
          expectFinished(plainInside, untagged, gsoSize);
          const back = example(BROADCAST, trunk.mac, { version, tcp, tags: [0x5000 | 77] });
          send(rig, trunk, back, gsoSize);
          expectWhole(inside, { ...back, tags: [] }, gsoSize);
          expectFinished(plainInside, { ...back, tags: [] }, gsoSize);
          expectFinished(plainTrunk, back, gsoSize);
          assert.deepEqual(other.received(), []);
        });
      }
    }
  });

  it('of the largest packets are kept, with a tag more than they came with', () => {
    withRig((rig) => {
      const sender = rig.guest({ features: ALL, vlans: accessPort(5) });
      const trunk = rig.guest({ features: PLAIN, buffers: 200 });
      const able = rig.guest({ features: ALL, buffers: 64 });
      const room = 65535 - 20 - 32;
      const plan = example(BROADCAST, sender.mac, { payload: Uint8Array.from({ length: room }, (_, i) => i % 251) });
      send(rig, sender, plan, 1448);
      expectFinished(trunk, { ...plan, tags: [5] }, 1448);
      expectWhole(able, { ...plan, tags: [5] }, 1448);
      // A checksum over the longest frame that there is. It is no IP packet, which could not be as long.
      const longest = Buffer.alloc(FRAME_BYTES_MAX, 1);
      BROADCAST.copy(longest, 0);
      sender.mac.copy(longest, 6);
      longest.writeUInt16BE(0x88b5, 12);
      const header = headerBytes({ FLAGS: NetHeaderFlag.NEEDS_CSUM, CSUM_START: 14, CSUM_OFFSET: 0 });
      sender.send(longest, { header });
      rig.run();
      const summed = Buffer.from(longest);
      // 65543 bytes from there on: 0x0101 in each of 32771 words, and 0x0100.
      const sum = 32_771 * 0x0101 + 0x0100;
      const folded = (sum & 0xffff) + Math.floor(sum / 65_536);
      summed.writeUInt16BE(~((folded & 0xffff) + (folded >>> 16)) & 0xffff, 14);
      expectSame(trunk.frames(), [withTag(summed, 5)]);
      expectSame(able.frames(), [withTag(longest, 5)]);
    });
  });

  it('that were not negotiated, or make no sense, are dropped and counted', () =>
    withRig((rig) => {
      const plain = rig.guest({ features: PLAIN });
      const sender = rig.guest({ features: ALL });
      const to = rig.guest({ features: ALL, ...ROOM });
      const plan = example(to.mac, plain.mac);
      const fields = (gsoSize: number) => offloadHeader(plan, buildPacket(plan), gsoSize);
      for (const gsoSize of [0, 1448]) send(rig, plain, plan, gsoSize);
      assert.deepEqual(plain.drops, { DROPPED_OFFLOAD: 2 });
      let dropped = 0;
      const wrong: Partial<NetHeader>[] = [
        { csumStart: 0 },
        { csumStart: 33 },
        { csumStart: 0xffff },
        { csumOffset: 0xffff },
        { csumOffset: 6 },
        { csumStart: buildPacket(plan).frame.length - 1 },
        { hdrLen: 0xffff },
        { gsoSize: 0 },
        { gsoSize: 1 },
        { gsoType: GsoType.UDP },
        { gsoType: GsoType.TCPV6 },
        { gsoType: GsoType.UDP_L4 },
        { gsoType: GsoType.UDP_L4 | GSO_ECN },
        { gsoType: 0x7f },
        { gsoType: 0xff },
        { flags: 0 },
        { flags: 0xfe },
      ];
      for (const change of wrong) {
        sender.send(buildPacket(plan).frame, { header: bytesOf(Object.assign(fields(1448), change)) });
        dropped++;
        rig.run();
        assert.deepEqual(sender.drops, { DROPPED_OFFLOAD: dropped }, JSON.stringify(change));
      }
      // Every kind of segmentation there could be: of a TCP packet of IPv4 two are meaningful, and none at all.
      for (let gsoType = 0; gsoType < 256; gsoType++) {
        const meaningful = [GsoType.NONE, GsoType.TCPV4, GsoType.TCPV4 | GSO_ECN].includes(gsoType);
        sender.send(buildPacket(plan).frame, { header: bytesOf(Object.assign(fields(1448), { gsoType })) });
        rig.run();
        sender.reclaim();
        if (!meaningful) dropped++;
        assert.deepEqual(sender.drops, { DROPPED_OFFLOAD: dropped }, `${gsoType}`);
        assert.equal(to.received().length, meaningful ? 1 : 0);
      }
      // The next one passes.
      send(rig, sender, plan, 1448);
      expectWhole(to, plan, 1448);
      sender.reclaim();
    }));

  it('flags of which we know nothing do not reach the receiver', () =>
    withRig((rig) => {
      const sender = rig.guest({ features: ALL });
      const to = rig.guest({ features: ALL });
      const plan = example(to.mac, sender.mac, { payload: new Uint8Array(100) });
      const { frame } = buildPacket(plan);
      const junk = { HDR_LEN: 9, GSO_SIZE: 8, CSUM_START: 7, CSUM_OFFSET: 6, NUM_BUFFERS: 0xffff };
      sender.send(frame, { header: headerBytes({ FLAGS: 0xfe, ...junk }) });
      rig.run();
      const [received] = to.received();
      assert.deepEqual(received!.header, Object.assign(new NetHeader(), { numBuffers: 1 }));
      assert.ok(received!.frame.equals(frame));
      sender.send(frame, {
        header: headerBytes({ ...junk, FLAGS: 0xff, CSUM_START: 34, CSUM_OFFSET: 16 }),
      });
      rig.run();
      expectWhole(to, plan, 0);
    }));
});
