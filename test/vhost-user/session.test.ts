/** The vhost-user standard's rules about rings, one by one. vhost-user, "Ring states" and the messages SET_VRING_* */
import assert from 'node:assert/strict';
import { after, before, describe, it, type TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { createEventFd, drain, signal } from '../../src/host/eventfd.js';
import { close } from '../../src/host/libc.js';
import { encode } from '../../src/vhost-user/codec.js';
import { RING_FEATURES } from '../../src/virtio/features.js';
import { CleanupSteps } from '../support/daemon.js';
import { until } from './raw-front-end.js';
import { TestDaemon } from './test-daemon.js';
import { DEPTH, FEATURES, LAYOUTS, TestGuest, type TestQueue } from './test-guest.js';

/** How long something that must not happen is given to happen. */
const NOTHING_HAPPENS_MS = 100;

async function expectUntouched(queue: TestQueue, why: string): Promise<void> {
  await sleep(NOTHING_HAPPENS_MS);
  assert.equal(queue.driver.take(), -1, why);
}

/** Where a ring stands that was never used, and somewhere else: as the messages say it. */
const BASES = { split: [0, 0xfffe], packed: [0x8000_8000, 0x0003_8005] } as const;

const SETTINGS = (['sidecore', 'adaptive', 'baseline'] as const).flatMap((mode) =>
  (['split', 'packed'] as const).map((layout) => ({ mode, layout, features: FEATURES | LAYOUTS[layout] })),
);

for (const { mode, layout, features } of SETTINGS) {
  describe(`vhost-user rings, ${layout}, mode ${mode}`, { timeout: 120_000 }, () => {
    function newGuest(test: TestContext, queues = 1): TestGuest {
      const guest = new TestGuest({ queues, features });
      test.after(() => guest.close());
      return guest;
    }

    let served: TestDaemon;
    const cleanup = new CleanupSteps();
    before(async () => {
      served = await TestDaemon.start(cleanup, { vm: { disks: { d: { queues: 2 } } } }, mode);
    });
    after(async () => {
      assert.equal(await served.daemon.stop(), 0, served.daemon.log);
      await cleanup.run();
    });

    /** Connected, with features settled and memory shared, but no ring set up. */
    async function prepared(test: TestContext, queues = 1): Promise<TestGuest> {
      const guest = newGuest(test, queues);
      await guest.connect(served.socket('vm'));
      await guest.negotiate();
      await guest.shareMemory();
      return guest;
    }

    it('a ring starts with its first kick', async (test) => {
      const guest = await prepared(test);
      await guest.startQueue(guest.queue);
      await guest.front.settle();
      guest.queue.submitWrites(DEPTH, false);
      guest.queue.driver.ring.publish();
      await expectUntouched(guest.queue, 'a ring without a kick is not started');
      signal(guest.queue.driver.kickFd);
      await guest.queue.complete();
      await guest.queue.writeAndRead();
    });

    it('the work that lies in a ring when it is armed is taken: its kick may have been kept from an earlier back end', async (test) => {
      const guest = await prepared(test);
      await guest.setUpQueue(guest.queue);
      await guest.enable(guest.queue);
      guest.queue.submitWrites(DEPTH, false);
      guest.queue.driver.ring.publish();
      await expectUntouched(guest.queue, 'a ring is not started before its kick descriptor comes');
      await guest.arm(guest.queue);
      await guest.queue.complete();
      await guest.queue.readBack();
    });

    it('a kick descriptor that is readable when it comes starts the ring', async (test) => {
      const guest = await prepared(test);
      signal(guest.queue.driver.kickFd);
      await guest.startQueue(guest.queue);
      await guest.queue.writeAndRead();
    });

    it('a ring without a kick descriptor is polled at once', async (test) => {
      const guest = await prepared(test);
      await guest.setUpQueue(guest.queue);
      await guest.front.tell('SET_VRING_KICK', encode.vringFd({ index: 0, noFd: true }));
      await guest.enable(guest.queue);
      await guest.front.settle();
      for (let round = 0; round < 20; round++) {
        guest.queue.submitWrites(DEPTH, false);
        guest.queue.driver.ring.publish();
        await guest.queue.complete();
        // Longer than an adaptive sidecore polls an idle queue that can kick.
        await sleep(2);
      }
    });

    it('a ring is not processed before it is enabled, nor while it is disabled', async (test) => {
      const guest = await prepared(test);
      await guest.setUpQueue(guest.queue);
      await guest.arm(guest.queue);
      for (let round = 0; round < 3; round++) {
        guest.queue.submitWrites();
        signal(guest.queue.driver.kickFd);
        await expectUntouched(guest.queue, 'a disabled ring is not processed');
        await guest.enable(guest.queue);
        await guest.queue.complete();
        await guest.queue.readBack();
        await guest.enable(guest.queue, false);
        await guest.front.settle();
      }
    });

    it('without protocol features there is no ENABLE: rings are enabled from the start', async (test) => {
      const guest = newGuest(test);
      await guest.connect(served.socket('vm'));
      await guest.front.negotiate(features & ~RING_FEATURES.VHOST_USER_PROTOCOL_FEATURES);
      await guest.shareMemory();
      await guest.setUpQueue(guest.queue);
      await guest.arm(guest.queue);
      await guest.queue.writeAndRead();
      await guest.stopQueue(guest.queue);
      await guest.setUpQueue(guest.queue);
      await guest.arm(guest.queue);
      await guest.queue.writeAndRead();
      // What it may still be sent by old front ends; it means: stop all rings.
      await guest.front.tell('RESET_OWNER');
      await guest.front.settle();
      await guest.setUpQueue(guest.queue);
      await guest.arm(guest.queue);
      await guest.queue.writeAndRead();
    });

    it('messages come in any order', async (test) => {
      const guest = newGuest(test);
      await guest.connect(served.socket('vm'));
      await guest.enable(guest.queue);
      await guest.arm(guest.queue);
      await guest.setUpQueue(guest.queue);
      await guest.negotiate();
      await guest.shareMemory();
      await guest.queue.writeAndRead();
    });

    it('call descriptors are heard, and can be replaced and taken away under a live ring', async (test) => {
      const guest = await prepared(test);
      const { queue } = guest;
      await guest.startQueue(queue);
      const fresh = createEventFd();
      test.after(() => close(fresh));
      const called = async (fd: number) => {
        queue.driver.ring.requestCalls();
        queue.submitWrites();
        await queue.complete();
        await sleep(10);
        return drain(fd) > 0;
      };
      assert.ok(await called(queue.driver.callFd), 'the guest is called');
      await guest.front.tell('SET_VRING_CALL', encode.vringFd({ index: 0, noFd: false }), [fresh]);
      await guest.front.settle();
      drain(queue.driver.callFd);
      assert.ok(await called(fresh), 'the guest is called at the new descriptor');
      assert.equal(drain(queue.driver.callFd), 0, 'and not at the old one');
      await guest.front.tell('SET_VRING_CALL', encode.vringFd({ index: 0, noFd: true }));
      await guest.front.settle();
      assert.ok(!(await called(fresh)), 'a front end without call descriptor polls');
      await queue.writeAndRead();
    });

    it('everything about a ring can be said again while it is live', async (test) => {
      const guest = await prepared(test, 2);
      for (const queue of guest.queues) await guest.startQueue(queue);
      const [queue, neighbour] = guest.queues as [TestQueue, TestQueue];
      const { index, driver } = queue;
      const again = [
        () => guest.front.tell('SET_VRING_NUM', encode.vringState({ index, num: driver.ring.size })),
        () => guest.setAddress(queue),
        () => guest.arm(queue),
        () => guest.enable(queue),
        () => guest.front.tell('SET_VRING_CALL', encode.vringFd({ index, noFd: false }), [driver.callFd]),
        () => guest.front.tell('SET_VRING_ERR', encode.vringFd({ index, noFd: true })),
        () => guest.front.tell('SET_FEATURES', encode.u64(features)),
      ];
      await queue.writeAndRead();
      for (let round = 0; round < 20; round++) {
        queue.submitWrites();
        neighbour.submitWrites();
        await again[round % again.length]!();
        await queue.complete();
        await neighbour.complete();
        await queue.readBack();
        await neighbour.readBack();
      }
    });

    it('GET_VRING_BASE stops the ring, finishes what was taken, and tells where it stands', async (test) => {
      const guest = await prepared(test, 2);
      for (const queue of guest.queues) await guest.startQueue(queue);
      const [queue, neighbour] = guest.queues as [TestQueue, TestQueue];
      for (let round = 0; round < 30; round++) {
        queue.submitWrites();
        const base = await guest.stopQueue(queue);
        // Everything up to there is done by now, everything after it untouched.
        const done = queue.doneAt(base);
        for (let i = 0; i < done; i++) assert.notEqual(queue.driver.take(), -1, 'what was taken is done');
        assert.equal(queue.driver.take(), -1, 'a stopped ring is not processed');
        await neighbour.writeAndRead();
        await guest.startQueue(queue, base);
        await queue.complete(DEPTH - done);
        await queue.readBack();
      }
    });

    // A packed ring does not tell where it was used.
    if (layout === 'split')
      it('a ring goes on from where it was used, whatever base is said', async (test) => {
        const guest = await prepared(test);
        await guest.startQueue(guest.queue);
        await guest.queue.writeAndRead(2);
        await guest.stopQueue(guest.queue);
        await guest.startQueue(guest.queue, 0);
        await guest.queue.writeAndRead();
        assert.equal(await guest.stopQueue(guest.queue), guest.queue.position);
      });

    it('GET_VRING_BASE of a ring that never ran answers the base that was set', async (test) => {
      const guest = await prepared(test);
      const [fresh, other] = BASES[layout];
      assert.equal(await guest.stopQueue(guest.queue), fresh);
      await guest.front.tell('SET_VRING_BASE', encode.vringState({ index: 0, num: other }));
      assert.equal(await guest.stopQueue(guest.queue), other);
    });

    it('RESET_DEVICE and status 0 stop and disable all rings, and the device can be set up anew', async (test) => {
      const guest = await prepared(test, 2);
      const { front } = guest;
      const resets = [() => front.tell('RESET_DEVICE'), () => front.tell('SET_STATUS', encode.u64(0n))];
      for (const reset of [...resets, ...resets]) {
        for (const queue of guest.queues) await guest.startQueue(queue);
        await front.tell('SET_STATUS', encode.u64(0xfn));
        assert.equal((await front.ask('GET_STATUS')).readBigUInt64LE(0), 0xfn);
        for (const queue of guest.queues) await queue.writeAndRead();
        await reset();
        assert.equal((await front.ask('GET_STATUS')).readBigUInt64LE(0), 0n);
        for (const queue of guest.queues) {
          assert.equal(await guest.stopQueue(queue), queue.position, 'QEMU resets first and asks then');
          await guest.arm(queue);
          queue.submitWrites();
          signal(queue.driver.kickFd);
        }
        await expectUntouched(guest.queue, 'a reset ring is disabled');
        for (const queue of guest.queues) await guest.enable(queue);
        for (const queue of guest.queues) await queue.complete();
        await front.tell('SET_FEATURES', encode.u64(features));
      }
    });

    it('a ring that lies outside guest memory is a fault of the queue, and only of it', async (test) => {
      const guest = await prepared(test, 2);
      const [queue, neighbour] = guest.queues as [TestQueue, TestQueue];
      await guest.startQueue(neighbour);
      await guest.setUpQueue(queue);
      const outside = { index: 0, flags: 0, descriptors: 4096n, used: 8192n, available: 12288n, log: 0n };
      await guest.front.tell('SET_VRING_ADDR', encode.vringAddress(outside));
      await guest.arm(queue);
      await guest.enable(queue);
      await until(() => drain(queue.errFd) > 0, 'the err descriptor is signalled');
      await served.untilDisk('vm', (disk) => disk.queues[0]?.fault === 'VRING_ADDRESS_INVALID', 'the fault is shown');
      await neighbour.writeAndRead();
      await guest.setAddress(queue);
      await queue.writeAndRead();
    });
  });
}
