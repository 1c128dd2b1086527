/** How a queue takes, holds and gives back requests: in batches, out of order, over the death of its thread. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { dyingAt } from '../../test/conformance/virtqueue-moments.js';
import { BlockRig, type BlockRigOptions, header, RAM, type RigQueue } from '../../test/support/block-rig.js';
import { PENDING, StubBackend } from '../../test/support/stub-backend.js';
import { createEventFd, drain } from '../host/eventfd.js';
import { close } from '../host/libc.js';
import { BATCH_BYTES_MAX, DEVICE_REQUESTS_IN_FLIGHT_MAX, PUBLISH_REQUESTS } from '../limits.js';
import { QueueCounter } from '../virtio/queue-state.js';
import { Pop } from '../virtio/virtqueue.js';
import { RequestType, Status } from './features.js';

const HEADER = RAM.guestAddress;
const DATA = RAM.guestAddress + 0x1000;
const STATUS = RAM.guestAddress + 0x3000;
const STALE = 0xee;

/** Offers a read or a write of one sector whose status byte is at `slot`; returns its head. */
function offer(rig: BlockRig, slot: number, index = 0, type: number = RequestType.OUT): number {
  rig.memory.write(HEADER + 16 * slot, header(type, slot));
  rig.memory.write(STATUS + slot, Buffer.of(STALE));
  return rig.queues[index]!.driver.add([
    { address: HEADER + 16 * slot, length: 16 },
    { address: DATA, length: 512, writable: type === RequestType.IN },
    { address: STATUS + slot, length: 1, writable: true },
  ]);
}

const statusOf = (rig: BlockRig, slot: number) => rig.memory.read(STATUS + slot, 1)[0]!;

function collect({ driver }: RigQueue): number[] {
  const heads: number[] = [];
  for (let used = driver.take(); used !== undefined; used = driver.take()) heads.push(used.head);
  return heads;
}

function on(options: BlockRigOptions, test: (rig: BlockRig, backend: StubBackend, queue: RigQueue) => void): void {
  const backend = new StubBackend();
  const rig = new BlockRig({ sectors: 4096, pool: 600, ringSize: 4096, backend, ...options });
  try {
    test(rig, backend, rig.queues[0]!);
  } finally {
    rig.release();
  }
}

