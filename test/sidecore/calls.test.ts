/**
 * Guests that sleep until they are called get every completion, though calls wait for more of them: at any depth, while their queue
 * is set up anew, and over deaths of their sidecore. Nothing here is found by polling: a call that is lost fails the test.
 */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { setTimeout as sleep, setImmediate as turn } from 'node:timers/promises';
import { RequestType, Status } from '../../src/block/features.js';
import { BlockDriver } from '../../src/guest/index.js';
import { EPOLLET, EPOLLIN, Epoll } from '../../src/host/epoll.js';
import { encode } from '../../src/vhost-user/codec.js';
import { scratchDirectory } from '../support/daemon.js';
import { Random } from '../support/seed.js';
import { SIDECORE_CPU } from '../vhost-user/test-daemon.js';
import { KillableDaemon } from './killable-daemon.js';

const SEED = Number(process.env.SEED ?? 20_261_128);
const DISK_BYTES = 2 ** 20;
const REQUEST_BYTES = 4096;
/** Longer than it takes to replace a dead sidecore on a busy machine. */
const CALL_MS_MAX = 20_000;
const KILLS = 6;
/** Longer than a sidecore polls a queue without work in this mode. */
const IDLE_MS = 150;

async function start(test: TestContext, mode: 'sidecore' | 'adaptive'): Promise<KillableDaemon> {
  const images = scratchDirectory(test);
  const vms = {
    memory: { disks: { d: { backend: { type: 'memory', size: DISK_BYTES } } } },
    file: { disks: { d: { backend: { type: 'file', size: DISK_BYTES, path: join(images, 'image') } } } },
  };
  return KillableDaemon.start(test, { cores: [SIDECORE_CPU], mode, vms });
}

/** A guest that looks at its ring only after it was called, or when it asks to be. */
class Sleeper {
  readonly guest: BlockDriver;
  readonly #depth: number;
  readonly #epoll = new Epoll(1);
  readonly #free: number[];

  private constructor(guest: BlockDriver, depth: number) {
    this.guest = guest;
    this.#depth = depth;
    this.#free = Array.from({ length: depth }, (_, slot) => slot);
    this.#epoll.add(guest.queues[0]!.callFd, EPOLLIN | EPOLLET, 0);
  }

  static async connect(
    test: TestContext,
    socket: string,
    depth: number,
    how: { packed?: boolean; eventIdx?: boolean },
  ) {
    const guest = await BlockDriver.connect({ socket, depth, requestBytes: REQUEST_BYTES, ...how });
    test.after(() => guest.close());
    return new Sleeper(guest, depth);
  }

