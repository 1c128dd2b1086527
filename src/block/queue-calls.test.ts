/** When a queue calls its driver: at once, after a wait for more completions, or not at all any more. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { BlockRig, header, RAM, type RigQueue } from '../../test/support/block-rig.js';
import { PENDING, StubBackend } from '../../test/support/stub-backend.js';
import { createEventFd, drain } from '../host/eventfd.js';
import { close } from '../host/libc.js';
import { CALL_COMPLETIONS_MAX, CALL_QUIET_NS_MAX, CALL_WAIT_NS_MAX } from '../limits.js';
import { Coalescing } from '../scheduler/coalescing.js';
import { QueueCounter } from '../virtio/queue-state.js';
import { RequestType, Status } from './features.js';

const DATA = RAM.guestAddress + 0x1000;
const STATUS = RAM.guestAddress + 0x3000;

/** A queue with `depth` requests in its back end, whose driver sleeps on its calls. */
class Sleeper {
  readonly callFd = createEventFd();
  readonly backend = new StubBackend();
  readonly rig: BlockRig;
  readonly served: RigQueue;

  constructor(eventIdx: boolean, depth: number, policy = new Coalescing()) {
    this.backend.answer = PENDING;
    const { callFd, backend } = this;
    this.rig = new BlockRig({ pool: 600, ringSize: 1024, backend, callFd, eventIdx, policy });
    this.served = this.rig.queues[0]!;
    this.submit(depth);
    assert.equal(this.served.driver.requestCalls(), false);
  }

  submit(count: number): void {
    for (let i = 0; i < count; i++) {
      this.rig.memory.write(RAM.guestAddress, header(RequestType.OUT, i));
      this.served.driver.add([
        { address: RAM.guestAddress, length: 16 },
        { address: DATA, length: 512 },
        { address: STATUS, length: 1, writable: true },
      ]);
    }
    this.served.driver.publish();
    this.rig.turn();
  }

  /** The back end finishes so many, and the sidecore ends its turn. */
  complete(count: number): void {
    for (const { request } of this.backend.asked.splice(0, count)) request.queue!.complete(request, Status.OK);
    this.rig.publish();
    this.rig.waiting.look();
  }

  pass(ns: number): void {
    this.rig.nowNs += ns;
    this.rig.waiting.look();
  }

  get calls(): number {
    return drain(this.callFd);
  }

  /** Requests that the driver finds complete. */
  collect(): number {
    let count = 0;
    while (this.served.driver.take() !== undefined) count++;
    return count;
  }

  counter(name: keyof typeof QueueCounter): number {
    return this.served.state.counters[QueueCounter[name]]!;
  }

  release(): void {
    this.rig.release();
    close(this.callFd);
  }
}

