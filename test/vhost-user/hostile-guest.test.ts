/**
 * A guest whose front end behaves and whose rings do not: it loses the queue that it breaks, and nothing else; the operator is
 * told, once; and the queue works again when it is set up anew.
 */
import assert from 'node:assert/strict';
import { after, before, describe, it, type TestContext } from 'node:test';
import { drain, signal } from '../../src/host/eventfd.js';
import { RING_FEATURES } from '../../src/virtio/features.js';
import { DescriptorFlag } from '../../src/virtio/ring-layout.js';
import { POP_FAULTS } from '../../src/virtio/virtqueue.js';
import { CleanupSteps } from '../support/daemon.js';
import { Random } from '../support/seed.js';
import { jam } from './descriptors.js';
import { HostilePackedRing, PACKED_RING_FAULTS } from './hostile-packed-ring.js';
import { HostileRing, RING_FAULTS } from './hostile-ring.js';
import { until } from './raw-front-end.js';
import { HealthyGuest, type Mode, TestDaemon } from './test-daemon.js';
import { FEATURES, LAYOUTS, TestGuest, type TestQueue } from './test-guest.js';

const SEED = Number(process.env.SEED ?? 20_261_122);
const QUEUES = { queues: 2 };

/** Faults of one layout: a packed ring has no index of the next descriptor, a split one says itself where it was used. */
const SPLIT_ONLY = 'NEXT_OUT_OF_RANGE';
const PACKED_ONLY = 'POSITION_INVALID';

/** Either layout, and its faults. */
const RINGS = {
  split: {
    feature: LAYOUTS.split,
    faults: RING_FAULTS,
    codes: Object.values(POP_FAULTS).filter((code) => code !== PACKED_ONLY),
  },
  packed: {
    feature: LAYOUTS.packed,
    faults: PACKED_RING_FAULTS,
    codes: Object.values(POP_FAULTS).filter((code) => code !== SPLIT_ONLY && code !== PACKED_ONLY),
  },
} as const;

describe('a ring for every fault', () => {
  for (const [layout, { faults, codes }] of Object.entries(RINGS)) {
    it(`is there, ${layout}`, () => {
      const made = new Set(faults.map(({ code }) => code));
      for (const code of [...codes, 'REQUEST_MALFORMED' as const]) assert.ok(made.has(code), code);
    });
  }
});

const SETTINGS = (['sidecore', 'baseline'] satisfies Mode[]).flatMap((mode) =>
  (['split', 'packed'] as const).map((layout) => ({ mode, layout, ...RINGS[layout] })),
);

