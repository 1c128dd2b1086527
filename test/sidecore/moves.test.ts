/**
 * Queues of disks move from sidecore to sidecore under the load of several guests: nothing is lost, nothing is answered twice, every
 * byte is right, whatever else happens meanwhile.
 */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { RequestType } from '../../src/block/features.js';
import { BlockDriver, Load } from '../../src/guest/index.js';
import { EPOLLET, EPOLLIN, Epoll } from '../../src/host/epoll.js';
import { close } from '../../src/host/libc.js';
import { encode } from '../../src/vhost-user/codec.js';
import { scratchDirectory } from '../support/daemon.js';
import { Random } from '../support/seed.js';
import { NEEDS_TWO_CPUS, TWO_CPUS } from '../vhost-user/test-daemon.js';
import { KillableDaemon } from './killable-daemon.js';

const SEED = Number(process.env.SEED ?? 20_261_128);
const MOVES = Number(process.env.MOVES ?? 200);
const KILLS = Number(process.env.KILLS ?? 10);
const VMS = ['a', 'b'];
const QUEUES = 2;
const DEPTH = 16;
const DISK_BYTES = 16 * 2 ** 20;
/** Load between two moves, at most, ms. */
const WORK_MS_MAX = 3;
/** A death comes within this time after a move was asked for. */
const KILL_WITHIN_US = 1500;

/** Nothing takes this long but a call that does not come. */
const CALL_MS_MAX = 10_000;

type Backend = 'memory' | 'file';

interface Bench {
  readonly daemon: KillableDaemon;
  readonly guests: readonly BlockDriver[];
  readonly load: Load;
  readonly random: Random;
}

async function start(test: TestContext, mode: string, backend: Backend, packed: boolean): Promise<Bench> {
  const images = scratchDirectory(test);
  const disk = (vm: string) => ({
    backend: { type: backend, size: DISK_BYTES, ...(backend === 'file' ? { path: join(images, vm) } : {}) },
    queues: QUEUES,
  });
  const vms = Object.fromEntries(VMS.map((vm) => [vm, { disks: { d: disk(vm) } }]));
  const daemon = await KillableDaemon.start(test, { cores: TWO_CPUS, mode, balance: false, vms });
  const guests: BlockDriver[] = [];
  for (const vm of VMS) {
    const options = { socket: daemon.socket(vm), depth: DEPTH, requestBytes: 4096, queues: QUEUES, packed };
    guests.push(await BlockDriver.connect(options));
  }
  test.after(() => guests.forEach((guest) => guest.close()));
  const pattern = { depth: DEPTH, requestBytes: 4096, readShare: 0.5, workingSetBytes: 2 ** 20, verify: true };
  const load = new Load(guests, { ...pattern, seed: SEED });
  return { daemon, guests, load, random: new Random(SEED) };
}

/** Works for a while, and finds nothing wrong. */
function work({ load }: Bench, ms: number): void {
  const { errors, mismatches } = load.run(ms);
  assert.deepEqual({ errors, mismatches }, { errors: 0, mismatches: 0 });
}

/** Works until every queue has got something done. */
function workWithAll(bench: Bench): void {
  const deadline = Date.now() + 20_000;
  for (const waiting = new Set(bench.load.queues); waiting.size > 0; ) {
    work(bench, 10);
    for (const queue of waiting) if (queue.requests > 0) waiting.delete(queue);
    assert.ok(Date.now() < deadline, 'every queue is served');
  }
}

/** Has any queue move, or try to, while its guest works. Returns whether it has. */
async function moveOne(bench: Bench): Promise<boolean> {
  const { daemon, random } = bench;
  const order = { label: `${random.pick(VMS)}/d`, queue: random.below(QUEUES), to: random.below(2) };
  const moved = daemon.move(order);
  work(bench, random.below(1000 * WORK_MS_MAX) / 1000);
  return (await moved)[0]!;
}

