/** The conversations that real front ends have with a back end, each against a daemon of its own. */
import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { BlockDevice } from '../../src/block/device.js';
import { close } from '../../src/host/libc.js';
import { acceptUnix, listenUnix } from '../../src/host/unix-socket.js';
import { NetDevice } from '../../src/net/device.js';
import { macHigh, macLow } from '../../src/net/ethernet.js';
import { Connection } from '../../src/vhost-user/connection.js';
import type { VirtioDevice } from '../../src/virtio/device.js';
import type { Mac, Replay } from '../replays/replay.js';
import { scratchDirectory } from '../support/daemon.js';
import { RawFrontEnd, until } from './raw-front-end.js';
import { NEIGHBOUR_PAIRS, Neighbour } from './replay-neighbour.js';
import { Replayer } from './replayer.js';
import { type Mode, TestDaemon } from './test-daemon.js';

const DISK_BYTES = 16 * 2 ** 20;

/** The card's address; its guest takes it over from the configuration space or, by the VMM's word, from there. */
const MAC: Mac = [0x52, 0x54, 0x00, 0x12, 0x34, 0x56];
const MTU = 1500;
const SPEED_MBPS = 10_000;

/** Every file of test/replays has an array of them, except those with what they have in common. */
const folder = join(import.meta.dirname, '../replays');
const files = readdirSync(folder).filter((file) => file.endsWith('.js'));
const replays: Replay[] = (await Promise.all(files.map((file) => import(join(folder, file))))).flatMap(
  (module) => module.replays ?? [],
);

/** Configuration of what is served, without how it is connected. */
function configuration({ device, queues }: Replay): Record<string, unknown> {
  if (device.kind === 'disk') return { backend: { type: 'memory', size: DISK_BYTES }, queues };
  const mac = MAC.map((byte) => byte.toString(16).padStart(2, '0')).join(':');
  return { mac, mtu: MTU, queue_pairs: device.queuePairs, speed: SPEED_MBPS };
}

/** The device as its daemon must present it. */
function likeServed({ device, queues }: Replay): VirtioDevice {
  if (device.kind === 'disk') return diskLikeServed(queues);
  const [high, low] = [macHigh(Buffer.from(MAC), 0), macLow(Buffer.from(MAC), 0)];
  const { queuePairs } = device;
  return new NetDevice({ mac: { high, low }, mtu: MTU, queuePairs, speedMbps: SPEED_MBPS, offloads: true });
}

function diskLikeServed(queues: number): BlockDevice {
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

assert.ok(replays.length >= 20, 'the replays are found');

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
  const isDisk = replay.device.kind === 'disk';
  const device = { ...configuration(replay), ...(listens ? { role: 'client', socket: listenAt } : {}) };
  const unsealed_memory = replay.memory === 'sealed' ? 'refuse' : 'allow';
  const served = await TestDaemon.start(
    test,
    {
      vm: { unsealed_memory, ...(isDisk ? { disks: { d: device } } : { nics: { d: device } }) },
      ...(isDisk ? {} : { neighbour: { nics: { n: { queue_pairs: NEIGHBOUR_PAIRS } } } }),
    },
    mode,
  );
  const neighbour = isDisk ? undefined : await Neighbour.connect(served.socket('neighbour', 'n'));
  test.after(() => neighbour?.close());
  const before = await served.heldAtRest();
  const connect = async () => {
    if (!listens) return RawFrontEnd.connect(served.socket('vm'));
    let fd = -1;
    await until(() => (fd = acceptUnix(listening)) >= 0, 'the back end comes');
    return new RawFrontEnd(new Connection(fd));
  };
  const guest = neighbour && { guest: neighbour, mac: MAC };
  const replayer = new Replayer(replay, likeServed(replay), connect, guest);
  test.after(() => replayer.close());
  const status = async () => {
    const { vms, nics } = await served.status();
    return (isDisk ? vms : nics).vm!.d!;
  };
  const rounds = await replayer.play().catch(async (error) => {
    throw new Error(`${served.daemon.log}${JSON.stringify(await status())}`, { cause: error });
  });
  assert.ok(rounds > 0, 'its driver did something');
  assert.deepEqual((await status()).faults, {}, 'nothing was held against it');
  if (!listens) {
    await until(async () => !(await status()).connected, 'the front end has left');
    await served.expectHeld(before, 'nothing is left of the conversation');
  }
  assert.equal(await served.daemon.stop(), 0, served.daemon.log);
}