for (const eventIdx of [false, true]) {
  const on = (depth: number, test: (guest: Sleeper) => void, policy?: Coalescing) => {
    const guest = new Sleeper(eventIdx, depth, policy);
    try {
      test(guest);
    } finally {
      guest.release();
    }
  };

  describe(`calls of a queue, asked for ${eventIdx ? 'by event index' : 'by flag'}`, () => {
    it('never wait if nothing else is in flight', () =>
      on(1, (guest) => {
        for (let round = 0; round < 100; round++) {
          guest.complete(1);
          assert.equal(guest.calls, 1);
          assert.equal(guest.collect(), 1);
          guest.submit(1);
          guest.served.driver.requestCalls();
        }
        assert.equal(guest.counter('CALLS_HELD'), 0);
      }));

    it('wait for the rest, while the driver sees what is complete at once', () =>
      on(4, (guest) => {
        for (let i = 0; i < 3; i++) {
          guest.complete(1);
          assert.deepEqual([guest.calls, guest.collect()], [0, 1]);
        }
        // As one that polled meanwhile and goes to sleep again.
        guest.served.driver.requestCalls();
        guest.complete(1);
        assert.deepEqual([guest.calls, guest.collect()], [1, 1]);
        assert.deepEqual([guest.counter('CALLS'), guest.counter('CALLS_HELD')], [1, 1]);
        assert.equal(guest.rig.waiting.count, 0);
      }));

    it('wait for a bounded time, and a shorter one if nothing comes', () =>
      on(20, (guest) => {
        guest.complete(1);
        guest.pass(CALL_QUIET_NS_MAX - 1);
        assert.equal(guest.calls, 0);
        guest.pass(1);
        assert.equal(guest.calls, 1);
        guest.pass(1e9);
        assert.equal(guest.calls, 0, 'and once');

        // The first that was in vain is followed by one that does not wait.
        for (let i = 0; i < 2; i++) {
          guest.collect();
          guest.served.driver.requestCalls();
          guest.complete(1);
        }
        assert.equal(guest.calls, 1);
        const step = CALL_QUIET_NS_MAX - 1;
        for (let waited = 0; waited + step < CALL_WAIT_NS_MAX; waited += step) {
          guest.pass(step);
          assert.equal(guest.calls, 0, `after ${waited} ns`);
          guest.complete(1);
        }
        guest.pass(step);
        assert.equal(guest.calls, 1);
      }));

    it('wait for a bounded number of completions', () =>
      on(2 * CALL_COMPLETIONS_MAX, (guest) => {
        guest.complete(1);
        for (let done = 1; done < CALL_COMPLETIONS_MAX; done++) {
          assert.equal(guest.calls, 0, `after ${done}`);
          guest.complete(1);
        }
        assert.equal(guest.calls, 1);
      }));

    it('are not sent to a driver that has said meanwhile that it wants none', () =>
      on(4, (guest) => {
        guest.complete(1);
        guest.collect();
        guest.served.driver.suppressCalls();
        guest.complete(1);
        guest.pass(CALL_WAIT_NS_MAX);
        // By event index it asks for the one that it took last, or none: both are behind what is new, or the call is one too many.
        const spared = guest.counter('CALLS_SPARED');
        assert.equal(guest.calls + spared, 1);
        if (!eventIdx) assert.equal(spared, 1);
        guest.collect();
        assert.equal(guest.served.driver.requestCalls(), false);
        guest.complete(2);
        assert.equal(guest.calls, 1, 'the next are called for');
      }));

    it('are sent, or not, by what a driver has asked for meanwhile', () =>
      on(6, (guest) => {
        guest.complete(2);
        guest.collect();
        guest.served.driver.requestCalls();
        guest.pass(CALL_WAIT_NS_MAX);
        // The flag says that any is wanted; the event index, that none of those is.
        assert.equal(guest.calls, eventIdx ? 0 : 1);
        assert.equal(guest.counter('CALLS_SPARED'), eventIdx ? 1 : 0);
        guest.complete(4);
        assert.equal(guest.calls, 1);
      }));

    it('are sent before the queue is let go of', () =>
      on(4, (guest) => {
        guest.complete(3);
        assert.equal(guest.calls, 0);
        guest.served.queue.closed = true;
        guest.served.queue.close();
        assert.equal(guest.calls, 1);
        guest.pass(1e9);
        assert.equal(guest.calls, 0);
      }));

    it('are sent before their core sleeps', () =>
      on(4, (guest) => {
        guest.complete(3);
        guest.rig.waiting.flush();
        assert.equal(guest.calls, 1);
        assert.equal(guest.rig.waiting.count, 0);
      }));

    it('wait again after a wait that brought more, and hardly any more where none does', () => {
      for (const brings of [true, false]) {
        on(2, (guest) => {
          for (let round = 0; round < 1000; round++) {
            guest.complete(1);
            if (!brings) guest.pass(CALL_WAIT_NS_MAX);
            guest.complete(1);
            guest.collect();
            guest.submit(2);
            guest.served.driver.requestCalls();
          }
          const held = guest.counter('CALLS_HELD');
          assert.ok(brings ? held === 1000 : held < 20, `${held} waits`);
        });
      }
    });

    it('hardly wait any more for a driver that sends in bursts and waits for each to be called for', () =>
      on(9, (guest) => {
        for (let round = 0; round < 1000; round++) {
          guest.complete(4);
          guest.complete(4);
          // One stays in flight: the queue seems to have more to come.
          guest.pass(CALL_QUIET_NS_MAX - 1);
          guest.pass(1);
          guest.collect();
          guest.submit(8);
          guest.served.driver.requestCalls();
        }
        const held = guest.counter('CALLS_HELD');
        assert.ok(held < 20, `${held} waits`);
      }));

    it('are never sent to a driver that polls', () =>
      on(64, (guest) => {
        guest.served.driver.suppressCalls();
        for (let i = 0; i < 64; i++) {
          guest.complete(1);
          guest.pass(CALL_WAIT_NS_MAX);
        }
        assert.equal(guest.collect(), 64);
        assert.deepEqual([guest.calls, guest.counter('CALLS_HELD')], [0, 0]);
      }));
  });
}

describe('a queue without a descriptor for calls', () => {
  it('holds none', () => {
    const backend = new StubBackend();
    backend.answer = PENDING;
    const rig = new BlockRig({ backend, policy: new Coalescing() });
    const { driver, state } = rig.queues[0]!;
    driver.requestCalls();
    rig.memory.write(RAM.guestAddress, header(RequestType.OUT, 0));
    for (let i = 0; i < 2; i++)
      driver.add([
        { address: RAM.guestAddress, length: 16 },
        { address: DATA, length: 512 },
        { address: STATUS, length: 1, writable: true },
      ]);
    driver.publish();
    rig.turn();
    const [first] = backend.take();
    first!.request.queue!.complete(first!.request, Status.OK);
    rig.publish();
    assert.deepEqual(
      [state.counters[QueueCounter.CALLS], state.counters[QueueCounter.CALLS_HELD], rig.waiting.count],
      [0, 0, 0],
    );
    rig.release();
  });
});
