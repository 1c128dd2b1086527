/** The filter encrypt in a whole daemon: images exchanged with QEMU, under load while sidecores die, and what is refused. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { closeSync, openSync, readFileSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { setTimeout as sleep, setImmediate as turn } from 'node:timers/promises';
import { BLOCK_FEATURES, SECTOR_BYTES, Status } from '../../src/block/features.js';
import { readConfig } from '../../src/daemon/config.js';
import { problemLine } from '../../src/daemon/config-text.js';
import { askDaemon } from '../../src/daemon/control-server.js';
import { controlSocketPath } from '../../src/daemon/daemon.js';
import { parseLuks1 } from '../../src/filters/block/encrypt/luks1.js';
import { makeLuks1, openLuks1 } from '../../src/filters/block/encrypt/luks1-keys.js';
import { encryptSector } from '../../src/filters/block/encrypt/xts.js';
import { BlockDriver, Load, RequestType } from '../../src/guest/index.js';
import { allowedCpus } from '../../src/host/affinity.js';
import { KillableDaemon } from '../sidecore/killable-daemon.js';
import { Daemon, scratchDirectory } from '../support/daemon.js';
import { Random } from '../support/seed.js';
import { until } from '../vhost-user/raw-front-end.js';
import { SIDECORE_CPU, TestDaemon } from '../vhost-user/test-daemon.js';

const DISK_BYTES = 8 * 2 ** 20;
const PASSPHRASE = 'a passphrase of a test';
const DEATHS = 4;
const noQemu = spawnSync('qemu-img', ['--version']).status === 0 ? false : 'there is no qemu-img';

function qemuImg(...args: string[]): void {
  let result = spawnSync('qemu-img', args, { encoding: 'utf8' });
  // QEMU 7.2 gives up on its calibration if the kernel's account of CPU time has not moved yet.
  for (let i = 0; i < 50 && /Unable to get accurate CPU usage/.test(result.stderr); i++)
    result = spawnSync('qemu-img', args, { encoding: 'utf8' });
  assert.equal(result.status, 0, `qemu-img ${args.join(' ')}: ${result.stderr}`);
}

/** A folder with a key file, and what QEMU and we are told of an image in it. */
function place(test: TestContext) {
  const folder = scratchDirectory(test);
  const key = join(folder, 'key');
  writeFileSync(key, PASSPHRASE, { mode: 0o600 });
  return {
    folder,
    path: (name: string) => join(folder, name),
    secret: ['--object', `secret,id=s,file=${key}`],
    luks: (name: string) => `driver=luks,key-secret=s,file.filename=${join(folder, name)}`,
    disk: (name: string, options: object = {}, more: object = {}) => ({
      backend: { type: 'file', path: join(folder, name) },
      filters: [{ use: 'encrypt', options: { key_file: key, ...options } }],
      ...more,
    }),
  };
}

/** An image of ours that holds these data, all of them encrypted. */
function writeImage(path: string, plain: Buffer): void {
  const { bytes } = makeLuks1({ passphrase: Buffer.from(PASSPHRASE), iterations: 1000 });
  const header = parseLuks1(bytes, bytes.length / SECTOR_BYTES);
  const read = (offset: number, length: number) => Buffer.from(bytes.subarray(offset, offset + length));
  const { key } = openLuks1(header, read, [Buffer.from(PASSPHRASE)]);
  const fd = openSync(path, 'w');
  writeSync(fd, bytes);
  for (let at = 0; at < plain.length; at += SECTOR_BYTES)
    writeSync(fd, encryptSector(key, at / SECTOR_BYTES, plain.subarray(at, at + SECTOR_BYTES)));
  closeSync(fd);
}

function randomBytes(seed: number, length: number): Buffer {
  const random = new Random(seed);
  return Buffer.from(Uint32Array.from({ length: length / 4 }, () => random.word()).buffer);
}

const REQUEST_BYTES = 2 ** 19;

async function connect(test: TestContext, socket: string, depth = 4, requestBytes = REQUEST_BYTES, queues = 1) {
  const guest = await BlockDriver.connect({ socket, depth, requestBytes, queues });
  test.after(() => guest.close());
  return guest;
}

