/** What is sent by one guest's ring arrives in another's, byte by byte, whatever its length and however it lies in memory. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { BATCH_BYTES_MAX, FRAME_BYTES_MAX, RX_BUFFERS_MAX } from '../../src/limits.js';
import { CONTROL_FEATURES, NET_FEATURES, NET_HEADER_BYTES } from '../../src/net/features.js';
import { NetHeader } from '../../src/net/net-header.js';
import { Chain } from '../../src/virtio/chain.js';
import { RING_FEATURES } from '../../src/virtio/features.js';
import { BROADCAST, expectSame, makeFrame } from '../support/frames.js';
import { type Guest, type NetRig, RECEIVE_AREA, withRig } from '../support/net-rig.js';
import { SEED, seeded } from '../support/seed.js';

const LAYOUTS = ['split', 'packed'] as const;
const FEATURES = RING_FEATURES.VERSION_1 | RING_FEATURES.INDIRECT_DESC | CONTROL_FEATURES;
const MERGEABLE = FEATURES | NET_FEATURES.MRG_RXBUF;

/** A header that asks for nothing, of a frame in so many buffers. */
const plainHeader = (numBuffers: number) => Object.assign(new NetHeader(), { numBuffers });

/** All guests have been heard of. */
function introduce(rig: NetRig): void {
  for (const guest of rig.guests) guest.send(makeFrame(BROADCAST, guest.mac, 60, 0));
  rig.run();
  for (const guest of rig.guests) {
    guest.received();
    guest.reclaim();
  }
}

/** Frames arrive as they were sent, and nothing else does. */
function expectFrames(rig: NetRig, to: Guest, sent: readonly Buffer[]): void {
  rig.run();
  const received = to.received();
  expectSame(
    received.map(({ frame }) => frame),
    sent,
  );
  for (const { header, written } of received) assert.deepEqual(header, plainHeader(written.length));
}

