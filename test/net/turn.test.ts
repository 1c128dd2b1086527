/** What one guest can have done in its turn: the others wait for no more than that. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { NET_FEATURES } from '../../src/net/features.js';
import { GsoType, NetHeaderFlag } from '../../src/net/net-header.js';
import { RING_FEATURES } from '../../src/virtio/features.js';
import { BROADCAST, makeFrame } from '../support/frames.js';
import { type Guest, headerBytes, withRig } from '../support/net-rig.js';

/** Drivers that take no large packets. */
const PLAIN = NET_FEATURES.MRG_RXBUF | RING_FEATURES.VERSION_1;
const FRAMES = 32;
const SEGMENT_BYTES = 128;
const HEADERS_BYTES = 14 + 20 + 20;

/** A TCP packet with so much payload that asks to be cut up, and the network header that asks for it. */
function largePacket(from: Guest, to: Buffer, payloadBytes: number, gsoSize: number): [Buffer, Buffer] {
  const frame = Buffer.alloc(HEADERS_BYTES + payloadBytes, 7);
  to.copy(frame, 0);
  from.mac.copy(frame, 6);
  frame.writeUInt16BE(0x0800, 12);
  frame.fill(0, 14, HEADERS_BYTES);
  frame[14] = 0x45;
  frame.writeUInt16BE(frame.length - 14, 16);
  frame[23] = 6;
  frame[14 + 20 + 12] = 0x50;
  const header = headerBytes({
    FLAGS: NetHeaderFlag.NEEDS_CSUM,
    GSO_TYPE: GsoType.TCPV4,
    HDR_LEN: HEADERS_BYTES,
    GSO_SIZE: gsoSize,
    CSUM_START: 34,
    CSUM_OFFSET: 16,
  });
  return [frame, header];
}

for (const layout of ['split', 'packed'] as const) {
  describe(`a turn of a guest that sends, ${layout}`, () => {
    it('ends when what was sent has become many frames', () =>
      withRig((rig) => {
        const sender = rig.guest({ layout });
        const receiver = rig.guest({ features: PLAIN, buffers: 256 });
        receiver.send(makeFrame(BROADCAST, receiver.mac, 60, 0));
        rig.run();
        const segments = 200;
        for (let i = 0; i < FRAMES; i++) {
          const [frame, header] = largePacket(sender, receiver.mac, segments * SEGMENT_BYTES, SEGMENT_BYTES);
          sender.send(frame, { header });
        }
        rig.turn();
        assert.equal(receiver.count('SOFTWARE_OFFLOADS'), 2, 'two of them come to more than a turn');
        receiver.received();
        let turns = 1;
        for (; rig.turn() > 0; turns++) receiver.received();
        assert.equal(turns, FRAMES / 2);
        assert.equal(receiver.count('SOFTWARE_OFFLOADS'), FRAMES);
        assert.equal(receiver.count('FRAMES_OUT') + receiver.count('DROPPED_NO_BUFFER'), FRAMES * segments);
        sender.reclaim();
      }));

    it('ends when many have got what it sends to all', () =>
      withRig((rig) => {
        const sender = rig.guest({ layout });
        const receivers = Array.from({ length: 20 }, () => rig.guest({ buffers: 64 }));
        const sent = Array.from({ length: FRAMES }, (_, i) => makeFrame(BROADCAST, sender.mac, 600, i));
        for (const frame of sent) sender.send(frame);
        const [first] = receivers as [Guest];
        rig.turn();
        const { length } = first.frames();
        assert.ok(length > 4 && length < 16, `${length} frames in one turn`);
        assert.equal(sender.count('FRAMES_IN'), length);
        rig.run();
        for (const receiver of receivers) assert.equal(receiver.count('FRAMES_OUT'), FRAMES);
        assert.deepEqual(first.frames(), sent.slice(length));
        sender.reclaim();
      }));

    it('ends when it has sent many bytes', () =>
      withRig((rig) => {
        const sender = rig.guest({ layout });
        const receiver = rig.guest({ buffers: 32, bufferBytes: 2 ** 15 });
        receiver.send(makeFrame(BROADCAST, receiver.mac, 60, 0));
        rig.run();
        const sent = Array.from({ length: 24 }, (_, i) => makeFrame(receiver.mac, sender.mac, 30_000, i));
        for (const frame of sent) sender.send(frame);
        rig.turn();
        assert.equal(sender.count('FRAMES_IN'), 18, 'as many as come to 512 KiB');
        rig.run();
        assert.deepEqual(receiver.frames(), sent);
        sender.reclaim();
      }));
  });
}

describe('a packet that is to be cut into very small pieces', () => {
  it('is dropped if it is TCP', () =>
    withRig((rig) => {
      const sender = rig.guest();
      const receiver = rig.guest({ features: PLAIN });
      for (const gsoSize of [1, 47]) {
        const [frame, header] = largePacket(sender, receiver.mac, 512, gsoSize);
        sender.send(frame, { header });
      }
      const [frame, header] = largePacket(sender, receiver.mac, 480, 48);
      sender.send(frame, { header });
      rig.run();
      assert.deepEqual(sender.drops, { DROPPED_OFFLOAD: 2 });
      assert.equal(receiver.frames().length, 10);
    }));
});