describe('a queue', () => {
  it('that is held stays so when its driver kicks', () => {
    const backend = Object.assign(new StubBackend(), {
      resumed: 0,
      resume() {
        this.resumed++;
      },
    });
    on({ backend }, (_rig, _backend, { queue }) => {
      queue.held = true;
      queue.start();
      assert.equal(backend.resumed, 0);
      queue.held = false;
      queue.start();
      assert.equal(backend.resumed, 1);
    });
  });

  it('takes as many as it may', () =>
    on({}, (rig, _backend, { queue, driver, state }) => {
      for (let slot = 0; slot < 100; slot++) offer(rig, slot);
      assert.equal(queue.serve(10, BATCH_BYTES_MAX), 0, 'what is not published is taken');
      driver.publish();
      assert.equal(queue.serve(0, BATCH_BYTES_MAX), 0);
      assert.deepEqual(
        [
          queue.serve(10, BATCH_BYTES_MAX),
          queue.serve(1, BATCH_BYTES_MAX),
          queue.serve(64, BATCH_BYTES_MAX),
          queue.serve(64, BATCH_BYTES_MAX),
          queue.serve(64, BATCH_BYTES_MAX),
        ],
        [10, 1, 64, 25, 0],
      );
      assert.equal(state.counters[QueueCounter.REQUESTS], 100);
    }));

  it('publishes what was completed in groups, the last of them when it is told to', () =>
    on({}, (rig, _backend, served) => {
      const heads = Array.from({ length: PUBLISH_REQUESTS + 4 }, (_, slot) => offer(rig, slot));
      served.driver.publish();
      served.queue.serve(64, BATCH_BYTES_MAX);
      assert.deepEqual(collect(served), heads.slice(0, PUBLISH_REQUESTS));
      assert.deepEqual(rig.dirty, [served.queue]);
      rig.publish();
      assert.deepEqual(collect(served), heads.slice(PUBLISH_REQUESTS));
      assert.equal(served.queue.dirty, false);
      assert.equal(served.queue.inFlight, 0);
    }));

  it('completes requests in whatever order its back end does', () =>
    on({}, (rig, backend, served) => {
      backend.answer = PENDING;
      const heads = Array.from({ length: 9 }, (_, slot) => offer(rig, slot, 0, slot % 2));
      served.driver.publish();
      rig.turn();
      assert.equal(served.queue.inFlight, 9);
      assert.deepEqual(rig.dirty, []);
      const order = [4, 0, 8, 1, 7, 2, 3, 6, 5];
      for (const [i, slot] of order.entries()) {
        assert.equal(statusOf(rig, slot), STALE);
        served.queue.complete(backend.asked[slot]!.request, i % 3);
        assert.equal(statusOf(rig, slot), i % 3);
      }
      rig.publish();
      assert.deepEqual(
        collect(served),
        order.map((slot) => heads[slot]!),
      );
      assert.equal(served.queue.inFlight, 0);
      assert.equal(rig.free, 600);
      const { counters } = served.state;
      assert.equal(counters[QueueCounter.ERRORS], 6);
      assert.equal(counters[QueueCounter.BYTES_READ]! + counters[QueueCounter.BYTES_WRITTEN]!, 3 * 512);
    }));

  it('has no more in flight than it may, and goes on when some are complete', () =>
    on({ pool: 2 * DEVICE_REQUESTS_IN_FLIGHT_MAX }, (rig, backend, { queue, driver }) => {
      backend.answer = PENDING;
      for (let slot = 0; slot < DEVICE_REQUESTS_IN_FLIGHT_MAX + 50; slot++) offer(rig, slot);
      driver.publish();
      assert.equal(queue.serve(10_000, BATCH_BYTES_MAX), DEVICE_REQUESTS_IN_FLIGHT_MAX);
      assert.equal(queue.serve(64, BATCH_BYTES_MAX), 0);
      assert.equal(queue.pending(), 0, 'it is not asked again meanwhile');
      for (const { request } of backend.take().slice(0, 20)) queue.complete(request, Status.OK);
      assert.equal(queue.serve(64, BATCH_BYTES_MAX), 20);
    }));

  it('waits while the requests of its core are in use, but for what every queue may have', () =>
    on({ pool: 3, queues: 2 }, (rig, backend) => {
      backend.answer = PENDING;
      for (let slot = 0; slot < 8; slot++) offer(rig, slot, slot % 2);
      for (const { driver } of rig.queues) driver.publish();
      rig.turn();
      assert.deepEqual(
        rig.queues.map(({ queue }) => queue.inFlight),
        [2, 1],
      );
      assert.deepEqual(
        rig.queues.map(({ state }) => state.fault),
        [0, 0],
      );
      for (let done = 0; done < 8; done++) {
        const { request } = backend.asked.shift()!;
        request.queue!.complete(request, Status.OK);
        rig.turn();
      }
      assert.deepEqual(
        rig.queues.map((served) => collect(served).length),
        [4, 4],
      );
    }));

  it('takes nothing more once it is closed, and completes what it has', () =>
    on({}, (rig, backend, served) => {
      backend.answer = PENDING;
      const head = offer(rig, 0);
      served.driver.publish();
      rig.turn();
      offer(rig, 1);
      served.driver.publish();
      served.queue.closed = true;
      assert.equal(served.queue.serve(64, BATCH_BYTES_MAX), 0);
      served.queue.complete(backend.asked[0]!.request, Status.OK);
      rig.publish();
      assert.deepEqual(collect(served), [head]);
      served.queue.close();
      assert.equal(backend.closed, 1);
    }));

  it('stops alone for what its driver did, and completes what it has', () =>
    on({ queues: 3 }, (rig, backend) => {
      backend.answer = PENDING;
      const [good, broken, other] = rig.queues as readonly [RigQueue, RigQueue, RigQueue];
      const before = offer(rig, 0, 1);
      broken.driver.add([{ address: 0, length: 16 }]);
      offer(rig, 1, 1);
      for (const { driver } of rig.queues) driver.publish();
      rig.turn();
      assert.deepEqual(
        rig.queues.map(({ state }) => state.fault),
        [0, Pop.ADDRESS_INVALID, 0],
      );
      assert.deepEqual(
        rig.queues.map(({ queue }) => queue.closed),
        [false, true, false],
      );
      const heads = [offer(rig, 2, 0), offer(rig, 3, 2)];
      for (const { driver } of rig.queues) driver.publish();
      rig.turn();
      for (const { request } of backend.take()) request.queue!.complete(request, Status.OK);
      rig.publish();
      assert.deepEqual([good, broken, other].map(collect), [[heads[0]], [before], [heads[1]]]);
      assert.equal(rig.free, 600);
    }));
});

