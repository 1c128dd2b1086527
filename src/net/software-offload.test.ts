import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { check } from '../../test/support/seed.js';
import { TestPort } from '../../test/support/test-port.js';
import { Frame } from './frame.js';
import { GsoType, NetHeader } from './net-header.js';
import { checkOffload } from './offload-check.js';
import { buildPacket, expectSegments, offloadHeader, type PacketPlan, plans } from './packets.test.js';
import { PortCounter } from './port.js';
import { SoftwareOffload } from './software-offload.js';
import { StagingMemory } from './staging-memory.js';

const ALL = -1;
const memory = new StagingMemory();

/** A frame with a header that was checked, as the switch hands it on. */
function checkedFrame(plan: PacketPlan, gsoSize: number): Frame {
  const packet = buildPacket(plan);
  packet.frame.copy(memory.buffer);
  const frame = new Frame();
  frame.header.copyFrom(offloadHeader(plan, packet, gsoSize));
  assert.equal(checkOffload(frame.header, packet.frame, packet.frame.length, ALL), 0);
  memory.describe(0, packet.frame.length, frame);
  frame.pair = 3;
  frame.vlan = 9;
  return frame;
}

describe('offloads in software', () => {
  it('finish a frame for a port that does nothing itself', () => {
    const offload = new SoftwareOffload();
    const port = new TestPort(0);
    const cutAt = fc.oneof(fc.constant(0), fc.integer({ min: 48, max: 3000 }));
    let count = 0;
    check(
      fc.property(plans(6000), cutAt, (plan, gsoSize) => {
        const said = { ...plan, lengthUnsaid: gsoSize > 0 && plan.lengthUnsaid };
        const frame = checkedFrame(said, gsoSize);
        const before = new NetHeader();
        before.copyFrom(frame.header);
        offload.deliver(frame, port);
        const size = gsoSize === 0 ? plan.payload.length : gsoSize;
        const delivered = port.take();
        expectSegments(
          said,
          buildPacket(said),
          size,
          delivered.map(({ bytes }) => bytes),
        );
        for (const { header, pair, vlan } of delivered) {
          assert.deepEqual(header, new NetHeader());
          assert.deepEqual([pair, vlan], [3, 9]);
        }
        assert.deepEqual(frame.header, before, 'the next receiver has its header as it was');
        assert.equal(port.counters[PortCounter.SOFTWARE_OFFLOADS], ++count);
      }),
      500,
    );
    assert.equal(port.counters[PortCounter.DROPPED_OFFLOAD], 0);
  });

  it('cut up what has got a tag since it was checked, however long its headers are', () => {
    const offload = new SoftwareOffload();
    const port = new TestPort(0);
    const base: PacketPlan = {
      tags: [],
      version: 6,
      tcp: true,
      optionWords: 0,
      extensions: [],
      tcpOptionWords: 1,
      flags: 0x10,
      sequence: 1,
      id: 0,
      salt: Uint8Array.from({ length: 64 }, (_, i) => i),
      payload: Uint8Array.from({ length: 3000 }, (_, i) => i),
      lengthUnsaid: false,
    };
    // 254 bytes of headers, of 256 that are looked at; and as many tags as are looked through, the first a provider's.
    for (const plan of [
      { ...base, extensions: [{ kind: 60, units: 21 }] },
      { ...base, tags: [7, 8] },
    ]) {
      const packet = buildPacket(plan);
      if (plan.tags.length > 0) packet.frame.writeUInt16BE(0x88a8, 12);
      packet.frame.copy(memory.buffer);
      const frame = new Frame();
      memory.describe(0, packet.frame.length, frame);
      frame.header.copyFrom(offloadHeader(plan, packet, 1000));
      assert.equal(checkOffload(frame.header, packet.frame, packet.frame.length, ALL), 0);
      frame.leaveAs(5);
      offload.deliver(frame, port);
      const delivered = port.frames();
      assert.equal(port.counters[PortCounter.DROPPED_OFFLOAD], 0);
      assert.equal(delivered.length, 3);
      for (const bytes of delivered) assert.equal(bytes.readUInt32BE(12), 0x8100_0005);
      const payload = Buffer.concat(delivered.map((bytes) => bytes.subarray(packet.headerBytes + 4)));
      assert.ok(payload.equals(plan.payload));
    }
  });

  it('drop a frame whose sum has no place in it', () => {
    const offload = new SoftwareOffload();
    const port = new TestPort(0);
    const frame = new Frame();
    const wrong = [
      [-3, 3],
      [58, 1],
      [60, 0],
      [0xffff, 0xffff],
    ] as const;
    for (const [i, [csumStart, csumOffset]] of wrong.entries()) {
      memory.describe(0, 60, frame);
      Object.assign(frame.header, { flags: 1, gsoType: GsoType.NONE, csumStart, csumOffset });
      offload.deliver(frame, port);
      assert.deepEqual(port.take(), []);
      assert.equal(port.counters[PortCounter.DROPPED_OFFLOAD], i + 1);
    }
  });

  it('drop a frame that its sender has changed since it was checked', () => {
    const offload = new SoftwareOffload();
    const port = new TestPort(0);
    const change = fc.record({ at: fc.nat(80), value: fc.nat(255) });
    let dropped = 0;
    check(
      fc.property(plans(2000), fc.array(change, { minLength: 1, maxLength: 6 }), fc.boolean(), (plan, changes, cut) => {
        const frame = checkedFrame(plan, cut ? 500 : 0);
        for (const { at, value } of changes) if (at >= 16) memory.buffer[at] = value;
        const before = port.counters[PortCounter.DROPPED_OFFLOAD]!;
        offload.deliver(frame, port);
        const delivered = port.take();
        if (port.counters[PortCounter.DROPPED_OFFLOAD] === before) {
          assert.ok(delivered.length > 0);
          for (const { bytes, header } of delivered) {
            assert.ok(bytes.length <= frame.byteLength);
            assert.equal(header.gsoType, GsoType.NONE);
          }
        } else {
          dropped++;
          assert.deepEqual(delivered, []);
        }
      }),
      1000,
    );
    assert.ok(dropped > 20, `${dropped} were dropped`);
  });
});
