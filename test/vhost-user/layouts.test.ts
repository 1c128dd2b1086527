/**
 * Guests with either layout of rings, and with every choice that goes with it, whose front end changes what is under them while
 * they work: memory tables, features, descriptors, rings stopped and started, connections. Every byte is checked.
 *
 * SEED=… chooses another course of events.
 */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { BlockDriver, Load } from '../../src/guest/index.js';
import { encode } from '../../src/vhost-user/codec.js';
import { RING_FEATURES } from '../../src/virtio/features.js';
import { CleanupSteps, scratchDirectory } from '../support/daemon.js';
import { Random } from '../support/seed.js';
import { TestDaemon } from './test-daemon.js';
import { DEPTH, FEATURES, LAYOUTS, TestGuest } from './test-guest.js';

const SEED = Number(process.env.SEED ?? 20_261_122);
const ROUNDS = 80;

describe('either layout of rings', { timeout: 120_000 }, () => {
  let served: TestDaemon;
  const cleanup = new CleanupSteps();
  before(async () => {
    const image = join(scratchDirectory(cleanup), 'image');
    const file = { backend: { type: 'file', path: image, size: '16MiB' }, queues: 2 };
    served = await TestDaemon.start(cleanup, { vm: { disks: { memory: { queues: 2 }, file } } });
  });
  after(async () => {
    assert.equal(await served.daemon.stop(), 0, served.daemon.log);
    await cleanup.run();
  });

  const broken = (disk: string) =>
    served.untilDisk('vm', ({ queues }) => queues[0]?.fault === 'VRING_INVALID', 'the ring is refused', disk);

  for (const [layout, feature] of Object.entries(LAYOUTS)) {
    for (const disk of ['memory', 'file']) {
      for (const eventIdx of [true, false]) {
        const what = `${layout}, ${disk}, ${eventIdx ? 'with' : 'without'} EVENT_IDX`;
        it(`whatever its front end does meanwhile: ${what} (SEED=${SEED})`, async (test) => {
          const random = new Random(SEED);
          const features = (FEATURES | feature) & ~(eventIdx ? 0n : RING_FEATURES.EVENT_IDX);
          const socket = served.socket('vm', disk);
          const guest = await TestGuest.start(socket, { queues: 2, features });
          test.after(() => guest.close());
          const whole = guest.region;
          const half = whole.size / 2n;
          const low = { ...whole, size: half };
          const high = { guestAddress: half, size: half, userAddress: whole.userAddress + half, mmapOffset: half };
          const share = (...regions: (typeof whole)[]) =>
            guest.front.shareMemory(
              regions,
              regions.map(() => guest.ram.fd),
            );
          const events = [
            () => share(whole),
            () => share(high, low),
            () => guest.front.tell('SET_FEATURES', encode.u64(features)),
            () => guest.arm(guest.queue),
            async () => {
              for (const queue of guest.queues) await guest.startQueue(queue, await guest.stopQueue(queue));
            },
            async () => {
              guest.disconnect();
              await guest.connect(socket);
              await guest.negotiate();
              // The session before has ended when the new one is answered: only then is it known where the rings stand.
              await guest.front.settle();
              await guest.shareMemory();
              for (const queue of guest.queues) await guest.startQueue(queue);
            },
          ];
          for (let round = 0; round < ROUNDS; round++) {
            for (const queue of guest.queues) {
              if (random.chance(0.2)) queue.driver.ring.requestCalls();
              queue.submitWrites();
            }
            await random.pick(events)();
            for (const queue of guest.queues) await queue.complete();
            for (const queue of guest.queues) await queue.readBack();
          }
          for (const queue of guest.queues)
            assert.equal(await guest.stopQueue(queue), queue.position, 'each request was answered once');
        });
      }
    }
  }

  for (const packed of [false, true]) {
    for (const indirect of [false, true]) {
      for (const depth of [1, 7, 33]) {
        const how = `${packed ? 'packed' : 'split'}, ${indirect ? 'indirect' : 'chained'}, ${depth} deep`;
        it(`the built-in guest: ${how}`, async (test) => {
          const socket = served.socket('vm', depth % 2 === 0 ? 'file' : 'memory');
          const guest = await BlockDriver.connect({ socket, depth, requestBytes: 4096, indirect, packed });
          test.after(() => guest.close());
          for (const { ring } of guest.queues) {
            assert.equal(ring.packed, packed);
            if (packed) assert.equal(ring.size, Math.max(2, indirect ? depth : 3 * depth), 'no more than it needs');
          }
          const load = new Load([guest], {
            depth,
            requestBytes: 4096,
            readShare: 0.5,
            workingSetBytes: 2 ** 20,
            verify: true,
            seed: SEED,
          });
          load.start();
          const { requests, errors, mismatches } = load.run(150);
          assert.deepEqual({ errors, mismatches }, { errors: 0, mismatches: 0 });
          assert.ok(requests > DEPTH, `only ${requests} requests`);
          assert.ok(load.finish(), 'every request comes back');
          for (const [index, { ring }] of guest.queues.entries())
            assert.equal(await guest.frontEnd.stopRing(index), ring.base);
        });
      }
    }
  }

  it('one session changes from one layout to the other, as a guest does that starts with its firmware', async (test) => {
    const socket = served.socket('vm', 'memory');
    const guest = new TestGuest({ features: FEATURES });
    const packed = new TestGuest({ features: FEATURES | LAYOUTS.packed });
    test.after(() => {
      guest.close();
      packed.close();
    });
    await guest.connect(socket);
    packed.front = guest.front;
    for (let round = 0; round < 4; round++) {
      const now = round % 2 === 0 ? guest : packed;
      await now.negotiate();
      await now.shareMemory();
      await now.startQueue(now.queue);
      await now.queue.writeAndRead(3);
      assert.equal(await now.stopQueue(now.queue), now.queue.position);
    }
  });

  it('a packed ring may have any size, and stands anywhere in it, but not outside', async (test) => {
    const guest = new TestGuest({ features: FEATURES | LAYOUTS.packed });
    test.after(() => guest.close());
    await guest.connect(served.socket('vm', 'memory'));
    await guest.negotiate();
    await guest.shareMemory();
    const size = guest.queue.driver.ring.size;
    assert.notEqual(size & (size - 1), 0);
    // What DPDK's front end says of a new ring: nothing about where it was used.
    await guest.startQueue(guest.queue, 0x8000);
    await guest.queue.writeAndRead();
    await guest.stopQueue(guest.queue);
    await guest.startQueue(guest.queue, size | 0x8000);
    await broken('memory');
  });

  it('a packed ring is not served where it was not left', async (test) => {
    const guest = new TestGuest({ features: FEATURES | LAYOUTS.packed });
    test.after(() => guest.close());
    await guest.connect(served.socket('vm', 'memory'));
    await guest.negotiate();
    await guest.shareMemory();
    await guest.startQueue(guest.queue);
    guest.queue.submitWrites(3);
    await guest.queue.complete(3);
    const base = await guest.stopQueue(guest.queue);
    await guest.startQueue(guest.queue, 0x8000_8000);
    const lost = 'POSITION_INVALID';
    await served.untilDisk('vm', ({ queues }) => queues[0]?.fault === lost, 'the queue is stopped', 'memory');
    await guest.stopQueue(guest.queue);
    await guest.startQueue(guest.queue, base);
    await guest.queue.writeAndRead();
  });

  it('a size that is no power of two is refused for split rings, also if it came before the features', async (test) => {
    const guest = new TestGuest({ features: FEATURES });
    test.after(() => guest.close());
    await guest.connect(served.socket('vm', 'memory'));
    await guest.front.tell('SET_VRING_NUM', encode.vringState({ index: 0, num: 24 }));
    await guest.negotiate();
    await guest.shareMemory();
    await guest.setAddress(guest.queue);
    await guest.arm(guest.queue);
    await guest.enable(guest.queue);
    await broken('memory');
  });
});
