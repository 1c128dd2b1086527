/**
 * Sidecores die at any moment of their work, under the load of several guests, and others take their places: nothing is
 * lost, nothing is answered twice, every byte is right, and the operator knows.
 */
import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { BlockDriver, Load } from '../../src/guest/index.js';
import { signal } from '../../src/host/eventfd.js';
import { QUEUE_CRASHES_MAX } from '../../src/limits.js';
import { encode } from '../../src/vhost-user/codec.js';
import { scratchDirectory } from '../support/daemon.js';
import { Random } from '../support/seed.js';
import { until } from '../vhost-user/raw-front-end.js';
import { type Mode, SIDECORE_CPU } from '../vhost-user/test-daemon.js';
import { TestGuest } from '../vhost-user/test-guest.js';
import { KillableDaemon } from './killable-daemon.js';

const SEED = Number(process.env.SEED ?? 20_261_122);
const KILLS = Number(process.env.KILLS ?? 8);
const VMS = ['a', 'b', 'c'];
const DEPTH = 16;
/** A death comes within this time, in the middle of the guests' work. */
const KILL_WITHIN_US = 3000;
/** A slice of the guests' work. */
const WORK_MS = 10;
const DISK_BYTES = 16 * 2 ** 20;
/** Of requests that a sidecore is at nearly all of its time. */
const LONG_REQUEST_BYTES = 2 ** 20;

type Backend = 'memory' | 'file';

async function start(test: TestContext, mode: Mode, backend: Backend): Promise<KillableDaemon> {
  const images = scratchDirectory(test);
  const disk = (vm: string) => ({
    backend: { type: backend, size: DISK_BYTES, ...(backend === 'file' ? { path: join(images, vm) } : {}) },
  });
  const vms = Object.fromEntries(VMS.map((vm) => [vm, { disks: { d: disk(vm) } }]));
  return KillableDaemon.start(test, { cores: [SIDECORE_CPU], mode, vms });
}

/** Has a queue served anew, as any message about a live ring does: the deaths that it saw are forgotten then. */
async function forgive({ frontEnd, queues }: BlockDriver): Promise<void> {
  await frontEnd.send('SET_VRING_CALL', encode.vringFd({ index: 0, noFd: false }), [queues[0]!.callFd]);
}

