/** The daemon as it is run: how it starts, what it says when it cannot, what it logs, how it ends. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, renameSync, truncateSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Daemon, repositoryRoot, scratchDirectory } from '../../test/support/daemon.js';
import { BlockDriver, Load } from '../guest/index.js';

const MAIN = join(repositoryRoot, 'dist/src/cli/main.js');
const TIMEOUT_MS = 60_000;
const MIB = 2 ** 20;

type Disks = Record<string, Record<string, unknown>>;

const config = (disks: Disks, more: Record<string, unknown> = {}) => ({
  mode: 'adaptive',
  cores: [0],
  vms: { web1: { disks } },
  ...more,
});

/** Runs `sidecore serve` that is meant to fail, with a limit of open files. */
function serve(folder: string, configuration: unknown, { files = 4096, args = '' } = {}) {
  const file = join(folder, 'sidecore.yaml');
  writeFileSync(file, JSON.stringify(configuration));
  const command = `ulimit -n ${files}; exec ${process.execPath} ${MAIN} serve -c ${file} ${args}`;
  const { status, stderr } = spawnSync('sh', ['-c', command], { encoding: 'utf8', timeout: TIMEOUT_MS });
  return { status, stderr: stderr.replaceAll(`${folder}/`, '') };
}

async function until(what: string, isTrue: () => boolean | Promise<boolean>): Promise<void> {
  for (let tries = 0; tries < 200; tries++) {
    if (await isTrue()) return;
    await sleep(50);
  }
  assert.fail(`not ${what}`);
}

const times = (text: string, pattern: RegExp) => text.match(pattern)?.length ?? 0;

describe('a start that fails', () => {
  const image = (path: string, size?: string) => ({ backend: { type: 'file', path, size } });

  it('names the disk, and leaves nothing that was not there', (test) => {
    const folder = scratchDirectory(test);
    mkdirSync(join(folder, 'there'));
    const disks = { a: image('new.img', '1MiB'), b: image('none.img') };
    const { status, stderr } = serve(folder, config(disks, { run_dir: 'there/run/deep' }));
    assert.equal(status, 1);
    assert.equal(
      stderr,
      'sidecore: sidecore.yaml:1: web1/b: none.img does not exist [IMAGE_MISSING]\n  Check the path, or give the disk a `size` to have it made.\n',
    );
    assert.deepEqual(readdirSync(folder, { recursive: true }).sort(), ['sidecore.yaml', 'there']);
  });

  it('says which folder is missing', (test) => {
    const { stderr } = serve(scratchDirectory(test), config({ a: image('none/a.img', '1MiB') }, { run_dir: 'run' }));
    assert.match(
      stderr,
      /^sidecore: sidecore\.yaml:1: web1\/a: none\/a\.img cannot be: folder \S*none does not exist \[IMAGE_MISSING\]\n/,
    );
  });

  it('says it in JSON if that is asked for', (test) => {
    const { stderr } = serve(scratchDirectory(test), config({ a: image('a.img') }, { run_dir: 'run' }), {
      args: '--json',
    });
    const { code, message, remedy } = JSON.parse(stderr);
    assert.deepEqual([code, message], ['IMAGE_MISSING', 'sidecore.yaml:1: web1/a: a.img does not exist']);
    assert.ok(remedy.length > 0);
  });

  it('names the key of a CPU that is not there', (test) => {
    const { stderr } = serve(scratchDirectory(test), config({}, { run_dir: 'run', sqpoll_cpu: 1023 }));
    assert.match(stderr, /^sidecore: CPU 1023 cannot be used.*\n {2}Choose another as `sqpoll_cpu:`/);
  });

  it('of file descriptors is one line, wherever they end', (test) => {
    const folder = scratchDirectory(test);
    const disks = Object.fromEntries(Array.from({ length: 60 }, (_, i) => [`d${i}`, image(`${i}.img`, '1MiB')]));
    for (const files of [40, 80, 160, 200]) {
      const { status, stderr } = serve(folder, config(disks, { run_dir: 'run', mode: 'baseline' }), { files });
      assert.equal(status, 1, stderr);
      assert.match(stderr, /^sidecore: .*\[SYSTEM_CALL_FAILED\]\n {2}Allow more open files: `ulimit -n`.*\n$/);
      assert.deepEqual(readdirSync(folder), ['sidecore.yaml']);
    }
  });

  it('beside another daemon says so, before any image is opened', { timeout: TIMEOUT_MS }, async (test) => {
    const daemon = await Daemon.start(test, config({ d: { backend: { type: 'null', size: '1MiB' } } }));
    const folder = scratchDirectory(test);
    const { stderr } = serve(folder, config({ a: image('a.img', '1MiB') }, { run_dir: daemon.runDirectory }));
    assert.match(stderr, /^sidecore: a daemon already runs in \S+ \[SOCKET_BUSY\]\n/);
    assert.ok(stderr.includes(daemon.runDirectory) && !existsSync(join(folder, 'a.img')));
  });
});

it('SIGHUP ends the daemon as SIGTERM does', { timeout: TIMEOUT_MS }, async (test) => {
  const daemon = await Daemon.start(test, config({ d: { backend: { type: 'null', size: '1MiB' } } }));
  // It can be asked a moment before it says so.
  await until('serving', () => /serves 1 disk,/.test(daemon.log));
  process.kill(daemon.pid, 'SIGHUP');
  await until('ended', () => !daemon.running);
  assert.equal(await daemon.stop(), 0);
  assert.match(daemon.log, /stopped\n$/);
  assert.deepEqual(readdirSync(daemon.runDirectory), []);
});