describe('calls', () => {
  it('are sent once for a batch, if the driver wants them', () => {
    const callFd = createEventFd();
    on({ callFd }, (rig, _backend, served) => {
      for (const [wants, count] of [
        [true, 7],
        [false, 7],
        [true, 1],
        [true, 0],
      ] as const) {
        if (wants) served.driver.requestCalls();
        else served.driver.suppressCalls();
        for (let slot = 0; slot < count; slot++) offer(rig, slot);
        served.driver.publish();
        rig.turn();
        assert.equal(drain(callFd), wants && count > 0 ? 1 : 0);
        collect(served);
      }
      assert.equal(served.state.counters[QueueCounter.CALLS], 2);
    });
    close(callFd);
  });
});

describe('a queue whose thread has died', () => {
  /** Two published, of which one may not have been called for; two pushed; two with the back end; two not taken. */
  function die(rig: BlockRig, backend: StubBackend, served: RigQueue): number[] {
    const heads = Array.from({ length: 6 }, (_, slot) => offer(rig, slot));
    served.driver.publish();
    backend.answer = PENDING;
    served.queue.serve(64, BATCH_BYTES_MAX);
    const requests = backend.take().map(({ request }) => request);
    for (const slot of [3, 1]) served.queue.complete(requests[slot]!, Status.OK);
    rig.publish();
    for (const slot of [0, 5]) served.queue.complete(requests[slot]!, Status.OK);
    rig.dirty.length = 0;
    heads.push(offer(rig, 6), offer(rig, 7));
    served.driver.publish();
    return heads;
  }

  it('does again what was not visible to the driver, and everything once', () =>
    on({}, (rig, backend, served) => {
      const heads = die(rig, backend, served);
      backend.answer = Status.OK;
      served.queue = served.takeOver();
      served.queue.retakeUnfinished();
      assert.equal(served.state.counters[QueueCounter.RETAKEN], 4);
      assert.deepEqual(
        backend.take().map(({ sector }) => sector),
        [0, 2, 4, 5],
      );
      rig.turn();
      assert.deepEqual(
        backend.take().map(({ sector }) => sector),
        [6, 7],
      );
      assert.deepEqual(
        collect(served),
        [3, 1, 0, 2, 4, 5, 6, 7].map((slot) => heads[slot]!),
      );
      assert.equal(served.queue.inFlight, 0);
    }));

  it('calls for what the dead thread had published and may not have called for', () => {
    const callFd = createEventFd();
    for (const eventIdx of [false, true]) {
      for (let moment = 0; moment < 12; moment++) {
        on({ callFd, eventIdx }, (rig, _backend, served) => {
          const head = offer(rig, 0);
          served.driver.publish();
          served.queue.serve(64, BATCH_BYTES_MAX);
          assert.equal(served.driver.requestCalls(), false);
          // The driver sleeps. The thread dies somewhere on the way from the used ring to the call.
          dyingAt(moment, () => rig.publish());
          rig.dirty.length = 0;
          served.queue = served.takeOver();
          served.queue.retakeUnfinished();
          rig.publish();
          assert.ok(drain(callFd) > 0, `the driver sleeps on (moment ${moment})`);
          assert.deepEqual(collect(served), [head]);
        });
      }
    }
    close(callFd);
  });

  it('stops if what was taken is no good any more', () =>
    on({}, (rig, backend, served) => {
      const head = offer(rig, 0);
      served.driver.publish();
      backend.answer = PENDING;
      rig.turn();
      const dead = rig.free;
      const taken = served.takeOver();
      // The driver has broken the chain since: header, data and status are now one loop.
      served.driver
        .corruptions({ address: HEADER, length: 0 })
        .find(({ name }) => name.includes('4096 empty'))!
        .apply();
      taken.retakeUnfinished();
      assert.equal(served.state.fault, Pop.SEGMENTS_EXCEEDED);
      assert.equal(taken.closed, true);
      assert.equal(taken.inFlight, 0);
      assert.equal(rig.free, dead);
      assert.equal(taken.serve(64, BATCH_BYTES_MAX), 0);
      assert.deepEqual(collect(served), [], `head ${head} is given back`);
    }));
});