describe('sidecores that die', { timeout: 240_000 }, () => {
  for (const backend of ['memory', 'file'] as const) {
    for (const mode of ['sidecore', 'adaptive', 'baseline'] as const) {
      for (const packed of [false, true]) {
        const what = `${backend}, ${mode}, ${packed ? 'packed' : 'split'}`;
        it(`${KILLS} times under load are replaced, and nothing is lost: ${what} (SEED=${SEED})`, (test) =>
          killUnderLoad(test, mode, backend, packed));
      }
    }
  }

  async function killUnderLoad(test: TestContext, mode: Mode, backend: Backend, packed: boolean): Promise<void> {
    const daemon = await start(test, mode, backend);
    const random = new Random(SEED);
    const guests: BlockDriver[] = [];
    for (const vm of VMS)
      guests.push(await BlockDriver.connect({ socket: daemon.socket(vm), depth: DEPTH, requestBytes: 4096, packed }));
    test.after(() => guests.forEach((guest) => guest.close()));
    const load = new Load(guests, {
      depth: DEPTH,
      requestBytes: 4096,
      readShare: 0.5,
      workingSetBytes: 2 ** 20,
      verify: true,
      seed: SEED,
    });
    const cores = (await daemon.status()).cores.length;
    load.start();
    /** Works until every guest has got something done. */
    const work = () => {
      const deadline = Date.now() + 20_000;
      for (const waiting = new Set(load.queues); waiting.size > 0; ) {
        const { errors, mismatches } = load.run(WORK_MS);
        assert.deepEqual({ errors, mismatches }, { errors: 0, mismatches: 0 });
        for (const queue of waiting) if (queue.requests > 0) waiting.delete(queue);
        assert.ok(Date.now() < deadline, 'every guest is served');
      }
    };
    for (let kill = 0; kill < KILLS; kill++) {
      work();
      const killed = daemon.kill(kill % cores, random.below(KILL_WITHIN_US));
      load.run(WORK_MS);
      await killed;
      work();
      for (const guest of guests) await forgive(guest);
    }
    work();
    assert.ok(load.finish(), 'every request comes back');
    const { vms, cores: after } = await daemon.status();
    assert.equal(
      after.reduce((sum, { deaths }) => sum + deaths, 0),
      KILLS,
    );
    assert.equal(daemon.log.split('\n').filter((line) => line.includes('CORE_DIED')).length, KILLS, daemon.log);
    for (const [number, guest] of guests.entries()) {
      const { queues, faults } = vms[VMS[number]!]!.d!;
      assert.deepEqual([queues[0]?.fault, faults], [null, {}]);
      const queue = guest.queues[0]!;
      assert.equal(await guest.frontEnd.stopRing(0), queue.ring.base, 'each request was answered once');
    }
    const retaken = Object.values(vms).map((disks) => disks.d?.queues[0]?.retaken ?? 0);
    test.diagnostic(`${retaken.reduce((sum, count) => sum + count, 0)} requests were done again`);
  }

  for (const mode of ['sidecore', 'adaptive', 'baseline'] as const) {
    it(`while they have nothing to do are replaced as well, and leave nothing behind: ${mode}`, async (test) => {
      const daemon = await start(test, mode, 'file');
      const guests = await Promise.all(VMS.map((vm) => TestGuest.start(daemon.socket(vm))));
      test.after(() => guests.forEach((guest) => guest.close()));
      const { cores } = await daemon.status();
      const open = () => readdirSync(`/proc/${daemon.pid}/fd`).length;
      let before = 0;
      for (let round = 0; round < 4; round++) {
        for (const { queue } of guests) await queue.writeAndRead();
        for (const { index } of cores) await daemon.kill(index);
        for (const { queue } of guests) await queue.writeAndRead();
        // One that polls is found at one of its queues, and that would be left out if it were found so at all of these deaths.
        for (const guest of guests) await guest.arm(guest.queue);
        if (round === 0) before = open();
      }
      await until(() => open() <= before, 'the dead have left no descriptors');
      for (const guest of guests) assert.equal(await guest.stopQueue(guest.queue), guest.queue.position);
    });
  }

  it(`${QUEUE_CRASHES_MAX} times while they serve one queue go on without it (SEED=${SEED})`, async (test) => {
    const daemon = await start(test, 'adaptive', 'memory');
    const random = new Random(SEED);
    const others = await Promise.all(VMS.slice(1).map((vm) => TestGuest.start(daemon.socket(vm))));
    test.after(() => others.forEach((guest) => guest.close()));
    for (const { queue } of others) await queue.writeAndRead();
    const connect = () =>
      BlockDriver.connect({ socket: daemon.socket(VMS[0]!), depth: 4, requestBytes: LONG_REQUEST_BYTES });
    const loadOf = (driver: BlockDriver) =>
      new Load([driver], {
        depth: 4,
        requestBytes: LONG_REQUEST_BYTES,
        readShare: 0.5,
        workingSetBytes: DISK_BYTES,
        verify: false,
      });
    const disk = async () => (await daemon.status()).vms[VMS[0]!]!.d!;
    /** Has the core die in the middle of this load, again and again, until it is not served any more. */
    const killUntilLeftOut = async (load: Load) => {
      for (let deaths = 0; (await disk()).queues[0]?.fault === null; deaths++) {
        // A thread that is ended goes on to the next place where it can be, which may be outside of the queue.
        assert.ok(deaths < 20 * QUEUE_CRASHES_MAX, 'the queue is left out');
        await until(() => load.run(WORK_MS).iops > 0, 'the thread is up');
        // It looks at all of them for a moment, and may have been ended while it looked at another one.
        for (const guest of others) await guest.arm(guest.queue);
        await until(async () => (await daemon.status()).cores[0]!.queues_polled <= 1, 'the others are idle');
        const { deaths: before } = (await daemon.status()).cores[0]!;
        let killed = false;
        const death = daemon.kill(0, random.below(KILL_WITHIN_US)).finally(() => {
          killed = true;
        });
        while (!killed) {
          load.run(1);
          await turn();
        }
        await death;
        // The daemon hears of the thread's end a moment after whoever has ended it.
        await until(async () => (await daemon.status()).cores[0]?.deaths === before + 1, 'another takes its place');
      }
      assert.equal((await disk()).queues[0]?.fault, 'QUEUE_CRASHED_CORE');
    };
    let guilty = await connect();
    let load = loadOf(guilty);
    load.start();
    await killUntilLeftOut(load);
    assert.equal((await daemon.status()).cores[0]?.queues, VMS.length - 1);
    for (const { queue } of others) await queue.writeAndRead();
    // It takes no harm, and does none, until it is set up anew.
    load.run(WORK_MS);
    const { ring, kickFd, callFd } = guilty.queues[0]!;
    await guilty.frontEnd.stopRing(0);
    const user = guilty.ram.userAddress;
    const place = { descriptors: user + ring.descriptors, available: user + ring.available, used: user + ring.used };
    // What was in flight is done again, as a front end asks for it: from where the used ring is.
    await guilty.frontEnd.startRing({ index: 0, size: ring.size, base: ring.base, ...place, kickFd, callFd });
    signal(kickFd);
    await killUntilLeftOut(load);
    // Its front end leaves without a word about it.
    guilty.close();
    await until(async () => !(await disk()).connected, 'its session ends');
    guilty = await connect();
    test.after(() => guilty.close());
    load = loadOf(guilty);
    load.start();
    load.run(WORK_MS);
    assert.ok(load.finish(), 'it is served again');
    for (const { queue } of others) await queue.writeAndRead();
    assert.ok(daemon.running);
  });
});
