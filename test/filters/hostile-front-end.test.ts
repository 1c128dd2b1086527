/**
 * A front end that takes rings, memory and itself away while filters keep its requests and a helper encrypts them: what it was told is
 * gone is not touched any more, what was in flight comes back or is forgotten, nothing of it stays, and its neighbour notices nothing.
 */
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { it, type TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { makeLuks1 } from '../../src/filters/block/encrypt/luks1-keys.js';
import { encode } from '../../src/vhost-user/codec.js';
import { scratchDirectory } from '../support/daemon.js';
import { Random, SEED } from '../support/seed.js';
import { HealthyGuest, TestDaemon } from '../vhost-user/test-daemon.js';
import { TestGuest, type TestQueue } from '../vhost-user/test-guest.js';

const QUEUES = 2;
const ROUNDS = Number(process.env['ROUNDS'] ?? 14);
const DISK_BYTES = 2 ** 20;
/** Of all filters of a queue tens of MiB are mapped. */
const GROWTH_KIB_MAX = 128 * 1024;

/** Keeps requests on both their ways for a while, hurried or not. */
const KEEPER = `
import { DEFERRED, defineBlockFilter } from 'sidecore/filter';

export default defineBlockFilter({
  name: 'keeper',
  defers: true,
  create(context) {
    const kept: { token: number; turns: number; status: number }[] = [];
    let number = 0;
    const keep = (token: number, status: number) => kept.push({ token, turns: (number++ * 37) % 200, status });
    return {
      submit: (request) => void keep(request.defer(), -1),
      complete(request, status) {
        keep(request.defer(), status);
        return DEFERRED;
      },
      tick() {
        for (const one of kept.splice(0)) {
          if (one.turns-- > 0) kept.push(one);
          else if (one.status < 0) context.goOn(one.token);
          else context.finish(one.token, one.status);
        }
      },
    };
  },
});
`;

/** Disks that are encrypted by the helper. */
function disks(test: TestContext) {
  const folder = scratchDirectory(test);
  const passphrase = Buffer.from('a passphrase of a test');
  writeFileSync(join(folder, 'key'), passphrase, { mode: 0o600 });
  writeFileSync(join(folder, 'keeper.ts'), KEEPER);
  const image = Buffer.concat([makeLuks1({ passphrase, iterations: 1000 }).bytes, Buffer.alloc(2 * DISK_BYTES)]);
  const encrypt = { use: 'encrypt', options: { key_file: join(folder, 'key'), offload_bytes: 512 } };
  const disk = (name: string, filters: readonly object[]) => {
    writeFileSync(join(folder, name), image);
    const backend = { type: 'file', path: join(folder, name) };
    return { backend, queues: QUEUES, filters: [...filters, encrypt] };
  };
  const mirror = { use: 'mirror', options: { to: { type: 'file', path: join(folder, 'second') } } };
  const throttle = { use: 'throttle', options: { iops: 20_000 } };
  const cache = { use: 'cache', options: { size: '1MiB' } };
  return {
    hostile: disk('hostile', [{ use: join(folder, 'keeper.ts') }, throttle, cache, mirror]),
    other: disk('other', []),
  };
}

it(`a hostile front end while filters keep requests (seed ${SEED})`, { timeout: 120_000 }, async (test) => {
  const random = new Random(SEED);
  const { hostile, other } = disks(test);
  const vms = { hostile: { disks: { d: hostile } }, other: { disks: { d: other } } };
  const served = await TestDaemon.start(test, vms, 'sidecore');
  const healthy = await HealthyGuest.start(test, served.socket('other'));
  const mapped = () => Number(/VmSize:\s+(\d+)/.exec(readFileSync(`/proc/${served.daemon.pid}/status`, 'utf8'))![1]);

  const connect = async () => {
    const guest = await TestGuest.start(served.socket('hostile'), { queues: QUEUES });
    test.after(() => guest.close());
    return guest;
  };
  let guest = await connect();
  let queues: TestQueue[] = [...guest.queues];

  /** Nothing of this memory changes, though something was in flight. */
  const expectQuiet = async ({ ram }: TestGuest, what: string) => {
    const before = Buffer.from(ram.bytes);
    await sleep(5);
    healthy.run(5);
    assert.equal(before.compare(ram.bytes), 0, `memory was written to after ${what}`);
  };
  const freshQueues = async () => {
    for (const { index } of queues) {
      const queue = guest.newQueue(index);
      test.after(() => queue.close());
      await guest.stopQueue(queue);
      await guest.startQueue(queue, 0);
      queues[index] = queue;
    }
  };
  const ends = () => Promise.all(queues.map((queue) => queue.complete()));

  /** Each does its worst while requests of both queues are in flight, and leaves queues that can be used. */
  const deeds: Record<string, () => Promise<void>> = {
    async 'stops a ring'() {
      const queue = random.pick(queues);
      const base = await guest.stopQueue(queue);
      assert.equal(base, queue.position, 'what was taken has come back');
      await guest.startQueue(queue, base);
      await ends();
    },
    async 'gives its memory anew'() {
      await guest.shareMemory();
      await ends();
    },
    async 'takes its memory away'() {
      assert.ok(await guest.front.acknowledged('REM_MEM_REG', encode.memoryRegion(guest.region)));
      await expectQuiet(guest, 'REM_MEM_REG');
      assert.ok(await guest.front.acknowledged('ADD_MEM_REG', encode.memoryRegion(guest.region), [guest.ram.fd]));
      await ends();
    },
    async 'moves its rings'() {
      for (const { index } of queues) await guest.setAddress(guest.newQueue(index));
      await guest.front.settle();
      await freshQueues();
    },
    async 'resets its device'() {
      await guest.front.tell('RESET_DEVICE');
      await guest.front.settle();
      await expectQuiet(guest, 'RESET_DEVICE');
      await freshQueues();
    },
    async 'disables and enables'() {
      for (const queue of queues) await guest.enable(queue, false);
      await guest.front.settle();
      for (const queue of queues) await guest.enable(queue);
      await ends();
    },
    async 'leaves without a word'() {
      const left = guest;
      left.disconnect();
      guest = await connect();
      queues = [...guest.queues];
      await guest.front.settle();
      await expectQuiet(left, 'the connection has ended');
    },
  };

  let before = 0;
  const names = Object.keys(deeds);
  for (let round = 0; round < ROUNDS; round++) {
    const what = round < names.length ? names[round]! : random.pick(names);
    for (const queue of queues) queue.submitWrites();
    if (random.chance(0.7)) await sleep(random.below(4));
    await deeds[what]!();
    healthy.run(5);
    for (const queue of queues) await queue.writeAndRead();
    if (round === names.length) before = mapped();
  }
  for (const queue of queues) await guest.stopQueue(queue);
  healthy.finish();
  const growth = mapped() - before;
  assert.ok(growth < GROWTH_KIB_MAX, `${growth} KiB more are mapped`);
  const { vms: seen, cores } = await served.status();
  assert.ok(cores.every(({ deaths }) => deaths === 0));
  for (const disk of [seen.hostile!.d!, seen.other!.d!])
    for (const { use, in_service, faults } of disk.filters) assert.deepEqual([use, in_service, faults], [use, true, 0]);
  const encrypt = seen.hostile!.d!.filters.at(-1)!;
  assert.ok(encrypt.counters['pieces_offloaded']! > 0);
  assert.equal(await served.daemon.stop(), 0, served.daemon.log);
});
