/** Guests of a daemon whose network cards are served by different sidecores: to them it is one network. */
import assert from 'node:assert/strict';
import { after, before, describe, it, type TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { NetDriver, NetDriverOptions } from '../../src/guest/net-driver.js';
import { CleanupSteps } from '../support/daemon.js';
import { BROADCAST, expectSame, makeFrame } from '../support/frames.js';
import { Random } from '../support/seed.js';
import { jam } from '../vhost-user/descriptors.js';
import { until } from '../vhost-user/raw-front-end.js';
import { NEEDS_TWO_CPUS, TestDaemon, TWO_CPUS } from '../vhost-user/test-daemon.js';
import { connectGuest, introduce, next, send } from './guests.js';

const SEED = Number(process.env.SEED ?? 20_261_122);
const VMS = ['a', 'b', 'c', 'd'];
const NIC = { nics: { n: {} } };

for (const mode of ['sidecore', 'adaptive'] as const) {
  describe(`two sidecores, mode ${mode}`, { timeout: 240_000, skip: NEEDS_TWO_CPUS }, () => {
    let served: TestDaemon;
    const cleanup = new CleanupSteps();
    before(async () => {
      const vms = Object.fromEntries(VMS.map((vm) => [vm, NIC]));
      served = await TestDaemon.start(cleanup, vms, mode, TWO_CPUS);
    });
    after(async () => {
      const { cores } = await served.status();
      assert.ok(cores.every(({ deaths }) => deaths === 0));
      assert.equal(await served.daemon.stop(), 0, served.daemon.log);
      await cleanup.run();
    });

    const guest = (test: TestContext, vm: string, options: Omit<NetDriverOptions, 'socket'> = {}): Promise<NetDriver> =>
      connectGuest(test, { socket: served.socket(vm, 'n'), ...options });
    const nic = async (vm: string) => (await served.status()).nics[vm]!.n!;

    it('serve two of four cards each', async () => {
      const cores = await Promise.all(VMS.map(async (vm) => (await nic(vm)).core));
      assert.deepEqual(cores, [0, 1, 0, 1]);
    });

    it('carry frames of every length between guests of either, in order', async (test) => {
      const [a, b, c] = (await Promise.all(['a', 'b', 'c'].map((vm) => guest(test, vm)))) as [
        NetDriver,
        NetDriver,
        NetDriver,
      ];
      await introduce([a, b, c]);
      const random = new Random(SEED);
      for (const [from, to] of [
        [a, b],
        [b, a],
        [b, c],
        [a, c],
      ] as const) {
        for (let round = 0; round < 40; round++) {
          const lengths = Array.from({ length: 30 }, () => 14 + random.below(random.chance(0.7) ? 120 : 1501));
          const frames = lengths.map((length, i) => makeFrame(to.mac, from.mac, length, 30 * round + i));
          for (const frame of frames) await send(from, frame);
          const received: Buffer[] = [];
          while (received.length < frames.length) received.push(await next(to, 'what was sent'));
          expectSame(received, frames);
        }
      }
      for (const each of [a, b, c]) assert.equal(each.receive(), undefined);
      for (const vm of ['a', 'b', 'c']) {
        const { dropped_no_buffer, dropped_not_ready, dropped_malformed, dropped_offload } = await nic(vm);
        assert.deepEqual([dropped_no_buffer, dropped_not_ready, dropped_malformed, dropped_offload], [0, 0, 0, 0]);
      }
    });

    it('bring a broadcast to everybody once', async (test) => {
      const guests = await Promise.all(VMS.map((vm) => guest(test, vm)));
      await introduce(guests);
      for (let round = 0; round < 100; round++) {
        const from = guests[round % guests.length]!;
        const frame = makeFrame(BROADCAST, from.mac, 60 + round, round);
        await send(from, frame);
        for (const other of guests.filter((other) => other !== from)) {
          assert.ok((await next(other, `round ${round}`)).equals(frame));
        }
      }
      for (const each of guests) assert.equal(each.receive(), undefined);
    });

    // One that never sleeps need not be woken.
    if (mode === 'adaptive')
      it('wake each other, however the pauses of their guests fall', async (test) => {
        const [a, b] = (await Promise.all(['a', 'b'].map((vm) => guest(test, vm)))) as [NetDriver, NetDriver];
        await introduce([a, b]);
        const random = new Random(SEED);
        for (let round = 0; round < 500; round++) {
          const request = makeFrame(b.mac, a.mac, 60, round);
          await send(a, request);
          assert.ok((await next(b, `request ${round}`)).equals(request));
          const answer = makeFrame(a.mac, b.mac, 60, round + 1);
          await send(b, answer);
          assert.ok((await next(a, `answer ${round}`)).equals(answer));
          // Around the time after which an adaptive sidecore goes to sleep.
          const end = performance.now() + random.below(2500) / 1000;
          while (performance.now() < end);
        }
      });

    it('one that is held up loses what crosses to it, and holds up nobody else', async (test) => {
      const FRAMES = 3000;
      const [a, b, c] = (await Promise.all(['a', 'b', 'c'].map((vm) => guest(test, vm, { buffers: 4096 })))) as [
        NetDriver,
        NetDriver,
        NetDriver,
      ];
      await introduce([a, b, c]);
      for (let attempt = 1; ; attempt++) {
        // Its front end has the sidecore wait in a call to it, until the daemon sees that.
        const jammer = await guest(test, 'd');
        await introduce([b, jammer]);
        jammer.rx.ring.requestCalls();
        const { base } = jammer.rx.ring;
        jam(jammer.rx.callFd);
        await send(b, makeFrame(jammer.mac, b.mac, 60, 1));
        await until(() => jammer.rx.ring.base !== base, 'the sidecore is in its call');
        const near: Buffer[] = [];
        const far: Buffer[] = [];
        const collect = () => {
          for (let frame = c.receive(); frame !== undefined; frame = c.receive())
            if (frame.length === 100) near.push(frame);
        };
        const sent = Array.from({ length: FRAMES }, (_, i) => ({
          far: makeFrame(b.mac, a.mac, 1500, i),
          near: makeFrame(c.mac, a.mac, 100, i),
        }));
        for (const pair of sent) {
          for (const frame of [pair.far, pair.near]) {
            while (!a.send(frame)) collect();
            a.tx.publish();
          }
          collect();
        }
        await until(() => (collect(), near.length === FRAMES), 'all that does not cross arrives');
        expectSame(
          near,
          sent.map((pair) => pair.near),
        );
        // What has crossed comes when it is let go; then it goes on.
        const last = makeFrame(b.mac, c.mac, 90, attempt);
        const deadline = Date.now() + 20_000;
        for (let over = false; !over; ) {
          await send(c, last);
          for (let frame = b.receive(); frame !== undefined; frame = b.receive()) {
            if (frame.equals(last)) over = true;
            else if (frame.length === 1500) far.push(frame);
          }
          if (Date.now() > deadline) assert.fail('the sidecore does not go on');
          await sleep(5);
        }
        const crossed = sent.map((pair) => pair.far);
        let at = 0;
        for (const frame of far) {
          while (at < FRAMES && !crossed[at]!.equals(frame)) at++;
          assert.ok(at++ < FRAMES, 'what arrives was sent, in that order');
        }
        jammer.close();
        if (far.length < FRAMES) break;
        assert.ok(attempt < 5, 'a sidecore that waits loses frames');
        await sleep(1500);
      }
      await introduce([a, b, c]);
    });
  });
}
