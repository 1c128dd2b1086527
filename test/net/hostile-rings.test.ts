/**
 * Guests whose rings, headers, frames or receive buffers are none: each is counted where it belongs, and the traffic of their
 * neighbours is unharmed.
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { CHAIN_SEGMENTS_MAX } from '../../src/limits.js';
import { NET_FEATURES, NET_HEADER_BYTES, OFFLOAD_FEATURES } from '../../src/net/features.js';
import { Chain } from '../../src/virtio/chain.js';
import { Pop } from '../../src/virtio/virtqueue.js';
import { BROADCAST, expectSame, makeFrame } from '../support/frames.js';
import { type Guest, RECEIVE_AREA, SEND_AREA } from '../support/net-rig.js';
import { SEED, seeded } from '../support/seed.js';
import { anything, PLAIN, withNeighbours } from './neighbours.js';

const LAYOUTS = ['split', 'packed'] as const;
const HOLE = 0x80_0000;

for (const layout of LAYOUTS) {
  describe(`hostile guests with network cards, ${layout}`, { timeout: 240_000 }, () => {
    it('chains of very many descriptors are frames like others', () =>
      withNeighbours((rig, neighbours) => {
        const guest = rig.guest({ layout, ringSize: 512, features: PLAIN | OFFLOAD_FEATURES });
        const [to] = neighbours.macs;
        for (const [count, length] of [
          [200, 1500],
          [200, 214],
          [CHAIN_SEGMENTS_MAX - 1, 9000],
        ] as const) {
          const frame = makeFrame(to, guest.mac, length, count);
          const each = Math.floor((NET_HEADER_BYTES + length) / count);
          guest.send(frame, { cuts: Array(count - 1).fill(each) });
          rig.run();
          guest.reclaim();
          expectSame(rig.guests[0]!.frames(), [frame]);
        }
        assert.deepEqual(guest.drops, {});
        // One more than a chain may have.
        guest.send(makeFrame(to, guest.mac, 1500, 1), { cuts: Array(CHAIN_SEGMENTS_MAX).fill(2) });
        rig.run();
        assert.equal(guest.tx.state.fault, Pop.SEGMENTS_EXCEEDED);
        neighbours.talk();
      }));

    it('chains that mix directions', () =>
      withNeighbours((rig, neighbours) => {
        const guest = rig.guest({ layout });
        const [to] = neighbours.macs;
        const bytes = Buffer.concat([Buffer.alloc(NET_HEADER_BYTES), makeFrame(to, guest.mac, 60, 1)]);
        guest.memory.write(SEND_AREA.guestAddress, bytes);
        const readable = { address: SEND_AREA.guestAddress, length: bytes.length };
        const writable = { address: SEND_AREA.guestAddress + 4096, length: 512, writable: true };
        // What may be written is left alone; what may only be written is no frame.
        guest.sendChain([readable, writable]);
        guest.sendChain([writable]);
        rig.run();
        guest.reclaim();
        expectSame(rig.guests[0]!.frames(), [bytes.subarray(NET_HEADER_BYTES)]);
        assert.deepEqual(guest.drops, { DROPPED_MALFORMED: 1 });
        assert.ok(guest.memory.read(writable.address, 512).every((byte) => byte === 0));
        guest.sendChain([writable, readable]);
        rig.run();
        assert.equal(guest.tx.state.fault, Pop.DIRECTION_INVALID);
        assert.ok(guest.tx.queue.closed);
        neighbours.talk();
      }));

    it('frames before a broken chain are sent, and none after it', () =>
      withNeighbours((rig, neighbours) => {
        for (const before of [0, 1, 5, 40]) {
          const guest = rig.guest({ layout });
          const [to] = neighbours.macs;
          const frames = Array.from({ length: before }, (_, i) => makeFrame(to, guest.mac, 60, i));
          for (const frame of frames) guest.send(frame);
          guest.sendChain([{ address: HOLE, length: 100 }]);
          for (let i = 0; i < 5; i++) guest.send(makeFrame(to, guest.mac, 60, 100 + i));
          rig.run();
          assert.equal(guest.tx.state.fault, Pop.ADDRESS_INVALID);
          expectSame(rig.guests[0]!.frames(), frames);
          assert.equal(guest.count('FRAMES_IN'), before);
          neighbours.talk();
        }
      }));

    it('receive buffers that hold nothing, or not a frame', () =>
      withNeighbours((rig, neighbours) => {
        const at = (offset: number, length: number, writable = true) => ({
          address: RECEIVE_AREA.guestAddress + offset,
          length,
          writable,
        });
        const useless = [
          [at(0, 0)],
          [at(0, 1)],
          [at(0, 11)],
          [at(0, NET_HEADER_BYTES)],
          [at(0, 71)],
          [at(0, 4096, false)],
          [at(0, 100, false), at(200, 3)],
          Array.from({ length: 100 }, (_, i) => at(i, 0)),
        ];
        for (const features of [PLAIN, PLAIN & ~NET_FEATURES.MRG_RXBUF]) {
          for (const buffer of useless) {
            for (const count of [1, 100]) {
              const guest = rig.guest({ layout, features, buffers: 0, ringSize: 16_384 });
              for (let i = 0; i < count; i++) guest.offer(buffer);
              const sent = 3;
              for (let i = 0; i < sent; i++) rig.guests[0]!.send(makeFrame(guest.mac, rig.guests[0]!.mac, 60, i));
              rig.run();
              rig.guests[0]!.reclaim();
              const bytes = buffer.reduce((sum, { length, writable }) => sum + (writable ? length : 0), 0);
              const mergeable = (features & NET_FEATURES.MRG_RXBUF) !== 0n;
              const perFrame =
                mergeable && bytes > 0 ? Math.ceil((NET_HEADER_BYTES + 60) / bytes) : Number.POSITIVE_INFINITY;
              // Those that come to enough together are used.
              const fit = perFrame > 64 ? 0 : Math.min(sent, Math.floor(count / perFrame));
              const dropped = sent - fit;
              assert.deepEqual(guest.drops, dropped === 0 ? {} : { DROPPED_NO_BUFFER: dropped });
              assert.equal(guest.count('FRAMES_OUT'), fit);
              assert.equal(guest.rx.state.fault, 0);
              neighbours.talk();
            }
          }
        }
      }));

    it('receive buffers that take long to look at are not looked at for every frame', () =>
      withNeighbours((rig, neighbours) => {
        const empty = { address: RECEIVE_AREA.guestAddress, length: 0, writable: true };
        const little = { ...empty, length: 2 };
        const most = CHAIN_SEGMENTS_MAX - 1;
        for (const last of [empty, little]) {
          const guest = rig.guest({ layout, features: PLAIN, buffers: 0, ringSize: 16_384 });
          for (let i = 0; i < 60; i++) guest.offer([...Array(most).fill(empty), last]);
          const { ring } = guest.rx.queue;
          const pop = ring.pop.bind(ring);
          let descriptors = 0;
          ring.pop = (chain) => {
            const head = pop(chain);
            if (head >= 0) descriptors += most + 1;
            return head;
          };
          const [sender] = rig.guests as [Guest];
          for (let i = 0; i < 100; i++) sender.send(makeFrame(guest.mac, sender.mac, 60, i));
          rig.run();
          sender.reclaim();
          assert.deepEqual(guest.drops, { DROPPED_NO_BUFFER: 100 });
          assert.ok(descriptors < 1000, `${descriptors} descriptors were read`);
          neighbours.talk();
          // What it had taken is there again when another thread comes, or its front end stops the ring.
          const base = ring.base;
          guest.rx.queue.close();
          assert.notEqual(ring.base, base);
          guest.rx.takeOver();
          assert.ok(guest.rx.queue.ring.pop(new Chain()) >= 0);
        }
      }));

    it('a receive ring that is broken takes no more frames, not even those behind the fault', () =>
      withNeighbours((rig) => {
        for (const good of [0, 3]) {
          for (const broken of [
            [{ address: HOLE, length: 2048, writable: true }],
            [
              { address: RECEIVE_AREA.guestAddress, length: 2048, writable: true },
              { address: RECEIVE_AREA.guestAddress, length: 1 },
            ],
          ]) {
            const guest = rig.guest({ layout, buffers: good });
            guest.rx.driver.add(broken);
            const buffer = (i: number) => [
              { address: RECEIVE_AREA.guestAddress + 65_536 + 2048 * i, length: 2048, writable: true },
            ];
            for (let i = 0; i < 40; i++) guest.rx.driver.add(buffer(i));
            guest.rx.driver.publish();
            const sender = rig.guests[0]!;
            for (let i = 0; i < 20; i++) sender.send(makeFrame(guest.mac, sender.mac, 60, i));
            rig.run();
            sender.reclaim();
            assert.ok(guest.rx.queue.closed && guest.rx.state.fault < 0);
            assert.equal(guest.count('FRAMES_OUT'), good);
            assert.deepEqual(guest.drops, { DROPPED_NO_BUFFER: 1, DROPPED_NOT_READY: 19 - good });
            for (let i = 0; i < 40; i++)
              assert.ok(guest.memory.read(buffer(i)[0]!.address, 2048).every((byte) => byte === 0xee));
          }
        }
      }));

    it(`headers and frames of any kind (seed ${SEED})`, () =>
      withNeighbours((rig, neighbours) => {
        const guest = rig.guest({ layout, features: PLAIN | OFFLOAD_FEATURES, buffers: 50 });
        for (let round = 0; round < 250; round++) {
          seeded(round, (random) => {
            const count = 1 + random.below(20);
            for (let i = 0; i < count; i++) {
              const cuts = Array.from({ length: random.pick([0, 0, 1, 3]) }, () => random.below(60));
              guest.sendRaw(anything(random, neighbours, guest.mac), cuts, random.below(4));
            }
            rig.run();
            guest.reclaim();
            guest.received();
            neighbours.talk();
          });
        }
        // Each was passed on, or counted where it belongs.
        const { drops } = guest;
        assert.ok(drops.DROPPED_MALFORMED! > 0 && drops.DROPPED_OFFLOAD! > 0 && drops.DROPPED_SAME_PORT! > 0);
        assert.equal(guest.tx.state.fault, 0);
      }));

    it(`send rings without sense (seed ${SEED})`, () =>
      withNeighbours((rig, neighbours) => {
        const guest = rig.guest({ layout, features: PLAIN | OFFLOAD_FEATURES, buffers: 30, ringSize: 64 });
        const faults = new Set<number>();
        for (let round = 0; round < 300; round++) {
          seeded(round, (random) => {
            for (let at = 0; at < 64; at++)
              guest.memory.write(SEND_AREA.guestAddress + 4096 * at, anything(random, neighbours, guest.mac));
            guest.tx.driver.scribble(random, () => ({
              address: random.chance(0.9)
                ? SEND_AREA.guestAddress + 4096 * random.below(64) + random.pick([0, 0, 0, random.below(5000)])
                : random.pick([HOLE, 0, SEND_AREA.guestAddress + SEND_AREA.size - 30, 2 ** 40]),
              length: random.pick([0, 16, 72, 72, 112, 1526, random.below(4096), 80_000, 2 ** 31]),
            }));
            rig.run();
            faults.add(guest.tx.state.fault);
            guest.received();
            neighbours.talk();
            guest.tx.renew();
          });
        }
        assert.ok(faults.size > 4, `faults: ${[...faults]}`);
      }));

    it(`receive rings without sense (seed ${SEED})`, () =>
      withNeighbours((rig, neighbours) => {
        const guest = rig.guest({ layout, features: PLAIN, buffers: 0, ringSize: 64 });
        const faults = new Set<number>();
        for (let round = 0; round < 200; round++) {
          seeded(round, (random) => {
            guest.rx.driver.scribble(random, () => ({
              address: random.chance(0.95)
                ? RECEIVE_AREA.guestAddress + random.below(RECEIVE_AREA.size - 70_000)
                : random.pick([HOLE, 0, 2 ** 40]),
              length: random.pick([0, 1, 64, 2048, 2048, 65_536, 2 ** 31]),
              writable: true,
            }));
            const [a, b] = rig.guests as [Guest, Guest];
            for (let i = 0; i < 40; i++) {
              const to = random.pick([guest.mac, guest.mac, BROADCAST]);
              random.pick([a, b]).send(makeFrame(to, a.mac, random.pick([16, 60, 1514]), i));
            }
            rig.run();
            a.reclaim();
            b.reclaim();
            faults.add(guest.rx.state.fault);
            neighbours.talk();
            guest.rx.renew();
          });
        }
        assert.ok(faults.size > 4, `faults: ${[...faults]}`);
      }));
  });
}
