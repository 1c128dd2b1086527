/** Network cards with a thread each, that sleeps unless there is something to do: no frame waits for a thread that sleeps on. */
import assert from 'node:assert/strict';
import { it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { NetDriver } from '../../src/guest/net-driver.js';
import { BROADCAST, makeFrame } from '../support/frames.js';
import { Random } from '../support/seed.js';
import { until } from '../vhost-user/raw-front-end.js';
import { TestDaemon } from '../vhost-user/test-daemon.js';
import { connectGuest, introduce, next, send } from './guests.js';

const SEED = Number(process.env.SEED ?? 20_261_122);
const ROUNDS = Number(process.env.ROUNDS ?? 10_000);
const VMS = ['a', 'b', 'c'];

it('three cards of baseline', { timeout: 240_000 }, async (test) => {
  const vms = Object.fromEntries(VMS.map((vm) => [vm, { nics: { n: {} } }]));
  const served = await TestDaemon.start(test, vms, 'baseline');
  const guests = await Promise.all(VMS.map((vm) => connectGuest(test, { socket: served.socket(vm, 'n') })));
  const cores = async () => (await served.status()).cores;

  await test.test('have a thread each', async () => {
    assert.deepEqual(
      (await cores()).map(({ queues }) => queues),
      [2, 2, 2],
    );
    await introduce(guests);
  });

  await test.test('sleep when nothing is to be done', async () => {
    await until(async () => (await cores()).every(({ queues_polled }) => queues_polled === 0), 'nothing is polled');
    await sleep(50);
    const looks = async () => (await cores()).map(({ turns, sleeps }) => ({ turns, sleeps }));
    const before = await looks();
    await sleep(300);
    assert.deepEqual(await looks(), before);
  });

  await test.test(`wake each other ${ROUNDS} times, request and response (SEED=${SEED})`, async () => {
    const random = new Random(SEED);
    const before = await cores();
    let heard = 0;
    for (let round = 0; round < ROUNDS; round++) {
      const from = random.below(guests.length);
      const to = (from + 1 + random.below(guests.length - 1)) % guests.length;
      const [client, server] = [guests[from]!, guests[to]!] as [NetDriver, NetDriver];
      const request = makeFrame(server.mac, client.mac, 60, 2 * round);
      await send(client, request);
      assert.ok((await next(server, `request ${round}`)).equals(request));
      const answer = makeFrame(client.mac, server.mac, 60, 2 * round + 1);
      await send(server, answer);
      assert.ok((await next(client, `answer ${round}`)).equals(answer));
      if (round % 100 > 0) continue;
      const all = makeFrame(BROADCAST, client.mac, 60, round);
      await send(client, all);
      for (const other of guests.filter((other) => other !== client)) {
        assert.ok((await next(other, `broadcast ${round}`)).equals(all));
        heard++;
      }
    }
    assert.equal(heard, Math.ceil(ROUNDS / 100) * 2);
    for (const guest of guests) assert.equal(guest.receive(), undefined, 'nothing comes twice');
    const after = await cores();
    for (const [i, { sleeps }] of after.entries()) assert.ok(sleeps > before[i]!.sleeps, 'it slept in between');
  });

  await test.test('lose nothing', async () => {
    const { nics } = await served.status();
    const sum = (name: 'frames_in' | 'dropped_no_buffer' | 'dropped_not_ready' | 'dropped_malformed') =>
      VMS.reduce((total, vm) => total + nics[vm]!.n![name], 0);
    assert.deepEqual([sum('dropped_no_buffer'), sum('dropped_malformed')], [0, 0]);
    assert.equal(sum('frames_in'), 2 * ROUNDS + Math.ceil(ROUNDS / 100) + guests.length);
    for (const guest of guests) {
      guest.reclaim();
      for (let i = 0; i < guest.tx.ring.size; i++) assert.ok(guest.send(makeFrame(guest.mac, guest.mac, 60, i)));
    }
  });
});