/** Everything comes back, once, and nobody has noticed anything. */
async function finish({ daemon, guests, load }: Bench): Promise<void> {
  assert.ok(load.finish(), 'every request comes back');
  const { vms } = await daemon.status();
  for (const [number, guest] of guests.entries()) {
    const { queues, faults } = vms[VMS[number]!]!.d!;
    assert.deepEqual([queues.map(({ fault }) => fault), faults], [[null, null], {}]);
    for (const [index, queue] of guest.queues.entries())
      assert.equal(await guest.frontEnd.stopRing(index), queue.ring.base, 'each request was answered once');
  }
}

/** Has a queue served anew, as any message about a live ring does. */
async function touch({ frontEnd, queues }: BlockDriver, index: number): Promise<void> {
  await frontEnd.send('SET_VRING_CALL', encode.vringFd({ index, noFd: false }), [queues[index]!.callFd]);
}

describe('queues that move between sidecores', { timeout: 240_000, skip: NEEDS_TWO_CPUS }, () => {
  for (const backend of ['memory', 'file'] as const) {
    for (const mode of ['sidecore', 'adaptive'] as const) {
      for (const packed of [false, true]) {
        const what = `${backend}, ${mode}, ${packed ? 'packed' : 'split'}`;
        it(`lose nothing under load: ${what} (SEED=${SEED})`, async (test) => {
          const bench = await start(test, mode, backend, packed);
          bench.load.start();
          let moved = 0;
          for (let asked = 0; moved < MOVES && asked < 10 * MOVES; asked++) if (await moveOne(bench)) moved++;
          assert.equal(moved, MOVES);
          workWithAll(bench);
          await finish(bench);
        });
      }
    }
  }

  it(`survive the deaths of either sidecore meanwhile (SEED=${SEED})`, async (test) => {
    const bench = await start(test, 'sidecore', 'file', true);
    const { daemon, guests, load, random } = bench;
    load.start();
    let moved = 0;
    for (let kill = 0; kill < KILLS; kill++) {
      for (let i = 0; i < 10; i++) if (await moveOne(bench)) moved++;
      const killed = daemon.kill(random.below(2), random.below(KILL_WITHIN_US));
      if (await moveOne(bench)) moved++;
      await killed;
      workWithAll(bench);
      // The deaths that they saw are forgotten.
      for (const guest of guests)
        for (const { index } of guest.queues.map((_, index) => ({ index }))) await touch(guest, index);
    }
    assert.ok(moved > 3 * KILLS, `${moved} moves`);
    const { cores } = await daemon.status();
    assert.equal(
      cores.reduce((sum, { deaths }) => sum + deaths, 0),
      KILLS,
    );
    await finish(bench);
  });

  it(`while their front end stops and starts them (SEED=${SEED})`, async (test) => {
    const bench = await start(test, 'adaptive', 'memory', false);
    const { guests, load, random } = bench;
    load.start();
    let moved = 0;
    for (let round = 0; round < MOVES; round++) {
      const touched = touch(random.pick(guests), random.below(QUEUES));
      if (await moveOne(bench)) moved++;
      await touched;
    }
    assert.ok(moved > MOVES / 10, `${moved} moves`);
    workWithAll(bench);
    await finish(bench);
  });

  for (const mode of ['sidecore', 'adaptive'] as const) {
    it(`have their guest called, which sleeps: ${mode} (SEED=${SEED})`, async (test) => {
      const { daemon, guests, random } = await start(test, mode, 'memory', false);
      const queue = guests[0]!.queues[0]!;
      const epoll = new Epoll(1);
      test.after(() => close(epoll.fd));
      epoll.add(queue.callFd, EPOLLIN | EPOLLET, 1);
      let moved = 0;
      for (let round = 0; round < MOVES; round++) {
        const moving = daemon.move({ label: 'a/d', queue: 0, to: round % 2 });
        for (const end = performance.now() + random.below(600) / 1000; performance.now() < end; );
        queue.submit(0, RequestType.OUT, 8 * round, 4096);
        queue.publish();
        while (queue.take() < 0)
          if (!queue.ring.requestCalls())
            assert.ok(epoll.wait(CALL_MS_MAX) > 0, `request ${round} is answered, with a call`);
        if ((await moving)[0]) moved++;
      }
      assert.ok(moved > MOVES / 2, `${moved} moves`);
    });
  }
});
