/**
 * When a sidecore polls a queue and when it waits for its kick, in each mode; and that no kick is lost on the way from one to
 * the other, however the guest's pauses fall.
 */
import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import { setTimeout as sleep, setImmediate as turn } from 'node:timers/promises';
import { BlockDriver, Load } from '../../src/guest/index.js';
import { RING_FEATURES } from '../../src/virtio/features.js';
import { Random } from '../support/seed.js';
import { until } from '../vhost-user/raw-front-end.js';
import { TestDaemon } from '../vhost-user/test-daemon.js';
import { FEATURES, TestGuest, type TestQueue } from '../vhost-user/test-guest.js';

const SEED = Number(process.env.SEED ?? 20_261_122);
const PAUSES = Number(process.env.PAUSES ?? 1000);
/** Around the time after which an adaptive sidecore stops polling, 1 ms. */
const PAUSE_US_MAX = 2000;
const VMS = { a: { disks: { d: {} } }, b: { disks: { d: {} } }, busy: { disks: { d: {} } } };
/** More than the indices of a ring have values: all the way round, and on. */
const ROUND = 70_000;

/** A guest that keeps its sidecore busy, so that it does not sleep; it works only while it is told to. */
async function keepBusy(test: TestContext, served: TestDaemon): Promise<(ms: number) => void> {
  const guest = await BlockDriver.connect({ socket: served.socket('busy'), depth: 4, requestBytes: 4096 });
  test.after(() => guest.close());
  const load = new Load([guest], {
    depth: 4,
    requestBytes: 4096,
    readShare: 0.5,
    workingSetBytes: 2 ** 20,
    verify: true,
  });
  load.start();
  return (ms) => {
    const { errors, mismatches } = load.run(ms);
    assert.deepEqual({ errors, mismatches }, { errors: 0, mismatches: 0 });
  };
}

function spin(ms: number): void {
  for (const end = performance.now() + ms; performance.now() < end; );
}

async function newGuest(test: TestContext, served: TestDaemon, vm: string, features = FEATURES): Promise<TestGuest> {
  const guest = await TestGuest.start(served.socket(vm), { features });
  test.after(() => guest.close());
  return guest;
}

/** One write, checked to have come back. The kick is left out if the back end does not want one. */
async function request(queue: TestQueue, wait: (ms: number) => void): Promise<void> {
  queue.submitWrites(1);
  const deadline = Date.now() + 20_000;
  while (queue.driver.take() < 0) {
    if (Date.now() > deadline) assert.fail(`a kick was lost: request ${queue.position} is not answered`);
    wait(0.05);
  }
  if (queue.position % 64 === 0) await turn();
}

for (const mode of ['adaptive', 'baseline'] as const) {
  describe(`sidecores that poll for a while, mode ${mode}`, { timeout: 240_000 }, () => {
    it('an idle queue leaves the poll list, and a kick brings it back', async (test) => {
      const served = await TestDaemon.start(test, VMS, mode);
      const { queue } = await newGuest(test, served, 'a');
      const untilIdle = () =>
        served.untilDisk('a', ({ queues }) => queues[0]?.phase === 'watched', 'the queue is watched');
      for (let round = 0; round < 5; round++) {
        await queue.writeAndRead();
        await untilIdle();
        const { cores } = await served.status();
        assert.ok(cores.every(({ queues_polled }) => queues_polled === 0));
        const { kicks } = queue.driver;
        await queue.writeAndRead();
        assert.ok(queue.driver.kicks > kicks, 'a watched queue is kicked');
      }
      await untilIdle();
      await sleep(50);
      const { cores } = await served.status();
      const before = cores.map(({ turns, sleeps }) => ({ turns, sleeps }));
      await sleep(300);
      const after = (await served.status()).cores.map(({ turns, sleeps }) => ({ turns, sleeps }));
      assert.deepEqual(after, before, 'a sidecore without work sleeps');
    });

    for (const [kind, features] of [
      ['event index', FEATURES],
      ['flags', FEATURES & ~RING_FEATURES.EVENT_IDX],
    ] as const) {
      it(`no kick is lost over ${PAUSES} pauses, by ${kind} (SEED=${SEED})`, async (test) => {
        const served = await TestDaemon.start(test, VMS, mode);
        const random = new Random(SEED);
        const guests = [await newGuest(test, served, 'a', features), await newGuest(test, served, 'b', features)];
        for (let pause = 0; pause < PAUSES; pause++) {
          await request(random.pick(guests).queue, spin);
          spin(random.below(PAUSE_US_MAX) / 1000);
        }
      });

      it(`nor while the sidecore is busy with another guest, by ${kind} (SEED=${SEED})`, async (test) => {
        const served = await TestDaemon.start(test, VMS, mode);
        const random = new Random(SEED);
        const guests = [await newGuest(test, served, 'a', features), await newGuest(test, served, 'b', features)];
        const busy = await keepBusy(test, served);
        let kicks = 0;
        for (let pause = 0; pause < PAUSES / 2; pause++) {
          const { queue } = random.pick(guests);
          const before = queue.driver.kicks;
          await request(queue, busy);
          kicks += queue.driver.kicks - before;
          busy(random.below(2 * PAUSE_US_MAX) / 1000);
        }
        test.diagnostic(`${kicks} kicks`);
        assert.ok(kicks > PAUSES / 20, `${kicks} of ${PAUSES / 2} requests needed a kick: the others were polled`);
      });
    }
  });
}

describe('a sidecore that polls always, mode sidecore', { timeout: 120_000 }, () => {
  it('is kicked once a ring and then no more', async (test) => {
    const served = await TestDaemon.start(test, VMS, 'sidecore');
    for (const eventIdx of [true, false]) {
      const guest = await BlockDriver.connect({
        socket: served.socket(eventIdx ? 'a' : 'b'),
        depth: 32,
        requestBytes: 512,
        eventIdx,
      });
      test.after(() => guest.close());
      const load = new Load([guest], {
        depth: 32,
        requestBytes: 512,
        readShare: 0.5,
        workingSetBytes: 2 ** 20,
        verify: true,
      });
      load.start();
      load.run(100);
      let requests = 0;
      let kicks = 0;
      const deadline = Date.now() + 30_000;
      while (requests < ROUND && Date.now() < deadline) {
        const result = load.run(200);
        requests += result.requests;
        kicks += result.kicks;
        assert.deepEqual([result.errors, result.mismatches], [0, 0]);
      }
      assert.ok(requests >= ROUND, `${requests} requests`);
      assert.equal(kicks, 0);
      assert.ok(load.finish());
      assert.equal((await served.disk(eventIdx ? 'a' : 'b')).queues[0]?.kicks, 1);
    }
  });

  it('polls its queues whether or not they have work, and starts others by their first kick meanwhile', async (test) => {
    const served = await TestDaemon.start(test, VMS, 'sidecore');
    const busy = await keepBusy(test, served);
    busy(20);
    const first = await newGuest(test, served, 'a');
    for (let round = 0; round < 50; round++) await request(first.queue, busy);
    await until(async () => (await served.status()).cores[0]?.queues_polled === 2, 'both are polled');
    await sleep(50);
    const { kicks } = first.queue.driver;
    for (let round = 0; round < 50; round++) {
      await request(first.queue, spin);
      await sleep(2);
    }
    assert.equal(first.queue.driver.kicks, kicks);
    const second = await newGuest(test, served, 'b');
    await second.front.settle();
    busy(20);
    await request(second.queue, busy);
  });
});