for (const { mode, layout, feature, faults } of SETTINGS) {
  describe(`a hostile guest, ${layout}, mode ${mode}`, { timeout: 120_000 }, () => {
    let served: TestDaemon;
    let healthy: HealthyGuest;
    const cleanup = new CleanupSteps();
    before(async () => {
      // A disk for each fault: its log line must not be kept back because another one was written just before.
      const disks = Object.fromEntries(faults.map((_, index) => [`d${index}`, QUEUES]));
      served = await TestDaemon.start(
        cleanup,
        { hostile: { disks: { ...disks, any: QUEUES } }, other: { disks: { d: {} } } },
        mode,
      );
      healthy = await HealthyGuest.start(cleanup, served.socket('other'));
    });
    after(async () => {
      healthy.finish();
      const { cores } = await served.status();
      assert.ok(
        cores.every(({ deaths }) => deaths === 0),
        'no sidecore died',
      );
      assert.equal(await served.daemon.stop(), 0, served.daemon.log);
      await cleanup.run();
    });

    async function newGuest(
      test: TestContext,
      disk: string,
      features = FEATURES | feature | RING_FEATURES.INDIRECT_DESC,
    ): Promise<TestGuest> {
      const guest = await TestGuest.start(served.socket('hostile', disk), { ...QUEUES, features });
      test.after(() => guest.close());
      return guest;
    }

    /** Sets a ring up anew, as a driver that has reset its device. */
    async function setUpAnew(test: TestContext, guest: TestGuest): Promise<TestQueue> {
      const queue = guest.newQueue(0);
      test.after(() => queue.close());
      await guest.stopQueue(queue);
      await guest.startQueue(queue);
      return queue;
    }

    function putUnknownTable(guest: TestGuest): void {
      if (layout === 'packed') {
        const ring = new HostilePackedRing(guest, guest.queue);
        ring.put(ring.room, 16, DescriptorFlag.INDIRECT);
        ring.show();
      } else {
        const ring = new HostileRing(guest, guest.queue);
        ring.put(0, ring.room, 16, DescriptorFlag.INDIRECT);
        ring.show(0);
      }
    }

    for (const [number, { what, code, make }] of faults.entries()) {
      it(`${what}: ${code}`, async (test) => {
        const disk = `d${number}`;
        const guest = await newGuest(test, disk);
        const neighbour = guest.queues[1]!;
        let { queue } = guest;
        for (let time = 1; time <= 2; time++) {
          make(guest, queue);
          await until(() => (healthy.run(1), drain(queue.errFd) > 0), 'the err descriptor is signalled');
          const status = await served.untilDisk(
            'hostile',
            ({ queues }) => queues[0]?.phase === 'faulted',
            'the queue is stopped',
            disk,
          );
          assert.equal(status.queues[0]?.fault, code);
          assert.equal(status.queues[1]?.fault, null);
          assert.deepEqual(status.faults, { [code]: time });
          assert.equal(status.last_fault?.code, code);
          // It is not looked at any more, kicked or not.
          signal(queue.driver.kickFd);
          await neighbour.writeAndRead();
          healthy.run(1);
          assert.equal(drain(queue.errFd), 0, 'it is told once');
          queue = await setUpAnew(test, guest);
          await queue.writeAndRead();
          await neighbour.writeAndRead();
          assert.equal((await served.disk('hostile', disk)).queues[0]?.fault, null);
        }
        const lines = served.daemon.log
          .split('\n')
          .filter((line) => line.includes(`hostile/${disk}:`) && line.includes(code));
        assert.equal(lines.length, 1, 'the second time it is counted, not logged');
      });
    }

    it('an indirect table that was not negotiated', async (test) => {
      const guest = await newGuest(test, 'any', FEATURES | feature);
      putUnknownTable(guest);
      await until(() => drain(guest.queue.errFd) > 0, 'the err descriptor is signalled');
      assert.equal((await served.disk('hostile', 'any')).queues[0]?.fault, 'INDIRECT_INVALID');
    });

    it('a front end that jams its err descriptor is not waited for', async (test) => {
      const guest = await newGuest(test, 'any');
      jam(guest.queue.errFd);
      faults[0]!.make(guest, guest.queue);
      await served.untilDisk('hostile', ({ queues }) => queues[0]?.phase === 'faulted', 'the queue is stopped', 'any');
      await guest.queues[1]!.writeAndRead();
    });

    it(`garbage in a ring (SEED=${SEED})`, async (test) => {
      const random = new Random(SEED);
      const guest = await newGuest(test, 'any');
      const flagsAt = layout === 'packed' ? 14 : 12;
      let { queue } = guest;
      for (let round = 0; round < 15; round++) {
        const { ring, kickFd } = queue.driver;
        const { bytes } = guest.ram;
        for (let at = ring.descriptors; at < ring.descriptors + 16 * ring.size; at++) {
          // Small addresses and lengths, and few flags, get further.
          const byte =
            (at & 15) === flagsAt ? random.below(8) : (at & 3) > 1 && random.chance(0.9) ? 0 : random.below(256);
          bytes[at] = byte;
        }
        if (layout === 'packed') {
          for (let i = 0; i < ring.size; i++) makeAvailable(bytes, ring.descriptors + 16 * i, random);
        } else {
          for (let i = 0; i < ring.size; i++) bytes.writeUInt16LE(random.below(ring.size), ring.available + 4 + 2 * i);
          bytes.writeUInt16LE(random.below(ring.size + 1), ring.available + 2);
        }
        signal(kickFd);
        await guest.queues[1]!.writeAndRead();
        healthy.run(1);
        queue = await setUpAnew(test, guest);
        await queue.writeAndRead();
      }
    });

    it(`a guest that changes its rings while they are served (SEED=${SEED})`, async (test) => {
      const random = new Random(SEED);
      const guest = await newGuest(test, 'any');
      let { queue } = guest;
      for (let round = 0; round < 10; round++) {
        const { ring } = queue.driver;
        const table = guest.ram.words32(ring.descriptors, 16 * ring.size);
        for (let turn = 0; turn < 50; turn++) {
          queue.submitWrites();
          for (let change = 0; change < 200; change++) table[random.below(table.length)]! ^= 1 << random.below(32);
        }
        healthy.run(1);
        queue = await setUpAnew(test, guest);
        await queue.writeAndRead();
      }
    });
  });
}

/** Gives a packed descriptor the flags of one that is available in the first lap, mostly, and an id that may be one. */
function makeAvailable(bytes: Buffer, at: number, random: Random): void {
  if (random.chance(0.9)) bytes.writeUInt16LE((bytes.readUInt16LE(at + 14) & 7) | 0x80, at + 14);
  if (random.chance(0.9)) bytes.writeUInt16LE(random.below(24), at + 12);
}