  /** Asks for as much as is free; asks to be called for the first of it before that. */
  submit(): void {
    const queue = this.guest.queues[0]!;
    queue.ring.requestCalls();
    for (let slot = this.#free.pop(); slot !== undefined; slot = this.#free.pop())
      queue.submit(slot, RequestType.IN, 8 * slot, REQUEST_BYTES);
    queue.publish();
  }

  /** Sleeps until at least so many have come back. */
  collect(count: number): void {
    const queue = this.guest.queues[0]!;
    while (this.#free.length < count) {
      const before = this.#free.length;
      for (let slot = queue.take(); slot >= 0; slot = queue.take()) {
        assert.equal(queue.status(slot), Status.OK);
        this.#free.push(slot);
      }
      if (this.#free.length > before || queue.ring.requestCalls()) continue;
      const events = this.#epoll.wait(CALL_MS_MAX);
      assert.equal(events, 1, `a call was lost: ${this.#depth - this.#free.length} requests are not back`);
    }
  }

  collectAll(): void {
    this.collect(this.#depth);
  }
}

describe('guests that sleep until they are called', { timeout: 240_000 }, () => {
  for (const disk of ['memory', 'file'] as const) {
    for (const [packed, eventIdx] of [
      [false, true],
      [false, false],
      [true, true],
      [true, false],
    ] as const) {
      const what = `${disk}, ${packed ? 'packed' : 'split'}, ${eventIdx ? 'event index' : 'flags'}`;
      it(`get every completion, one or 32 in flight: ${what}`, async (test) => {
        const daemon = await start(test, 'sidecore');
        const queue = async () => (await daemon.status()).vms[disk]!.d!.queues[0]!;
        const one = await Sleeper.connect(test, daemon.socket(disk), 1, { packed, eventIdx });
        for (let round = 0; round < 300; round++) {
          one.submit();
          one.collectAll();
        }
        const alone = await queue();
        assert.deepEqual([alone.requests, alone.calls_held], [300, 0], 'one in flight never waits');
        one.guest.close();
        const many = await Sleeper.connect(test, daemon.socket(disk), 32, { packed, eventIdx });
        for (let round = 0; round < 300; round++) {
          many.submit();
          // All of it, or some and then as many anew.
          if (round % 2 === 0) many.collectAll();
          else many.collect(8);
        }
        many.collectAll();
        const { calls, requests, calls_held, calls_spared } = await queue();
        test.diagnostic(`${requests} requests, ${calls} calls, ${calls_held} held, ${calls_spared} spared`);
        assert.ok(calls_held > 0, 'calls wait where more is in flight');
        assert.ok(calls < requests);
      });
    }
  }

  for (const disk of ['memory', 'file'] as const) {
    it(`lose none when their queue is set up anew, as often as that happens: ${disk}`, async (test) => {
      const daemon = await start(test, 'sidecore');
      const guest = await Sleeper.connect(test, daemon.socket(disk), 32, {});
      const { frontEnd, queues } = guest.guest;
      for (let round = 0; round < 100; round++) {
        guest.submit();
        // The queue leaves its sidecore, and comes back to it.
        await frontEnd.send('SET_VRING_CALL', encode.vringFd({ index: 0, noFd: false }), [queues[0]!.callFd]);
        guest.collectAll();
      }
    });

    for (const mode of ['sidecore', 'adaptive'] as const) {
      it(`lose none when their sidecore dies: ${disk}, ${mode} (SEED=${SEED})`, async (test) => {
        const daemon = await start(test, mode);
        const random = new Random(SEED);
        const guest = await Sleeper.connect(test, daemon.socket(disk), 32, {});
        const { frontEnd, queues } = guest.guest;
        for (let kill = 0; kill < KILLS; kill++) {
          const killed = daemon.kill(0, random.below(1000));
          for (const end = Date.now() + 20; Date.now() < end; ) {
            guest.submit();
            guest.collect(1 + random.below(32));
          }
          await killed;
          guest.collectAll();
          await frontEnd.send('SET_VRING_CALL', encode.vringFd({ index: 0, noFd: false }), [queues[0]!.callFd]);
          await turn();
        }
      });
    }
  }
});

describe('a queue that has left the poll list of a sidecore that goes on polling', { timeout: 120_000 }, () => {
  it('is found by its kick', async (test) => {
    const daemon = await start(test, 'sidecore');
    const guest = await Sleeper.connect(test, daemon.socket('memory'), 1, {});
    const other = await Sleeper.connect(test, daemon.socket('file'), 1, {});
    const phases = async () => {
      const { vms } = await daemon.status();
      return ['memory', 'file'].map((disk) => vms[disk]!.d!.queues[0]!.phase);
    };
    const untilWatched = async (count: number) => {
      for (const deadline = Date.now() + CALL_MS_MAX; ; await sleep(20)) {
        const now = await phases();
        if (now.filter((phase) => phase === 'watched').length === count) return;
        assert.ok(Date.now() < deadline, `${now}`);
      }
    };
    for (let round = 0; round < 3; round++) {
      for (const each of [guest, other]) {
        each.submit();
        each.collectAll();
      }
      await untilWatched(2);
      const { turns } = (await daemon.status()).cores[0]!;
      await sleep(IDLE_MS);
      assert.ok((await daemon.status()).cores[0]!.turns > turns, 'its sidecore does not sleep');
      // One of them while the other has work.
      for (const end = Date.now() + IDLE_MS; Date.now() < end; ) {
        other.submit();
        other.collectAll();
      }
      const { kicks } = guest.guest.queues[0]!;
      guest.submit();
      guest.collectAll();
      assert.equal(guest.guest.queues[0]!.kicks, kicks + 1);
    }
  });
});