it('the log says who comes and goes, and that a client waits', { timeout: TIMEOUT_MS }, async (test) => {
  const backend = { type: 'null', size: '1MiB' };
  const socket = join(scratchDirectory(test), 'vmm.sock');
  const daemon = await Daemon.start(test, config({ d: { backend }, c: { backend, role: 'client', socket } }));
  const driver = await BlockDriver.connect({ socket: daemon.socket('web1', 'd'), depth: 1, requestBytes: 512 });
  driver.close();
  await until('left', () => / left \(/.test(daemon.log));
  assert.match(daemon.log, new RegExp(`web1/d: front end connected \\(process ${process.pid}\\)`));
  await sleep(1200);
  assert.equal(times(daemon.log, /web1\/c: waits for a VMM to listen on /g), 1);
});

it('the log warns of what is hardly meant, by line', { timeout: TIMEOUT_MS }, async (test) => {
  const nics = { n: { mac: '52:54:00:00:00:01' } };
  const daemon = await Daemon.start(test, { cores: [0], mode: 'adaptive', vms: { lonely: { nics } } });
  assert.match(
    daemon.log,
    /WARN.*sidecore\.yaml:\d+: .*nobody else is in network lan\. Put another card or a port into it\./,
  );
});

it('signals that come together end it once, and well', { timeout: TIMEOUT_MS }, async (test) => {
  const daemon = await Daemon.start(test, config({ d: { backend: { type: 'null', size: '1MiB' } } }));
  process.kill(daemon.pid, 'SIGTERM');
  process.kill(daemon.pid, 'SIGINT');
  assert.equal(await daemon.stop(), 0, daemon.log);
  assert.match(daemon.log, /INFO: stopped\n$/);
});

describe('storage that fails', () => {
  /** Serves an image and has a guest write or read, which fails. */
  async function fails(test: TestContext, path: string, readShare: number, spoil: () => void, why: string) {
    const daemon = await Daemon.start(test, config({ d: { backend: { type: 'file', path, size: '8MiB' } } }));
    const socket = daemon.socket('web1', 'd');
    const driver = await BlockDriver.connect({ socket, depth: 4, requestBytes: 65_536 });
    spoil();
    const load = new Load([driver], {
      depth: 4,
      requestBytes: 65_536,
      readShare,
      workingSetBytes: 8 * MIB,
      verify: false,
    });
    load.start();
    load.run(500);
    assert.ok(load.finish());
    assert.ok(load.queues[0]!.counters.errors > 10);
    const { d } = (await daemon.status()).vms['web1']!;
    assert.ok(d!.faults.IO_FAILED! > 10);
    assert.equal(d!.last_fault?.code, 'IO_FAILED');
    assert.ok(d!.last_fault?.text.endsWith(` failed in ${path}: ${why}`), d!.last_fault?.text);
    assert.equal(times(daemon.log, /IO_FAILED/g), 1, daemon.log);
    driver.close();
    await daemon.stop();
  }

  it('is told once in the log, and in status', { timeout: TIMEOUT_MS }, async (test) => {
    const path = join(scratchDirectory(test), 'a.img');
    await fails(test, path, 1, () => truncateSync(path, 512), 'it has become shorter than the disk');
  });

  it('is told when it is full', { timeout: TIMEOUT_MS }, async (test) => {
    const place = scratchDirectory(test);
    const mount = ['-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', place];
    if (spawnSync('mount', mount).status !== 0) return test.skip('mount is refused');
    try {
      await fails(test, join(place, 'a.img'), 0, () => {}, 'No space left on device');
    } finally {
      spawnSync('umount', ['--lazy', place]);
    }
  });
});

describe('resize', () => {
  it('answers in JSON, and refuses what is no whole number of blocks', { timeout: TIMEOUT_MS }, async (test) => {
    const daemon = await Daemon.start(
      test,
      config({ d: { backend: { type: 'null', size: '1MiB' }, block_size: 4096 } }),
    );
    const { stdout } = await daemon.cli('resize', 'web1/d', '2MiB', '--json');
    assert.deepEqual(JSON.parse(stdout), { disk: 'web1/d', size_bytes: 2 * MIB, guest_told: false });
    const { status, stderr } = await daemon.cli('resize', 'web1/d', '4608');
    assert.equal(status, 1);
    assert.match(
      stderr,
      /^sidecore: 4608 bytes are no multiple of the disk's block_size, 4096.*\n {2}Ask for 8192 bytes\.\n$/,
    );
  });
});

describe('status', () => {
  const status = (folder: string, ...args: string[]) =>
    spawnSync(process.execPath, [MAIN, 'status', '--run-dir', folder, ...args], { encoding: 'utf8' }).stderr;

  it('says that a daemon has died', async (test) => {
    const folder = scratchDirectory(test);
    const server = createServer().listen(join(folder, 'draft'));
    await new Promise((resolve) => server.once('listening', resolve));
    renameSync(join(folder, 'draft'), join(folder, 'control.sock'));
    await new Promise((resolve) => server.close(resolve));
    assert.match(status(folder), /only a socket that one has left when it died \[DAEMON_UNREACHABLE\]/);
    const { code, message, remedy } = JSON.parse(status(folder, '--json'));
    assert.deepEqual([code, typeof message, typeof remedy], ['DAEMON_UNREACHABLE', 'string', 'string']);
  });

  it('does not wait for ever', { timeout: TIMEOUT_MS }, (test) => {
    const folder = scratchDirectory(test);
    // It listens while we wait for the command, and answers nothing.
    createServer().listen(join(folder, 'control.sock')).unref();
    assert.match(status(folder), /^sidecore: the daemon at \S+ does not answer within 5 s \[DAEMON_UNREACHABLE\]\n/);
  });
});
