/**
 * Network cards move from sidecore to sidecore while their guests talk to each other: no frame is lost, comes twice, or overtakes
 * another from the same guest.
 */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { NetDriver } from '../../src/guest/net-driver.js';
import { encode } from '../../src/vhost-user/codec.js';
import { KillableDaemon } from '../sidecore/killable-daemon.js';
import { scratchDirectory } from '../support/daemon.js';
import { Random } from '../support/seed.js';
import { until } from '../vhost-user/raw-front-end.js';
import { NEEDS_TWO_CPUS, TWO_CPUS } from '../vhost-user/test-daemon.js';
import { CaptureClient } from './capture-client.js';
import { introduce } from './guests.js';
import { Talk } from './talk.js';

const SEED = Number(process.env.SEED ?? 20_261_128);
const MOVES = Number(process.env.MOVES ?? 150);
const KILLS = Number(process.env.KILLS ?? 6);
const VMS = ['a', 'b', 'c', 'd'];
const WORK_MS_MAX = 3;
const KILL_WITHIN_US = 1500;

async function start(test: TestContext, mode: string) {
  const vms = Object.fromEntries(VMS.map((vm) => [vm, { nics: { n: {} } }]));
  const daemon = await KillableDaemon.start(test, { cores: TWO_CPUS, mode, balance: false, vms });
  const guests = await Promise.all(VMS.map((vm) => NetDriver.connect({ socket: daemon.socket(vm, 'n') })));
  test.after(() => guests.forEach((guest) => guest.close()));
  await introduce(guests);
  const random = new Random(SEED);
  const talk = new Talk(guests, random);
  /** Has one or two cards move, or try to, while everybody talks. Returns how many have. */
  const move = async () => {
    const labels = new Set([`${random.pick(VMS)}/n`, `${random.pick(VMS)}/n`]);
    const moved = daemon.move(...[...labels].map((label) => ({ label, to: random.below(2) })));
    talk.work(random.below(1000 * WORK_MS_MAX) / 1000);
    return (await moved).filter((done) => done).length;
  };
  const dropped = async () => {
    const { nics, cores } = await daemon.status();
    const cards = VMS.map((vm) => Object.entries(nics[vm]!.n!).filter(([key]) => key.startsWith('dropped_')));
    const crossings = cores.map(({ crossings_dropped, arrivals_dropped }) => [crossings_dropped, arrivals_dropped]);
    return { cards, crossings };
  };
  // Somebody may have said hello before another was there.
  const before = await dropped();
  const nothingDropped = async () => assert.deepEqual(await dropped(), before);
  return { daemon, guests, random, talk, move, nothingDropped };
}

describe('network cards that move between sidecores', { timeout: 240_000, skip: NEEDS_TWO_CPUS }, () => {
  for (const mode of ['sidecore', 'adaptive']) {
    it(`lose nothing, and keep the order: ${mode} (SEED=${SEED})`, async (test) => {
      const { talk, move, nothingDropped } = await start(test, mode);
      let moved = 0;
      for (let asked = 0; moved < MOVES && asked < 10 * MOVES; asked++) moved += await move();
      assert.ok(moved >= MOVES, `${moved} moves`);
      await talk.arrived();
      await nothingDropped();
      test.diagnostic(`${talk.received} frames, ${moved} moves`);
    });
  }

  it(`have all their frames in a capture that runs meanwhile (SEED=${SEED})`, async (test) => {
    const { daemon, talk, move, random } = await start(test, 'adaptive');
    const passed = async () => {
      const { frames_in, frames_out } = (await daemon.status()).nics['a']!.n!;
      return frames_in + frames_out;
    };
    const before = await passed();
    const file = join(scratchDirectory(test), 'a.pcapng');
    const client = await CaptureClient.start(test, daemon.runDirectory, 'a/n', '--snap-bytes', '64', '--write', file);
    let moved = 0;
    for (let round = 0; round < 40; round++) {
      const [own] = await daemon.move({ label: 'a/n', to: round % 2 });
      if (own) moved++;
      await move();
      talk.work(random.below(2));
    }
    assert.ok(moved > 5, `${moved} moves`);
    await talk.arrived();
    assert.equal(await client.end('SIGINT'), 0, client.stderr);
    const ended = /a\/n: is captured no more: (\d+) frames, (\d+) dropped/;
    await until(() => ended.test(daemon.log), 'the capture ends');
    const [, frames, dropped] = ended.exec(daemon.log)!;
    assert.equal(Number(frames) + Number(dropped), (await passed()) - before);
  });

  it(`while front ends stop and start their rings (SEED=${SEED})`, async (test) => {
    const { guests, talk, move, random } = await start(test, 'adaptive');
    // A card whose ring is stopped loses what comes.
    talk.lossy = true;
    let moved = 0;
    for (let round = 0; round < MOVES; round++) {
      const { frontEnd, rx, tx } = random.pick(guests);
      const index = random.below(2);
      const { callFd } = index === 0 ? rx : tx;
      const touched = frontEnd.send('SET_VRING_CALL', encode.vringFd({ index, noFd: false }), [callFd]);
      moved += await move();
      await touched;
      talk.forget();
    }
    assert.ok(moved > MOVES / 10, `${moved} moves`);
    for (const { frontEnd } of guests) await frontEnd.readConfig(0, 6);
    // What was under way comes before what they say now.
    await introduce(guests);
    talk.forget();
    talk.lossy = false;
    talk.work(50);
    await talk.arrived();
  });

  it(`and sidecores that die meanwhile (SEED=${SEED})`, async (test) => {
    const { daemon, guests, talk, move, random } = await start(test, 'sidecore');
    talk.lossy = true;
    for (let kill = 0; kill < KILLS; kill++) {
      const killed = daemon.kill(random.below(2), random.below(KILL_WITHIN_US));
      for (let i = 0; i < 4; i++) await move();
      await killed;
      talk.forget();
      for (const { frontEnd, rx, tx } of guests)
        for (const [index, { callFd }] of [rx, tx].entries())
          await frontEnd.send('SET_VRING_CALL', encode.vringFd({ index, noFd: false }), [callFd]);
    }
    await until(
      async () => (await daemon.status()).cores.reduce((sum, { deaths }) => sum + deaths, 0) === KILLS,
      'all are replaced',
    );
    let moved = 0;
    while (moved < 10) moved += await move();
    await until(() => {
      const before = talk.received;
      talk.work(5);
      talk.forget();
      return talk.received > before;
    }, 'the network goes on');
    await introduce(guests);
    talk.forget();
    talk.lossy = false;
    for (let i = 0; i < 10; i++) await move();
    await talk.arrived();
  });
});
