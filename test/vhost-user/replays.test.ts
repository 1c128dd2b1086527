/** The conversations that real front ends have with a back end, each against a daemon of its own. */
import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { BlockDevice } from '../../src/block/device.js';
import { close } from '../../src/host/libc.js';
import { acceptUnix, listenUnix } from '../../src/host/unix-socket.js';
import { Connection } from '../../src/vhost-user/connection.js';
import type { Replay } from '../replays/replay.js';
import { scratchDirectory } from '../support/daemon.js';
import { RawFrontEnd, until } from './raw-front-end.js';
import { Replayer } from './replayer.js';
import { type Mode, TestDaemon } from './test-daemon.js';

const DISK_BYTES = 16 * 2 ** 20;

/** Every file of test/replays has an array of them, except the one with their types. */
const folder = join(import.meta.dirname, '../replays');
const files = readdirSync(folder).filter((file) => file.endsWith('.js') && file !== 'replay.js');
const replays: Replay[] = (await Promise.all(files.map((file) => import(join(folder, file))))).flatMap(
  (module) => module.replays,
);

/** The disk as its daemon must present it. */
function likeServed(queues: number): BlockDevice {
  const abilities = {
    sizeBytes: DISK_BYTES,
    readOnly: false,
    discard: true,
    writeZeroes: true,
    secureErase: true,
    inOrder: true,
    physicalBlockBytes: 4096,
  };
  return new BlockDevice({ abilities, readOnly: false, blockBytes: 512, queues, serial: 'd', writeback: true });
}

assert.ok(replays.length >= 9, 'the replays are found');

for (const mode of ['sidecore', 'baseline'] as const) {
  describe(`conversations of real front ends, mode ${mode}`, { timeout: 120_000 }, () => {
    for (const replay of replays) it(`${replay.name}`, (test) => play(test, replay, mode));
  });
}

async function play(test: TestContext, replay: Replay, mode: Mode): Promise<void> {
  // Whoever listens, the messages are the front end's.
  const listens = replay.name.includes('as server');
  const listenAt = join(scratchDirectory(test), 'vmm.sock');
  const listening = listens ? listenUnix(listenAt) : -1;
  test.after(() => close(listening));
  const disk = { backend: { type: 'memory', size: DISK_BYTES }, queues: replay.queues };
  const served = await TestDaemon.start(
    test,
    {
      vm: {
        unsealed_memory: replay.memory === 'sealed' ? 'refuse' : 'allow',
        disks: { d: listens ? { ...disk, role: 'client', socket: listenAt } : disk },
      },
    },
    mode,
  );
  const before = await served.heldAtRest();
  const connect = async () => {
    if (!listens) return RawFrontEnd.connect(served.socket('vm'));
    let fd = -1;
    await until(() => (fd = acceptUnix(listening)) >= 0, 'the back end comes');
    return new RawFrontEnd(new Connection(fd));
  };
  const replayer = new Replayer(replay, likeServed(replay.queues), connect);
  test.after(() => replayer.close());
  const rounds = await replayer.play().catch(async (error) => {
    throw new Error(`${served.daemon.log}${JSON.stringify(await served.disk('vm'))}`, { cause: error });
  });
  assert.ok(rounds > 0, 'its driver did I/O');
  assert.deepEqual((await served.disk('vm')).faults, {}, 'nothing was held against it');
  if (!listens) {
    await served.untilDisk('vm', ({ connected }) => !connected, 'the front end has left');
    await served.expectHeld(before, 'nothing is left of the conversation');
  }
  assert.equal(await served.daemon.stop(), 0, served.daemon.log);
}
