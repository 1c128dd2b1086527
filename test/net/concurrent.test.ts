/** A guest that changes its frames and its rings, from another thread, while they are being forwarded. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { describe, it } from 'node:test';
import { Worker } from 'node:worker_threads';
import type { FilterFrame, NextFrame } from '../../src/filter/frame-contract.js';
import { NET_HEADER_BYTES, OFFLOAD_FEATURES } from '../../src/net/features.js';
import { accessPort } from '../../src/net/vlan.js';
import { frameFilter } from '../support/frame-filters.js';
import { macOf, makeFrame, withTag } from '../support/frames.js';
import { type Guest, headerBytes, NetRig, RECEIVE_AREA, RING_AREAS, SEND_AREA } from '../support/net-rig.js';
import { SEED, seeded } from '../support/seed.js';
import { anything, Neighbours, PLAIN } from './neighbours.js';
import type { ScribblerSetup } from './scribbler-thread.js';

const ROUNDS = 400;
/** Memory of one frame that is changed, and how many there are. */
const SLOT_BYTES = 4096;
const SLOTS = 64;

/** Runs `work` with a thread that writes meanwhile. */
async function whileScribbling(setup: Omit<ScribblerSetup, 'stop' | 'seed'>, work: () => void): Promise<void> {
  const stop = new SharedArrayBuffer(4);
  const workerData: ScribblerSetup = { ...setup, seed: SEED, stop };
  const thread = new Worker(new URL('./scribbler-thread.js', import.meta.url), { workerData });
  await once(thread, 'message');
  try {
    work();
  } finally {
    Atomics.store(new Int32Array(stop), 0, 1);
    await once(thread, 'exit');
  }
}

/** Where a guest's memory is in this process. */
const hostOf = (guest: Guest, address: number): number => guest.memory.pieces(address, 1)![0]!.host;

const slots = (guest: Guest) =>
  Array.from({ length: SLOTS }, (_, i) => ({
    address: hostOf(guest, SEND_AREA.guestAddress + i * SLOT_BYTES),
    byteLength: SLOT_BYTES,
  }));

/** Offers frames that lie in slots, in one piece or several. */
function offerSlots(guest: Guest, count: number, byteLength: number, cuts: readonly number[]): void {
  for (let i = 0; i < count; i++) {
    let at = SEND_AREA.guestAddress + (i % SLOTS) * SLOT_BYTES;
    const end = at + byteLength;
    guest.sendChain(
      [...cuts, byteLength].map((wanted) => {
        const length = Math.min(wanted, end - at);
        at += length;
        return { address: at - length, length };
      }),
    );
  }
}