for (const layout of LAYOUTS) {
  describe(`rings of network cards, ${layout}`, () => {
    it('carry frames of every length, wherever they begin in memory', () =>
      withRig((rig) => {
        const a = rig.guest({ layout });
        const b = rig.guest({ layout });
        introduce(rig);
        for (let length = 14; length < 300; length++) {
          const sent = [0, 1, 2, 3].map((skew) => {
            const frame = makeFrame(b.mac, a.mac, length, length + skew);
            a.send(frame, { skew });
            return frame;
          });
          expectFrames(rig, b, sent);
          a.reclaim();
        }
        assert.deepEqual([a.drops, b.drops], [{}, {}]);
        assert.equal(a.count('FRAMES_IN'), b.count('FRAMES_OUT'));
        assert.equal(a.count('BYTES_IN'), b.count('BYTES_OUT'));
      }));

    it('carry the longest frame, and none that is longer', () =>
      withRig((rig) => {
        const a = rig.guest({ layout, features: MERGEABLE });
        const b = rig.guest({ layout, features: MERGEABLE, buffers: 44 });
        introduce(rig);
        for (const cuts of [[], [12], [12, 1000], [5, 30_000, 30_000]]) {
          const longest = makeFrame(b.mac, a.mac, FRAME_BYTES_MAX, 1);
          a.send(longest, { cuts });
          expectFrames(rig, b, [longest]);
          const before = a.count('DROPPED_MALFORMED');
          a.send(makeFrame(b.mac, a.mac, FRAME_BYTES_MAX + 1, 2), { cuts });
          a.send(makeFrame(b.mac, a.mac, 100_000, 3), { cuts });
          expectFrames(rig, b, []);
          assert.equal(a.count('DROPPED_MALFORMED') - before, 2, `cut at ${cuts}`);
        }
        a.reclaim();
      }));

    it('drop what is shorter than an Ethernet header', () =>
      withRig((rig) => {
        const a = rig.guest({ layout });
        const b = rig.guest({ layout });
        introduce(rig);
        const fine = makeFrame(b.mac, a.mac, 60, 1);
        let dropped = 0;
        for (let bytes = 0; bytes < NET_HEADER_BYTES + 14; bytes++) {
          for (const cuts of [[], [12], [1, 0, 3]]) {
            a.sendRaw(Buffer.alloc(bytes), cuts);
            a.send(fine);
            dropped++;
          }
          expectFrames(rig, b, [fine, fine, fine]);
          a.reclaim();
        }
        assert.deepEqual(a.drops, { DROPPED_MALFORMED: dropped });
      }));

    it(`carry frames in any pieces into buffers of any kind, in order (seed ${SEED})`, () => {
      for (let round = 0; round < 60; round++) {
        seeded(round, (random) =>
          withRig((rig) => {
            const mergeable = random.chance(0.7);
            const a = rig.guest({ layout });
            const bufferBytes = mergeable ? 64 + random.below(2000) : 2048;
            const buffers = 40 + random.below(60);
            const gapBytes = random.pick([0, 0, 1, 4, 7]);
            const b = rig.guest({ layout, features: mergeable ? MERGEABLE : FEATURES, buffers, bufferBytes, gapBytes });
            introduce(rig);
            for (let burst = 0; burst < 20; burst++) {
              const sent: Buffer[] = [];
              let room = buffers;
              for (let count = random.below(40); count > 0; count--) {
                const length = random.chance(0.7) ? 14 + random.below(90) : 14 + random.below(1501);
                const needed = Math.ceil((NET_HEADER_BYTES + length) / bufferBytes);
                if (needed > RX_BUFFERS_MAX || needed > room) break;
                room -= needed;
                const frame = makeFrame(b.mac, a.mac, length, random.below(1000));
                const cuts = Array.from({ length: random.pick([0, 0, 0, 1, 2, 5]) }, () => random.below(40));
                a.send(frame, { cuts, skew: random.below(4) });
                sent.push(frame);
              }
              rig.turn();
              a.reclaim(false);
              expectFrames(rig, b, sent);
              a.reclaim();
            }
            assert.deepEqual([a.drops, b.drops], [{}, {}]);
          }),
        );
      }
    });

    it('say how many buffers a frame is in, and use no more', () =>
      withRig((rig) => {
        const a = rig.guest({ layout });
        const b = rig.guest({ layout, features: MERGEABLE, buffers: 64, bufferBytes: 100 });
        introduce(rig);
        for (const [length, written] of [
          [88, [100]],
          [89, [100, 1]],
          [188, [100, 100]],
          [189, [100, 100, 1]],
          [1500, [...Array(15).fill(100), 12]],
        ] as const) {
          a.send(makeFrame(b.mac, a.mac, length, length));
          rig.run();
          assert.deepEqual(
            b.received().map((received) => [received.header.numBuffers, received.written]),
            [[written.length, written]],
          );
        }
      }));

    it('fill buffers of several descriptors, in tables or not, behind readable ones or not', () =>
      withRig((rig) => {
        const a = rig.guest({ layout });
        const b = rig.guest({ layout, features: FEATURES, buffers: 0 });
        const at = (offset: number, length: number, writable = true) => ({
          address: RECEIVE_AREA.guestAddress + offset,
          length,
          writable,
        });
        const shapes = [
          [at(0, 12), at(100, 2000)],
          [at(0, 3), at(100, 0), at(200, 20), at(301, 2000)],
          [at(50_000, 77, false), at(0, 2000)],
          [at(50_000, 0, false), at(0, 1), at(100, 2000)],
          // Across a window.
          [at(2 ** 18 - 20, 2000)],
        ];
        for (const shape of shapes) {
          b.offer(shape);
          const frame = makeFrame(b.mac, a.mac, 900, 5);
          a.send(frame);
          expectFrames(rig, b, [frame]);
        }
      }));

    it('drop frames for which there is no room, of that receiver only, and use the same buffers for the next', () =>
      withRig((rig) => {
        const a = rig.guest({ layout });
        const few = rig.guest({ layout, features: MERGEABLE, buffers: 3, bufferBytes: 128 });
        const c = rig.guest({ layout });
        introduce(rig);
        few.received();
        const long = makeFrame(BROADCAST, a.mac, 400, 1);
        const short = makeFrame(BROADCAST, a.mac, 300, 2);
        a.send(long);
        a.send(short);
        rig.run();
        expectSame(c.frames(), [long, short]);
        expectSame(few.frames(), [short]);
        assert.deepEqual(few.drops, { DROPPED_NO_BUFFER: 1 });
        assert.deepEqual([a.drops, c.drops], [{}, {}]);
        a.reclaim();
      }));

    it('keep what was too little for a long frame for the next ones, in its order', () =>
      withRig((rig) => {
        const a = rig.guest({ layout });
        const few = rig.guest({ layout, features: MERGEABLE, buffers: 5, bufferBytes: 100 });
        introduce(rig);
        for (let round = 0; round < 30; round++) {
          const sent = [900, 30, 900, 200, 900, 88].map((length, i) =>
            makeFrame(few.mac, a.mac, length, 10 * round + i),
          );
          for (const frame of sent) a.send(frame);
          expectFrames(rig, few, [sent[1]!, sent[3]!, sent[5]!]);
          // Until then there is room for all five.
          const whole = makeFrame(few.mac, a.mac, 488, round);
          a.send(whole);
          expectFrames(rig, few, [whole]);
          a.reclaim();
        }
        assert.deepEqual(few.drops, { DROPPED_NO_BUFFER: 90 });
      }));

    it('speak to drivers of before 1.0, whose header is two bytes shorter', () =>
      withRig((rig) => {
        const legacyBytes = NET_HEADER_BYTES - 2;
        const old = rig.guest({ layout, features: RING_FEATURES.INDIRECT_DESC, buffers: 0 });
        const modern = rig.guest({ layout });
        introduce(rig);
        for (let length = 14; length < 120; length++) {
          const there = makeFrame(modern.mac, old.mac, length, length);
          old.sendRaw(Buffer.concat([Buffer.alloc(legacyBytes), there]), [[], [10], [3, 9]][length % 3], length & 3);
          expectFrames(rig, modern, [there]);
          const buffer = { address: RECEIVE_AREA.guestAddress + (length & 3), length: 2000, writable: true };
          old.offer([buffer]);
          const back = makeFrame(old.mac, modern.mac, length, length);
          modern.send(back);
          rig.run();
          const used = old.rx.driver.take()!;
          assert.equal(used.written, legacyBytes + length);
          const bytes = old.memory.read(buffer.address, used.written);
          assert.ok(bytes.subarray(0, legacyBytes).every((byte) => byte === 0));
          expectSame([bytes.subarray(legacyBytes)], [back]);
          old.reclaim();
          modern.reclaim();
        }
        assert.deepEqual([old.drops, modern.drops], [{ DROPPED_NO_BUFFER: 1 }, {}]);
      }));

    it('lose frames, and no buffer, when another thread takes a receive ring over', () =>
      withRig((rig) => {
        const a = rig.guest({ layout });
        const b = rig.guest({ layout, features: MERGEABLE, buffers: 8, bufferBytes: 64 });
        introduce(rig);
        for (let round = 0; round < 40; round++) {
          // Taken and filled, and not published.
          a.send(makeFrame(b.mac, a.mac, 100, round));
          a.send(makeFrame(b.mac, a.mac, 30, round));
          a.tx.queue.serve(64, BATCH_BYTES_MAX);
          // And some that were too little for a frame.
          if (round % 2 === 0) a.send(makeFrame(b.mac, a.mac, 700, round));
          a.tx.queue.serve(64, BATCH_BYTES_MAX);
          b.rx.takeOver();
          b.wipe();
          const frame = makeFrame(b.mac, a.mac, 200, round);
          a.send(frame);
          rig.run();
          expectSame(b.frames(), [frame]);
          a.reclaim();
        }
        assert.deepEqual(b.drops, { DROPPED_NO_BUFFER: 20 });
      }));

    it('give back what was sent when another thread takes a send ring over', () =>
      withRig((rig) => {
        const a = rig.guest({ layout });
        const b = rig.guest({ layout });
        introduce(rig);
        for (let round = 0; round < 20; round++) {
          for (let i = 0; i < 5; i++) a.send(makeFrame(b.mac, a.mac, 60, i));
          // As if it had died while it forwarded them.
          for (let i = 0; i < 3; i++) assert.ok(a.tx.queue.ring.pop(new Chain()) >= 0);
          a.tx.takeOver();
          rig.run();
          a.reclaim();
          assert.equal(b.frames().length, 2, 'those that it had not taken arrive');
        }
      }));
  });
}
