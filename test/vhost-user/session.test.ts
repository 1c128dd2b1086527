/** The vhost-user standard's rules about rings, one by one. vhost-user, "Ring states" and the messages SET_VRING_* */
import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { createEventFd, drain, signal } from '../../src/host/eventfd.js';
import { close } from '../../src/host/libc.js';
import { encode } from '../../src/vhost-user/codec.js';
import { MESSAGES } from '../../src/vhost-user/messages.js';
import { RING_FEATURES } from '../../src/virtio/features.js';
import { ALL_PROTOCOL_FEATURES, until } from './raw-front-end.js';
import { HealthyGuest, TestDaemon } from './test-daemon.js';
import { DEPTH, FEATURES, TestGuest, type TestQueue } from './test-guest.js';

/** How long something that must not happen is given to happen. */
const NOTHING_HAPPENS_MS = 100;

function newGuest(test: TestContext, queues = 1): TestGuest {
  const guest = new TestGuest({ queues });
  test.after(() => guest.close());
  return guest;
}

async function expectUntouched(queue: TestQueue, why: string): Promise<void> {
  await sleep(NOTHING_HAPPENS_MS);
  assert.equal(queue.driver.take(), -1, why);
}

for (const mode of ['sidecore', 'adaptive', 'baseline'] as const) {
  describe(`vhost-user rings, mode ${mode}`, { timeout: 120_000 }, () => {
    let served: TestDaemon;
    const scope = new AbortController();
    const cleanups: (() => void | Promise<void>)[] = [];

    it('starts the daemon', async () => {
      served = await TestDaemon.start(
        { after: (clean) => cleanups.push(clean) },
        { vm: { disks: { d: { queues: 2 } } }, other: { disks: { d: {} } } },
        mode,
      );
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
      await guest.front.negotiate(FEATURES & ~RING_FEATURES.VHOST_USER_PROTOCOL_FEATURES);
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
        () => guest.front.tell('SET_FEATURES', encode.u64(FEATURES)),
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
        const done = (base - (queue.position - DEPTH)) & 0xffff;
        assert.ok(done <= DEPTH, `it stands at ${base}, between ${queue.position - DEPTH} and ${queue.position}`);
        for (let i = 0; i < done; i++) assert.notEqual(queue.driver.take(), -1, 'what was taken is done');
        assert.equal(queue.driver.take(), -1, 'a stopped ring is not processed');
        await neighbour.writeAndRead();
        await guest.startQueue(queue, base);
        await queue.complete(DEPTH - done);
        await queue.readBack();
      }
    });

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
      assert.equal(await guest.stopQueue(guest.queue), 0);
      await guest.front.tell('SET_VRING_BASE', encode.vringState({ index: 0, num: 0xfffe }));
      assert.equal(await guest.stopQueue(guest.queue), 0xfffe);
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
        await front.tell('SET_FEATURES', encode.u64(FEATURES));
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

    it('what is wrong with one connection concerns no other', async (test) => {
      const healthy = await HealthyGuest.start(test, served.socket('other'));
      const wrong: [string, (guest: TestGuest) => Promise<void>][] = [
        ['an unknown message', (guest) => guest.front.connection.send(999, 0, Buffer.alloc(0))],
        ['a message that is too short', (guest) => guest.front.tell('SET_VRING_NUM', Buffer.alloc(4))],
        ['a message that is too long', (guest) => guest.front.tell('SET_OWNER', Buffer.alloc(8))],
        ['a ring that is not there', (guest) => guest.front.tell('GET_VRING_BASE', encode.vringState({ index: 2, num: 0 }))],
        ['a size that is no power of two', (guest) => guest.front.tell('SET_VRING_NUM', encode.vringState({ index: 0, num: 3 }))],
        ['a size beyond the limit', (guest) => guest.front.tell('SET_VRING_NUM', encode.vringState({ index: 0, num: 65536 }))],
        ['a base beyond 16 bits', (guest) => guest.front.tell('SET_VRING_BASE', encode.vringState({ index: 0, num: 65536 }))],
        ['a kick without descriptor', (guest) => guest.front.tell('SET_VRING_KICK', encode.vringFd({ index: 0, noFd: false }))],
        ['a kick that is no eventfd', (guest) => guest.front.tell('SET_VRING_KICK', encode.vringFd({ index: 0, noFd: false }), [guest.ram.fd])],
        ['descriptors where none belong', (guest) => guest.front.tell('SET_OWNER', Buffer.alloc(0), [guest.ram.fd])],
        ['a feature that was never offered', (guest) => guest.front.tell('SET_FEATURES', encode.u64(FEATURES | (1n << 34n)))],
        ['a protocol feature that was never offered', (guest) => guest.front.tell('SET_PROTOCOL_FEATURES', encode.u64(1n << 2n))],
        ['rings that are not aligned', (guest) => guest.front.tell('SET_VRING_ADDR', encode.vringAddress({ index: 0, flags: 0, descriptors: 8n, used: 0n, available: 0n, log: 0n }))],
      ];
      for (const [what, doWrong] of wrong) {
        const guest = newGuest(test);
        await guest.connect(served.socket('vm'));
        await guest.front.settle();
        await doWrong(guest);
        await guest.front.expectClosed(what);
        healthy.run(1);
      }
      healthy.finish();
      assert.ok(served.daemon.running);
    });

    it('with REPLY_ACK each of those is an answer, and the session goes on', async (test) => {
      const guest = await prepared(test);
      await guest.startQueue(guest.queue);
      const { front } = guest;
      assert.ok(await front.acknowledged('SET_VRING_ENABLE', encode.vringState({ index: 0, num: 1 })));
      assert.ok(!(await front.acknowledged('SET_VRING_NUM', encode.vringState({ index: 0, num: 3 }))));
      assert.ok(!(await front.acknowledged('SET_VRING_NUM', Buffer.alloc(2))));
      assert.ok(!(await front.acknowledged('SET_FEATURES', encode.u64(1n << 34n))));
      assert.ok(!(await front.acknowledged('SET_MEM_TABLE', encode.memoryTable([guest.region]))));
      assert.ok(!(await front.acknowledged('SET_VRING_KICK', encode.vringFd({ index: 0, noFd: false }), [guest.ram.fd])));
      await front.connection.send(999, 8, Buffer.alloc(0));
      assert.notEqual((await front.reply(999, 'an unknown message')).payload.readBigUInt64LE(0), 0n);
      // One answer to a message that has its own, need_reply or not.
      assert.equal((await front.ask('GET_QUEUE_NUM', Buffer.alloc(0), 8)).readBigUInt64LE(0), 2n);
      assert.equal((await front.ask('GET_MAX_MEM_SLOTS', Buffer.alloc(0), 8)).readBigUInt64LE(0), 509n);
      await guest.queue.writeAndRead();
    });

    it('without REPLY_ACK need_reply means nothing', async (test) => {
      const guest = newGuest(test);
      await guest.connect(served.socket('vm'));
      await guest.front.negotiate(FEATURES, ALL_PROTOCOL_FEATURES & ~(1n << 3n));
      await guest.front.connection.send(MESSAGES.SET_OWNER.id, 8, Buffer.alloc(0));
      assert.equal((await guest.front.ask('GET_QUEUE_NUM', Buffer.alloc(0), 8)).readBigUInt64LE(0), 2n);
    });

    it('messages of protocol features that were not negotiated are refused', async (test) => {
      for (const name of ['GET_CONFIG', 'SET_CONFIG', 'RESET_DEVICE', 'GET_STATUS', 'SET_STATUS', 'GET_MAX_MEM_SLOTS'] as const) {
        const guest = newGuest(test);
        await guest.connect(served.socket('vm'));
        await guest.front.negotiate(FEATURES, 0n);
        const payload = { GET_CONFIG: 12, SET_CONFIG: 13, SET_STATUS: 8, RESET_DEVICE: 0, GET_STATUS: 0, GET_MAX_MEM_SLOTS: 0 }[name];
        await guest.front.tell(name, Buffer.alloc(payload));
        await guest.front.expectClosed(name);
      }
    });

    it('the daemon is sound to the end', async () => {
      scope.abort();
      assert.equal(await served.daemon.stop(), 0, served.daemon.log);
      for (const clean of cleanups) await clean();
    });
  });
}