/** One request of a guest's, to its end. */
async function ask(guest: BlockDriver, type: number, sector: number, length: number, data?: Buffer): Promise<Buffer> {
  const queue = guest.queues[0]!;
  const at = queue.dataAddress(0);
  if (data !== undefined) guest.ram.bytes.set(data, at);
  queue.submit(0, type, sector, length);
  queue.publish();
  await until(() => queue.take() === 0, 'the request completes');
  assert.equal(queue.status(0), Status.OK);
  return Buffer.from(guest.ram.bytes.subarray(at, at + length));
}

async function readAll(guest: BlockDriver, length: number): Promise<Buffer> {
  const parts = [];
  for (let at = 0; at < length; at += REQUEST_BYTES)
    parts.push(await ask(guest, RequestType.IN, at / SECTOR_BYTES, REQUEST_BYTES));
  return Buffer.concat(parts);
}

describe('the filter encrypt in a daemon', { timeout: 120_000 }, () => {
  it('serves what qemu-img has made, and qemu-img reads what a guest has written', { skip: noQemu }, async (test) => {
    const { path, secret, luks, disk } = place(test);
    const plain = randomBytes(1, DISK_BYTES);
    writeFileSync(path('plain'), plain);
    const how = 'key-secret=s,iter-time=10';
    qemuImg('convert', ...secret, '-f', 'raw', '-O', 'luks', '-o', how, path('plain'), path('theirs'));
    const daemon = await Daemon.start(test, { cores: [SIDECORE_CPU], vms: { vm: { disks: { d: disk('theirs') } } } });
    const guest = await connect(test, daemon.socket('vm', 'd'));
    assert.equal(guest.capacity, DISK_BYTES);
    assert.equal(guest.frontEnd.features & BLOCK_FEATURES.DISCARD, 0n);
    assert.ok((await readAll(guest, DISK_BYTES)).equals(plain));
    for (const [sector, length] of [
      [1, 512],
      [7, 4096],
      [1000, REQUEST_BYTES],
      [DISK_BYTES / SECTOR_BYTES - 3, 1536],
    ] as const) {
      const data = randomBytes(sector, length);
      await ask(guest, RequestType.OUT, sector, length, data);
      data.copy(plain, sector * SECTOR_BYTES);
    }
    await ask(guest, RequestType.FLUSH, 0, 0);
    assert.ok((await readAll(guest, DISK_BYTES)).equals(plain));
    const { filters } = (await daemon.status()).vms.vm!.d!;
    const { bytes_encrypted, bytes_decrypted, errors } = filters[0]!.counters;
    assert.deepEqual(
      [bytes_encrypted, bytes_decrypted, errors],
      [512 + 4096 + REQUEST_BYTES + 1536, 2 * DISK_BYTES, 0],
    );
    const { stdout } = await daemon.cli('status', '--json');
    assert.equal(await daemon.stop(), 0);
    qemuImg('convert', ...secret, '--image-opts', luks('theirs'), '-O', 'raw', path('back'));
    assert.ok(readFileSync(path('back')).equals(plain));
    // What must not be told is not: neither the passphrase nor, as a number or an array would show it, the key.
    const { key } = openedByUs(path('theirs'));
    for (const text of [stdout, daemon.log]) {
      assert.ok(!text.includes(PASSPHRASE));
      for (const shape of [key.toString('hex'), key.toString('base64'), [...key.subarray(0, 8)].join(',')])
        assert.ok(!text.includes(shape));
    }
  });

  for (const [where, offload_bytes] of [
    ['on sidecores', 2 ** 20],
    ['off them', 512],
  ] as const) {
    it(`verifies under load from two queues while sidecores die, encrypting ${where}`, async (test) => {
      const cpus = allowedCpus().slice(0, 2);
      if (cpus.length < 2) return test.skip('needs two CPUs');
      const { path, disk } = place(test);
      const size = 4 * 2 ** 20;
      writeImage(path('d'), Buffer.alloc(size));
      const disks = { d: disk('d', { offload_bytes }, { queues: 2 }) };
      const config = { cores: cpus, mode: 'adaptive', balance: false, vms: { a: { disks } } };
      const daemon = await KillableDaemon.start(test, config);
      const requestBytes = 32_768;
      const guest = await connect(test, daemon.socket('a'), 16, requestBytes, 2);
      const pattern = { depth: 16, requestBytes, readShare: 0.5, workingSetBytes: 2 ** 21, verify: true, blank: true };
      const load = new Load([guest], pattern);
      load.start();
      let requests = 0;
      const workDuring = async (what: Promise<unknown>) => {
        const done = what.then(() => true);
        do {
          const result = load.run(5);
          requests += result.requests;
          assert.deepEqual([result.errors, result.mismatches], [0, 0]);
        } while (!(await Promise.race([done, turn(false)])));
      };
      // A helper's thread takes its time to start.
      await workDuring(until(() => requests > 50, 'requests complete'));
      for (let i = 0; i < DEATHS; i++) {
        await workDuring(daemon.kill(i % 2, 300 + 170 * i));
        await workDuring(sleep(50));
      }
      const before = requests;
      await workDuring(until(() => requests > before + 50, 'requests complete after the last death'));
      assert.ok(load.finish());
      const [filter] = (await daemon.status()).vms.a!.d!.filters;
      assert.deepEqual([filter!.in_service, filter!.faults, filter!.counters['errors']], [true, 0, 0]);
      assert.equal(filter!.counters['pieces_offloaded']! > 0, offload_bytes === 512);
    });
  }

  it('has snapshots of what is encrypted, and goes back to one, while guests write', async (test) => {
    const { path, disk } = place(test);
    const size = 2 ** 21;
    // So that it would be found in copies that are not encrypted.
    const plain = Buffer.alloc(size, 'what nobody else reads ');
    writeImage(path('d'), plain);
    const snapshot = { use: 'snapshot', options: { path: path('snapshots') } };
    const { backend, filters } = disk('d');
    const disks = { d: { backend, filters: [...filters, snapshot] } };
    const memory = { backend: { type: 'memory', size } };
    const daemon = await Daemon.start(test, {
      cores: [SIDECORE_CPU],
      mode: 'adaptive',
      vms: { a: { disks }, b: { disks: { d: memory } } },
    });
    const loadOn = (guest: BlockDriver, blank: boolean) => {
      const pattern = { depth: 4, requestBytes: 4096, readShare: 0.3, workingSetBytes: size, verify: true, blank };
      const load = new Load([guest], pattern);
      load.start();
      return load;
    };
    const other = loadOn(await connect(test, daemon.socket('b', 'd'), 4, 4096), true);
    const loads = [other];
    /** `sidecore snapshot`, while guests write. */
    const snapshots = async (...args: string[]) => {
      const done = daemon.cli('snapshot', ...args);
      const ended = done.then(() => true);
      do {
        for (const load of loads) {
          const { errors, mismatches } = load.run(1);
          assert.deepEqual([errors, mismatches], [0, 0]);
        }
        // The command has the CPU to itself meanwhile.
      } while (!(await Promise.race([ended, sleep(10, false)])));
      const { status, stderr } = await done;
      assert.equal(status, 0, stderr);
    };
    const tell = async <T>(command: string, given: Record<string, string> = {}): Promise<T> => {
      const body = { device: 'a/d', which: 'snapshot', command, given };
      const path = controlSocketPath(daemon.runDirectory);
      return (await askDaemon<{ answer: T }>(path, 'POST', '/filters/ask', body)).answer;
    };

    const guest = await connect(test, daemon.socket('a', 'd'), 4, REQUEST_BYTES);
    await tell('create', { name: 'one' });
    const writing = loadOn(guest, false);
    loads.push(writing);
    await snapshots('export', 'a/d', 'one', path('one'));
    await assert.rejects(tell('merge', { name: 'one' }), /a\/d is in use: a front end is connected/);
    assert.ok(writing.finish());
    loads.pop();
    assert.ok(!(await readAll(guest, size)).equals(plain), 'it has written since');
    guest.close();
    requireHolds(path('one'), plain);
    for (const name of ['snapshots/copies.raw', 'd', 'one']) assert.ok(!readFileSync(path(name)).includes('nobody'));
    const [listed] = (await tell<{ snapshots: { bytes: number }[] }>('list')).snapshots;
    assert.ok(listed!.bytes > 0);

    await new TestDaemon(daemon).untilDisk('a', ({ connected }) => !connected, 'its guest has left');
    await snapshots('merge', 'a/d', 'one');
    const again = await connect(test, daemon.socket('a', 'd'));
    assert.ok((await readAll(again, size)).equals(plain));
    const now = Buffer.from(plain);
    randomBytes(5, 65_536).copy(now, 12_288);
    await ask(again, RequestType.OUT, 12_288 / SECTOR_BYTES, 65_536, now.subarray(12_288, 12_288 + 65_536));
    assert.ok((await readAll(again, size)).equals(now));
    again.close();
    assert.ok(other.finish());
    assert.equal(await daemon.stop(), 0, daemon.log);
    requireHolds(path('d'), now);

    // The other way round the snapshot would copy what is not encrypted yet.
    const config = { vms: { a: { disks: { d: { backend, filters: [snapshot, ...filters] } } } } };
    const { problems } = readConfig(JSON.stringify(config, null, 1), '/s.yaml');
    assert.deepEqual(problems.map(problemLine), [
      '/s.yaml:12: vms.a.disks.d.filters.0.use: the filter snapshot has to be the last',
    ]);
  });

  it('serves nothing with a wrong key, a damaged header, or a filter below it, and says why', async (test) => {
    const { folder, path, disk } = place(test);
    writeImage(path('good'), randomBytes(3, 2 ** 20));
    writeFileSync(path('wrong-key'), 'another', { mode: 0o600 });
    const damaged = readFileSync(path('good'));
    damaged.fill(0xff, 208, 212);
    writeFileSync(path('damaged'), damaged);
    const below = { filters: [...disk('good').filters, { use: 'meter' }] };
    const open = { filters: [{ ...disk('good').filters[0]!, on_fault: 'open' }] };
    for (const [one, message] of [
      [disk('good', { key_file: path('wrong-key') }), /opens none of the key slots in use \(0\).*KEY_INVALID/],
      [disk('good', { key_file: path('none') }), /key file .* cannot be read \(ENOENT\).*KEY_INVALID/],
      [disk('damaged'), /key slot 0 is neither in use nor free.*IMAGE_INVALID/],
      [disk('good', {}, below), /the filter encrypt has to be the last.*CONFIG_INVALID/],
      [disk('good', {}, open), /on_fault/],
    ] as const) {
      const starting = Daemon.start(
        test,
        { cores: [SIDECORE_CPU], vms: { vm: { disks: { d: one } } } },
        { directory: folder },
      );
      await assert.rejects(starting, message);
    }
  });
});

/** An image opens with the passphrase and holds these data. */
function requireHolds(path: string, plain: Buffer): void {
  const { key } = openedByUs(path);
  const image = readFileSync(path);
  const payload = image.length - plain.length;
  assert.equal(parseLuks1(image, image.length / SECTOR_BYTES).payloadSector * SECTOR_BYTES, payload);
  for (let at = 0; at < plain.length; at += SECTOR_BYTES) {
    const stored = encryptSector(key, at / SECTOR_BYTES, plain.subarray(at, at + SECTOR_BYTES));
    const found = image.subarray(payload + at, payload + at + SECTOR_BYTES);
    if (!found.equals(stored)) assert.fail(`${path}: sector ${at / SECTOR_BYTES} is another`);
  }
}

function openedByUs(path: string) {
  const bytes = readFileSync(path);
  const read = (offset: number, length: number) => Buffer.from(bytes.subarray(offset, offset + length));
  const header = parseLuks1(bytes, bytes.length / SECTOR_BYTES);
  return openLuks1(header, read, [Buffer.from(PASSPHRASE)]);
}
