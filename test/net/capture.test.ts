/** `sidecore capture` from end to end: guests of a daemon, the command, and tshark, which reads what it wrote. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { createWriteStream, existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { after, before, describe, it, type TestContext } from 'node:test';
import { askDaemon } from '../../src/daemon/control-server.js';
import { controlSocketPath, type DaemonStatus } from '../../src/daemon/daemon.js';
import { NetDriver } from '../../src/guest/net-driver.js';
import { KillableDaemon } from '../sidecore/killable-daemon.js';
import { CleanupSteps, scratchDirectory, spawnTied } from '../support/daemon.js';
import { noTshark, readPackets, readStatistics } from '../support/tshark.js';
import { until } from '../vhost-user/raw-front-end.js';
import { SIDECORE_CPU, TestDaemon } from '../vhost-user/test-daemon.js';
import { BROADCAST, CaptureClient, frame, MAIN, receive, send } from './capture-client.js';

const VMS = { a: { nics: { n: {} } }, b: { nics: { n: {} } }, c: { nics: { n: {} } } };

describe('sidecore capture', { timeout: 120_000, skip: noTshark }, () => {
  let served: TestDaemon;
  const cleanup = new CleanupSteps();
  before(async () => {
    served = await TestDaemon.start(cleanup, VMS);
  });
  after(async () => {
    assert.equal(await served.daemon.stop(), 0, served.daemon.log);
    await cleanup.run();
  });

  const guest = async (test: TestContext, vm: string, daemon = served, options = {}) => {
    const driver = await NetDriver.connect({ socket: daemon.socket(vm, 'n'), ...options });
    test.after(() => driver.close());
    return driver;
  };
  const start = (test: TestContext, ...args: string[]) =>
    CaptureClient.start(test, served.daemon.runDirectory, ...args);
  const fileOf = (test: TestContext) => join(scratchDirectory(test), 'a.pcapng');
  const framesIn = async (vm: string) => ((await served.status()) as DaemonStatus).nics[vm]!['n']!.frames_in;

  /** Captures of a card that have ended, by the log. */
  const ended = (vm: string) => served.logLines(`${vm}/n: is captured no more`).length;

  it('records both directions of one card, from before its guest was there until Ctrl-C', async (test) => {
    const file = fileOf(test);
    const began = BigInt(Date.now()) * 1_000_000n;
    const client = await start(test, 'a/n', '-w', file);
    const [a, b, c] = await Promise.all(['a', 'b', 'c'].map((vm) => guest(test, vm)));
    const hello = frame(BROADCAST, b!.mac, 60, 1);
    await send(b!, hello);
    assert.deepEqual(await receive(a!), hello);
    await receive(c!);
    const answer = frame(b!.mac, a!.mac, 1514, 2);
    await send(a!, answer);
    assert.deepEqual(await receive(b!), answer);
    // Of no interest to a.
    const others = frame(b!.mac, c!.mac, 99, 3);
    await send(c!, others);
    assert.deepEqual(await receive(b!), others);
    const last = frame(a!.mac, b!.mac, 61, 4);
    await send(b!, last);
    assert.deepEqual(await receive(a!), last);

    assert.equal(await client.end('SIGINT'), 0, client.stderr);
    assert.match(client.stderr, /^sidecore: captures a\/n; Ctrl-C ends it\nsidecore: 3 frames captured, 0 dropped\n$/);
    const packets = readPackets(file);
    assert.deepEqual(
      packets.map(({ bytes, byteLength, direction, interfaceName }) => ({
        bytes,
        byteLength,
        direction,
        interfaceName,
      })),
      (
        [
          [hello, 'inbound'],
          [answer, 'outbound'],
          [last, 'inbound'],
        ] as const
      ).map(([bytes, direction]) => ({ bytes, byteLength: bytes.length, direction, interfaceName: 'a/n' })),
    );
    const times = [began, ...packets.map(({ time }) => time), BigInt(Date.now() + 1) * 1_000_000n];
    assert.deepEqual(times, [...times].sort());
    assert.deepEqual(readStatistics(file), { received: 3, dropped: 0, written: 3, comment: '' });
  });

  it('takes signals that come together for one', async (test) => {
    const file = fileOf(test);
    const client = await start(test, 'a/n', '-w', file);
    for (const signal of ['SIGTERM', 'SIGTERM', 'SIGINT'] as const) client.child.kill(signal);
    assert.equal(await client.end(), 0, client.stderr);
    assert.deepEqual(readStatistics(file), { received: 0, dropped: 0, written: 0, comment: '' });
    const line = `timeout -s INT 1 ${process.execPath} ${MAIN} capture a/n -w ${file} --run-dir ${served.daemon.runDirectory}`;
    const { status, stderr } = spawnSync('sh', ['-c', line], { encoding: 'utf8', timeout: 20_000 });
    assert.match(stderr, /\nsidecore: 0 frames captured, 0 dropped\n$/);
    assert.equal(status, 124, 'that of timeout');
  });

  it('keeps so much of each frame, and ends after so many', async (test) => {
    const file = fileOf(test);
    const client = await start(test, 'a/n', '-w', file, '-s', '33', '-c', '2');
    const a = await guest(test, 'a');
    const frames = [60, 20, 100, 101].map((length, i) => frame(BROADCAST, a.mac, length, i));
    for (const bytes of frames) await send(a, bytes);
    assert.equal(await client.end(), 0, client.stderr);
    assert.match(client.stderr, /\nsidecore: 2 frames captured, 0 dropped\n$/);
    assert.deepEqual(
      readPackets(file).map(({ bytes, byteLength }) => ({ bytes, byteLength })),
      [
        { bytes: frames[0]!.subarray(0, 33), byteLength: 60 },
        { bytes: frames[1]!, byteLength: 20 },
      ],
    );
    assert.equal(readStatistics(file)!.written, 2);
  });

  it('ends after so long', async (test) => {
    const file = fileOf(test);
    const client = await start(test, 'a/n', '-w', file, '--seconds', '0.1');
    assert.equal(await client.end(), 0, client.stderr);
    assert.deepEqual(readStatistics(file), { received: 0, dropped: 0, written: 0, comment: '' });
  });

  it('writes to a pipe, which tshark reads while it captures', async (test) => {
    const a = await guest(test, 'a');
    const options = `--run-dir ${served.daemon.runDirectory}`;
    const line = `${process.execPath} ${MAIN} capture a/n -w - -c 3 ${options} | tshark -r - -n -l -T fields -e frame.len`;
    const shell = spawnTied('sh', ['-c', line]);
    test.after(() => void shell.kill('SIGKILL'));
    let shown = '';
    let said = '';
    shell.stdout!.setEncoding('utf8').on('data', (text: string) => (shown += text));
    shell.stderr!.setEncoding('utf8').on('data', (text: string) => (said += text));
    await until(() => said.includes('captures'), 'it captures');
    for (const length of [60, 77]) await send(a, frame(BROADCAST, a.mac, length, 1));
    await until(() => shown === '60\n77\n', 'tshark shows them at once');
    await send(a, frame(BROADCAST, a.mac, 88, 1));
    await until(() => shell.exitCode !== null, 'both end');
    assert.deepEqual([shell.exitCode, shown], [0, '60\n77\n88\n'], said);
  });

  it('counts what a slow reader makes it lose, and passes on all else', async (test) => {
    const file = fileOf(test);
    const sender = await guest(test, 'a', served, { buffers: 16, bufferBytes: 65_536 });
    // Nobody reads what it writes.
    const client = await start(test, 'a/n', '-w', '-');
    const before = await framesIn('a');
    const count = 600;
    for (let i = 0; i < count; i++) await send(sender, frame(BROADCAST, sender.mac, 60_000, i));
    await until(async () => (await framesIn('a')) === before + count, 'all frames have passed');
    client.child.kill('SIGINT');
    await pipeline(client.stdout, createWriteStream(file));
    assert.equal(await client.end(), 0, client.stderr);
    const { received, dropped, written } = readStatistics(file)!;
    assert.ok(dropped > 0 && written > 0, `${written} written, ${dropped} dropped`);
    assert.deepEqual([received, written + dropped], [count, count]);
    assert.ok(client.stderr.endsWith(`sidecore: ${written} frames captured, ${dropped} dropped\n`), client.stderr);
    const packets = readPackets(file);
    assert.equal(packets.length, written);
    const first = Array.from({ length: 10 }, (_, i) => frame(BROADCAST, sender.mac, 60_000, i));
    assert.deepEqual(
      packets.slice(0, 10).map(({ bytes }) => bytes),
      first,
      'what came first is there',
    );
  });

  it('captures a card once at a time, and no more when its client was killed', async (test) => {
    const client = await start(test, 'b/n', '-w', fileOf(test));
    const file = fileOf(test);
    const refused = await served.daemon.cli('capture', 'b/n', '-w', file);
    assert.deepEqual(refused, {
      status: 1,
      stdout: '',
      stderr:
        'sidecore: b/n is being captured already [CAPTURE_BUSY]\n  End that capture first, or read what it writes.\n',
    });
    assert.ok(!existsSync(file), 'nothing is made for a capture that is refused');
    const other = await start(test, 'c/n', '-w', file);
    const before = ended('b');
    client.child.kill('SIGKILL');
    await until(() => ended('b') === before + 1, 'the daemon ends the capture');
    const next = await start(test, 'b/n', '-w', fileOf(test));
    assert.equal(await next.end('SIGTERM'), 0, next.stderr);
    assert.equal(await other.end('SIGHUP'), 0, other.stderr);
  });

  it('ends quietly when its reader has gone', async (test) => {
    const client = await start(test, 'a/n', '-w', '-');
    const before = ended('a');
    client.stdout.destroy();
    const a = await guest(test, 'a');
    await until(() => {
      a.send(frame(BROADCAST, a.mac, 60, 1));
      a.tx.publish();
      return client.child.exitCode !== null;
    }, 'it notices');
    assert.equal(await client.end(), 0);
    assert.equal(client.stderr, 'sidecore: captures a/n; Ctrl-C ends it\n');
    await until(() => ended('a') === before + 1, 'the daemon ends the capture');
  });

  it('names the cards if there is no such one, and leaves the file alone', async (test) => {
    const file = fileOf(test);
    writeFileSync(file, 'precious');
    assert.deepEqual(await served.daemon.cli('capture', 'a/net0', '-w', file), {
      status: 1,
      stdout: '',
      stderr: 'sidecore: there is no network card a/net0 [CONFIG_INVALID]\n  There are: a/n, b/n, c/n.\n',
    });
    assert.equal(readFileSync(file, 'utf8'), 'precious');
  });

  it('says what is wrong with a request', async () => {
    const ask = (body: unknown) => askDaemon(controlSocketPath(served.daemon.runDirectory), 'POST', '/capture', body);
    const remedy = 'It has the keys nic, snapBytes, frames, seconds.';
    const refused = (body: unknown, why: string) =>
      assert.rejects(ask(body), { code: 'CONFIG_INVALID', message: `not a request for /capture: ${why}`, remedy });
    await refused({ nic: 'a/n' }, 'snapBytes is missing: expects a number');
    await refused({ nic: 'a/n', snapBytes: 0 }, 'snapBytes expects more than 0, not 0');
    await refused({ nic: 'a/n', snapBytes: 128, frames: 1.5 }, 'frames expects a whole number, not 1.5');
    await refused({ nic: 'a/n', snapBytes: 128, bytes: 1 }, 'unknown key; known here: nic, snapBytes, frames, seconds');
    await refused('a/n', 'expects keys and values, not "a/n"');
    await assert.rejects(ask(undefined), { message: 'not a request for /capture: what was sent is no JSON' });
  });

  it('says what is wrong with its file', async (test) => {
    const missing = join(scratchDirectory(test), 'no/a.pcapng');
    const nowhere = await served.daemon.cli('capture', 'a/n', '-w', missing);
    const remedy = 'Make the folder, or name a file elsewhere.';
    const expected = `sidecore: cannot make ${missing}: its folder is not there [CAPTURE_FILE]\n  ${remedy}\n`;
    assert.deepEqual([nowhere.status, nowhere.stderr], [1, expected]);
    for (const [file, why] of [
      ['/tmp', 'cannot make /tmp: it is a directory [CAPTURE_FILE]\n  Name a file in it.'],
      [
        '/proc/x',
        'cannot make /proc/x: its folder takes no files [CAPTURE_FILE]\n  Name a file in a folder of your own.',
      ],
    ] as const) {
      const { status, stderr } = await served.daemon.cli('capture', 'a/n', '-w', file);
      assert.deepEqual([status, stderr], [1, `sidecore: ${why}\n`]);
    }
    const full = await served.daemon.cli('capture', 'a/n', '-w', '/dev/full');
    assert.equal(full.status, 1);
    assert.match(full.stderr, /\nsidecore: cannot write \/dev\/full: no space is left there \[CAPTURE_FILE\]\n/);
  });

  const noMount = spawnSync('unshare', ['-m', 'mount', '-t', 'tmpfs', 'none', '/mnt']).status !== 0;
  it('leaves whole frames on a disk that is full', {
    skip: noMount && 'no file system can be mounted',
  }, async (test) => {
    const folder = scratchDirectory(test);
    const a = await guest(test, 'a');
    const script = `mount -t tmpfs -o size=64k none /mnt
      ${process.execPath} ${MAIN} capture a/n -w /mnt/a.pcapng --run-dir ${served.daemon.runDirectory}
      status=$?; cp /mnt/a.pcapng ${folder}; exit $status`;
    const shell = spawnTied('unshare', ['-m', 'sh', '-c', script]);
    test.after(() => void shell.kill('SIGKILL'));
    let said = '';
    shell.stderr!.setEncoding('utf8').on('data', (text: string) => (said += text));
    await until(() => said.includes('captures'), 'it captures');
    let sent = 0;
    await until(() => {
      if (a.send(frame(BROADCAST, a.mac, 1000, sent))) sent++;
      a.tx.publish();
      return shell.exitCode !== null;
    }, 'the disk is full');
    assert.equal(shell.exitCode, 1, said);
    assert.match(said, /cannot write \/mnt\/a.pcapng: no space is left there \[CAPTURE_FILE\]/);
    const packets = readPackets(join(folder, 'a.pcapng'));
    // A block of a frame of 1000 bytes has 1044.
    assert.ok(packets.length > 40 && packets.length <= 62, `${packets.length}`);
    for (const [i, { bytes }] of packets.entries()) assert.deepEqual(bytes, frame(BROADCAST, a.mac, 1000, i));
  });

  it('ends with its daemon, with a good file', async (test) => {
    const cut = new CleanupSteps();
    test.after(() => cut.run());
    for (const [stop, status, says] of [
      ['SIGTERM', 0, /\nsidecore: 1 frame captured, 0 dropped; the daemon stopped\n$/],
      ['SIGKILL', 1, /\nsidecore: 1 frame captured\nsidecore: the daemon was lost .*\[DAEMON_UNREACHABLE\]\n/],
    ] as const) {
      const mortal = await TestDaemon.start(cut, VMS);
      const file = fileOf(test);
      const client = await CaptureClient.start(test, mortal.daemon.runDirectory, 'a/n', '-w', file);
      const a = await NetDriver.connect({ socket: mortal.socket('a', 'n') });
      cut.after(() => a.close());
      const sent = frame(BROADCAST, a.mac, 70, 5);
      await send(a, sent);
      await until(() => readFileSync(file).includes(sent), 'it is in the file at once');
      if (stop === 'SIGTERM') assert.equal(await mortal.daemon.stop(), 0, mortal.daemon.log);
      else await mortal.daemon.kill();
      assert.equal(await client.end(), status, client.stderr);
      assert.match(client.stderr, says);
      assert.deepEqual(
        readPackets(file).map(({ bytes }) => bytes),
        [sent],
      );
      const comment = readStatistics(file)?.comment;
      assert.equal(comment, stop === 'SIGTERM' ? 'the daemon stopped' : undefined);
    }
  });

  it('goes on when its sidecore dies and is replaced', async (test) => {
    const vms = { a: { nics: { d: {} } }, b: { nics: { d: {} } } };
    const daemon = await KillableDaemon.start(test, { cores: [SIDECORE_CPU], mode: 'adaptive', vms });
    const file = fileOf(test);
    const client = await CaptureClient.start(test, daemon.runDirectory, 'a/d', '-w', file);
    const [a, b] = await Promise.all(['a', 'b'].map((vm) => NetDriver.connect({ socket: daemon.socket(vm) })));
    test.after(() => {
      a!.close();
      b!.close();
    });
    const frames = [1, 2, 3].map((seed) => frame(BROADCAST, a!.mac, 60 + seed, seed));
    for (const sent of frames) {
      await send(a!, sent);
      assert.deepEqual(await receive(b!), sent);
      await daemon.kill(0);
    }
    assert.equal(await client.end('SIGINT'), 0, client.stderr);
    assert.deepEqual(
      readPackets(file).map(({ bytes }) => bytes),
      frames,
    );
  });
});
