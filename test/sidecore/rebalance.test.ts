/**
 * A daemon that moves what it serves by itself: away from a sidecore that has too much to do, to more sidecores, to fewer, and to none.
 * Its guests go on, and find every byte right and every frame in its place.
 */
import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { BlockDriver, Load } from '../../src/guest/index.js';
import { NetDriver } from '../../src/guest/net-driver.js';
import { allowedCpus } from '../../src/host/affinity.js';
import { introduce } from '../net/guests.js';
import { Talk } from '../net/talk.js';
import { Daemon } from '../support/daemon.js';
import { Random } from '../support/seed.js';
import { until } from '../vhost-user/raw-front-end.js';
import { NEEDS_TWO_CPUS, SIDECORE_CPU, TestDaemon, TWO_CPUS } from '../vhost-user/test-daemon.js';

const SEED = Number(process.env.SEED ?? 20_261_128);
const BULK_BYTES = 2 ** 18;
/** Slices of the guests' work between two looks at the daemon. */
const WORK_MS = 50;
/** A change that did not pay is tried again after ten seconds, and others run on these CPUs too. */
const CHANGE_MS_MAX = 100_000;
const DISK = { backend: { type: 'memory', size: '16MiB' } };
const NEEDS_HELPER = allowedCpus().length < 2 ? 'a thread that is nobody’s sidecore needs another CPU' : false;

async function connect(test: TestContext, socket: string, requestBytes: number, depth: number): Promise<BlockDriver> {
  const guest = await BlockDriver.connect({ socket, depth, requestBytes });
  test.after(() => guest.close());
  return guest;
}

/** A guest that reads much at once: its sidecore has more to do than the guest itself. */
async function bulk(test: TestContext, socket: string): Promise<Load> {
  const guest = await connect(test, socket, BULK_BYTES, 8);
  const load = new Load([guest], { depth: 8, requestBytes: BULK_BYTES, readShare: 1, workingSetBytes: 2 ** 23 });
  load.start();
  return load;
}

/** A guest that looks at all that it gets. */
async function verifying(test: TestContext, socket: string): Promise<Load> {
  const guest = await connect(test, socket, 4096, 4);
  const pattern = { depth: 4, requestBytes: 4096, readShare: 0.5, workingSetBytes: 2 ** 20, verify: true, seed: SEED };
  const load = new Load([guest], pattern);
  load.start();
  return load;
}

function work(loads: readonly Load[]): void {
  for (const load of loads) {
    const { errors, mismatches } = load.run(WORK_MS / loads.length);
    assert.deepEqual({ errors, mismatches }, { errors: 0, mismatches: 0 });
  }
}

it('a sidecore that has too much to do has some of it taken away', {
  timeout: 120_000,
  skip: NEEDS_TWO_CPUS,
}, async (test) => {
  const vms = Object.fromEntries(['a', 'b', 'c', 'd'].map((vm) => [vm, { disks: { d: {} } }]));
  const served = await TestDaemon.start(test, vms, 'sidecore', TWO_CPUS);
  // They are placed in turn: those of two on the same core work.
  const loads: Load[] = [];
  for (const vm of ['a', 'b', 'c', 'd']) {
    const load = await (vm === 'a' || vm === 'c' ? bulk : verifying)(test, served.socket(vm));
    if (vm === 'a' || vm === 'c') loads.push(load);
    else assert.ok(load.finish());
  }
  const coreOf = async (vm: string) => (await served.disk(vm)).queues[0]!.core;
  assert.equal(await coreOf('a'), await coreOf('c'));
  await until(
    async () => {
      work(loads);
      return (await coreOf('a')) !== (await coreOf('c'));
    },
    'one of them moves',
    CHANGE_MS_MAX,
  );
  const { placement, cores } = await served.status();
  assert.ok(placement.moved >= 1 && placement.cores_in_use === 2);
  assert.ok(cores.every(({ in_use, deaths }) => in_use && deaths === 0));
  for (const load of loads) assert.ok(load.finish());
});

describe('no sidecore at all', { timeout: 240_000, skip: NEEDS_HELPER }, () => {
  const vms = { a: { disks: { d: DISK }, nics: { n: {} } }, b: { disks: { d: DISK }, nics: { n: {} } } };

  for (const mode of ['sidecore', 'adaptive'] as const) {
    it(`is enough for guests that do little, and one comes with the load: ${mode} (SEED=${SEED})`, async (test) => {
      const daemon = await Daemon.start(test, { cores: [SIDECORE_CPU], cores_min: 0, mode, vms });
      const served = new TestDaemon(daemon);
      const inUse = async () => (await served.status()).placement.cores_in_use;
      assert.equal(await inUse(), 0);
      const guests = await Promise.all(['a', 'b'].map((vm) => NetDriver.connect({ socket: served.socket(vm, 'n') })));
      test.after(() => guests.forEach((guest) => guest.close()));
      await introduce(guests);
      const talk = new Talk(guests, new Random(SEED));
      const verified = await verifying(test, served.socket('a'));
      const load = await bulk(test, served.socket('b'));
      for (let round = 0; round < 2; round++) {
        if (round > 0) load.start();
        await until(
          async () => {
            work([load, verified]);
            talk.work(2);
            return (await inUse()) === 1;
          },
          'the sidecore is taken into use',
          CHANGE_MS_MAX,
        );
        await served.untilDisk('a', ({ queues }) => queues[0]!.core === 0, 'its queue goes there');
        for (let slices = 0; slices < 4; slices++) work([load, verified]);
        assert.ok(load.finish());
        await until(
          async () => {
            talk.work(1);
            verified.run(1);
            await sleep(20);
            return (await inUse()) === 0;
          },
          'it is not needed any more',
          CHANGE_MS_MAX,
        );
        await served.untilDisk('a', ({ queues }) => queues[0]!.core === 1, 'its queue goes to the shared thread');
        work([verified]);
      }
      await talk.arrived();
      assert.ok(verified.finish());
      await untilAsleep(served);
      const { cores, nics } = await served.status();
      assert.deepEqual(
        cores.map(({ in_use, shared, queues }) => [in_use, shared, queues]),
        [
          [false, false, 0],
          [true, true, cores[1]!.queues],
        ],
      );
      assert.ok(cores[1]!.queues >= 6);
      for (const vm of ['a', 'b']) assert.equal(nics[vm]!.n!.core, 1);
      assert.equal(await daemon.stop(), 0, daemon.log);
    });
  }
});

/** Nobody does anything while nothing is asked for. */
async function untilAsleep(served: TestDaemon): Promise<void> {
  const turns = async () => (await served.status()).cores.map((core) => core.turns);
  await until(async () => {
    const before = await turns();
    await sleep(200);
    return JSON.stringify(await turns()) === JSON.stringify(before);
  }, 'all threads sleep');
}