for (const layout of ['split', 'packed'] as const) {
  describe(`a guest that writes while it is served, ${layout} (seed ${SEED})`, { timeout: 240_000 }, () => {
    it('decides by what was read where a frame goes, and that is what arrives', async () => {
      const rig = new NetRig();
      const red = [5, 6].map((vlan) => rig.guest({ vlans: accessPort(vlan), features: PLAIN, buffers: 200 }));
      const trunks = [0, 1].map(() => rig.guest({ features: PLAIN, buffers: 200 }));
      const receivers = [...red, ...trunks];
      for (const guest of receivers) guest.send(makeFrame(macOf(0xffff), guest.mac, 60, 0));
      for (const trunk of trunks)
        for (const vlan of [5, 6]) trunk.send(withTag(makeFrame(macOf(0xffff), trunk.mac, 60, 0), vlan));
      rig.run();
      for (const guest of receivers) guest.received();
      const hostile = rig.guest({ layout, features: PLAIN });
      const addresses = receivers.map(({ mac }) => ({ at: NET_HEADER_BYTES, bytes: mac }));
      const types = ['81000005', '81000006', '88b50005'].map((hex) => Buffer.from(hex, 'hex'));
      const writes = [...addresses, ...types.map((bytes) => ({ at: NET_HEADER_BYTES + 12, bytes }))];
      let arrived = 0;
      await whileScribbling({ places: slots(hostile), writes }, () =>
        seeded(0, (random) => {
          for (let round = 0; round < ROUNDS; round++) {
            for (let i = 0; i < SLOTS; i++) {
              const frame = withTag(makeFrame(macOf(1), hostile.mac, 100, 0), 5);
              const bytes = Buffer.concat([Buffer.alloc(NET_HEADER_BYTES), frame]);
              hostile.memory.write(SEND_AREA.guestAddress + i * SLOT_BYTES, bytes);
            }
            offerSlots(hostile, SLOTS, NET_HEADER_BYTES + 104, random.pick([[], [], [12], [14, 3, 1]]));
            rig.run();
            hostile.reclaim();
            for (const guest of receivers) {
              for (const { frame } of guest.received()) {
                arrived++;
                const other = receivers.find(({ mac }) => mac.equals(frame.subarray(0, 6)));
                const tag = frame.readUInt16BE(12) === 0x8100 ? frame.readUInt16BE(14) & 0xfff : undefined;
                // Nobody gets what is for another that is known in the same VLAN, by what arrives.
                const vlan = red.includes(guest) ? 5 + red.indexOf(guest) : (tag ?? 0);
                const known = other !== undefined && (trunks.includes(other) || 5 + red.indexOf(other) === vlan);
                assert.ok(other === guest || !known, `${frame.subarray(0, 18).toString('hex')} in VLAN ${vlan}`);
                assert.equal(frame.length, red.includes(guest) ? 100 : 104);
              }
            }
          }
        }),
      );
      assert.ok(arrived > ROUNDS, `${arrived} frames arrived`);
      rig.release();
    });

    for (const side of ['its own', 'the receiver’s'] as const)
      it(`gets nothing past ${side} filter that this has not seen`, async () => {
        const rig = new NetRig();
        // UDP to port 80 passes, and nothing else.
        const guard = (frame: FilterFrame, next: NextFrame) => {
          if (frame.protocol === 17 && frame.destinationPort === 80) next(frame);
        };
        const own = side === 'its own';
        const filters = [frameFilter(own ? { outbound: guard } : { inbound: guard })];
        const receiver = rig.guest({ features: PLAIN, buffers: 200, filters: own ? [] : filters });
        receiver.send(makeFrame(macOf(0xffff), receiver.mac, 60, 0));
        rig.run();
        receiver.received();
        const hostile = rig.guest({ layout, features: PLAIN, filters: own ? filters : [] });
        const [PROTOCOL, PORT] = [NET_HEADER_BYTES + 23, NET_HEADER_BYTES + 36];
        const writes = ['0050', '0016'].map((port) => ({ at: PORT, bytes: Buffer.from(port, 'hex') }));
        writes.push(...[17, 6].map((protocol) => ({ at: PROTOCOL, bytes: Buffer.from([protocol]) })));
        let passed = 0;
        let sent = 0;
        await whileScribbling({ places: slots(hostile), writes }, () =>
          seeded(0, (random) => {
            for (let round = 0; round < ROUNDS; round++) {
              const byteLength = random.pick([100, 300, 2100]);
              for (let i = 0; i < SLOTS; i++) {
                const frame = makeFrame(receiver.mac, hostile.mac, byteLength, 0);
                Buffer.from('080045000028000000004011000' + '00a0000010a000002', 'hex').copy(frame, 12);
                Buffer.from('03e80050', 'hex').copy(frame, 34);
                const bytes = Buffer.concat([Buffer.alloc(NET_HEADER_BYTES), frame]);
                hostile.memory.write(SEND_AREA.guestAddress + i * SLOT_BYTES, bytes);
              }
              sent += SLOTS;
              offerSlots(hostile, SLOTS, NET_HEADER_BYTES + byteLength, random.pick([[], [], [12], [20, 30, 1]]));
              rig.run();
              hostile.reclaim();
              for (const { frame } of receiver.received()) {
                passed++;
                assert.equal(frame.readUInt16BE(36), 80);
                assert.equal(frame[23], 17);
                assert.equal(frame.length, byteLength);
              }
            }
          }),
        );
        const dropped = (own ? hostile : receiver).count('DROPPED_BY_FILTER');
        assert.ok(passed > 0 && dropped > 0, `${passed} have passed, ${dropped} not`);
        assert.equal(passed + dropped + receiver.count('DROPPED_NO_BUFFER'), sent);
        rig.release();
      });

    it('harms nobody with headers that change while they are looked at', async () => {
      const rig = new NetRig();
      const neighbours = new Neighbours(rig);
      const hostile = rig.guest({ layout, features: PLAIN | OFFLOAD_FEATURES, buffers: 20 });
      const header = (fields: Parameters<typeof headerBytes>[0]) => ({ at: 0, bytes: headerBytes(fields) });
      const asks = { FLAGS: 1, CSUM_START: 34, CSUM_OFFSET: 16 };
      const u16 = (at: number, value: number) => ({
        at: NET_HEADER_BYTES + at,
        bytes: Uint8Array.of(value >>> 8, value & 0xff),
      });
      const writes = [
        header({}),
        header(asks),
        header({ ...asks, CSUM_START: 0xffff, CSUM_OFFSET: 0xffff }),
        header({ ...asks, GSO_TYPE: 1, GSO_SIZE: 100 }),
        header({ ...asks, GSO_TYPE: 1, GSO_SIZE: 1, HDR_LEN: 0xffff }),
        header({ ...asks, GSO_TYPE: 4, GSO_SIZE: 1000 }),
        ...[0x0800, 0x86dd, 0x8100].map((type) => u16(12, type)),
        ...[0x4500, 0x4f00, 0x6000].map((version) => u16(14, version)),
        ...[1986, 0, 20, 0xffff].map((length) => u16(16, length)),
        ...[0, 0x2000, 0x1fff].map((fragment) => u16(20, fragment)),
        ...[0x4006, 0x4011].map((protocol) => u16(22, protocol)),
        ...[0x5010, 0xf010, 0x0010].map((offset) => u16(46, offset)),
      ];
      await whileScribbling({ places: slots(hostile), writes }, () =>
        seeded(1, (random) => {
          for (let round = 0; round < ROUNDS; round++) {
            for (let i = 0; i < SLOTS; i++) {
              const frame = makeFrame(random.pick([...neighbours.macs]), hostile.mac, 2000, i);
              hostile.memory.write(SEND_AREA.guestAddress + i * SLOT_BYTES + NET_HEADER_BYTES, frame);
            }
            offerSlots(hostile, SLOTS, NET_HEADER_BYTES + 2000, random.pick([[], [], [12], [50, 10]]));
            rig.run();
            hostile.reclaim();
            neighbours.talk();
          }
        }),
      );
      const { SOFTWARE_OFFLOADS, DROPPED_OFFLOAD } = hostile.drops;
      assert.ok(DROPPED_OFFLOAD! > 0 && SOFTWARE_OFFLOADS === undefined);
      assert.equal(hostile.tx.state.fault, 0);
      neighbours.finish();
      rig.release();
    });

    it('loses its rings, and nobody else theirs, when it writes over them', async () => {
      const rig = new NetRig();
      const neighbours = new Neighbours(rig);
      const hostile = rig.guest({ layout, features: PLAIN, buffers: 0, ringSize: 32, ringsInMemory: true });
      const faults = new Set<number>();
      const places = RING_AREAS.map((address) => ({ address: hostOf(hostile, address), byteLength: 32 * 32 + 256 }));
      await whileScribbling({ places }, () =>
        seeded(2, (random) => {
          for (let round = 0; round < ROUNDS; round++) {
            hostile.renew();
            for (let i = 0; i < 31; i++) {
              const address = SEND_AREA.guestAddress + i * SLOT_BYTES;
              const bytes = anything(random, neighbours, hostile.mac);
              hostile.memory.write(address, bytes);
              hostile.tx.driver.add([{ address, length: bytes.length }]);
              const buffer = { address: RECEIVE_AREA.guestAddress + i * 2048, length: 2048, writable: true };
              hostile.rx.driver.add([buffer]);
            }
            // Whether it wants a kick is not looked at: it may be anything.
            for (const { driver } of [hostile.rx, hostile.tx]) driver.publishInSteps().next();
            for (let turn = 0; turn < 5; turn++) {
              const [a] = rig.guests as [Guest];
              for (let i = 0; i < 10; i++) a.send(makeFrame(hostile.mac, a.mac, 60, i));
              rig.turn();
              a.reclaim(false);
            }
            for (const { state } of [hostile.rx, hostile.tx]) faults.add(state.fault);
            neighbours.talk();
          }
        }),
      );
      assert.ok(faults.size > 3, `faults: ${[...faults]}`);
      neighbours.finish();
      rig.release();
    });
  });
}
