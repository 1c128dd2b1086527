/** `sidecore trace` on a disk that a guest uses: the filter comes for that time only, and fio replays what it wrote, where there is fio. */
import assert from 'node:assert/strict';
import { execFile, spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { BlockDriver, Load } from '../../src/guest/index.js';
import { allowedCpus } from '../../src/host/affinity.js';
import { Daemon, scratchDirectory } from '../support/daemon.js';
import { fioLogFaults } from '../support/fio-log.js';
import { KillableDaemon } from './killable-daemon.js';

const MAIN = fileURLToPath(new URL('../../src/cli/main.js', import.meta.url));
const DISK_BYTES = 2 ** 20;
const REQUEST_BYTES = 4096;
const DEPTH = 4;
const NO_FIO = spawnSync('fio', ['--version']).status === 0 ? false : 'fio is not installed';

const run = promisify(execFile);

const filters = [{ use: 'throttle', options: { iops: 2000, burst_requests: 10 } }];
const vms = { vm: { disks: { d: { backend: { type: 'memory', size: DISK_BYTES }, filters } } } };

async function guestOf(test: Parameters<typeof Daemon.start>[0], socket: string): Promise<Load> {
  const guest = await BlockDriver.connect({ socket, depth: DEPTH, requestBytes: REQUEST_BYTES });
  test.after(() => guest.close());
  const load = new Load([guest], {
    depth: DEPTH,
    requestBytes: REQUEST_BYTES,
    readShare: 0.5,
    workingSetBytes: DISK_BYTES / 2,
    verify: true,
    blank: true,
  });
  load.start();
  return load;
}

/** Has the guest work until something is done. */
async function meanwhile<T>(load: Load, work: Promise<T>): Promise<T> {
  let isDone = false;
  const done = () => {
    isDone = true;
  };
  work.then(done, done);
  while (!isDone) {
    const { errors, mismatches } = load.run(2);
    assert.deepEqual([errors, mismatches], [0, 0]);
    await turn();
  }
  return work;
}

describe('sidecore trace', { timeout: 60_000 }, () => {
  it('writes JSON lines and a log for fio, and leaves the disk as it was', async (test) => {
    const folder = scratchDirectory(test);
    const daemon = await KillableDaemon.start(test, { cores: allowedCpus().slice(0, 1), vms });
    const load = await guestOf(test, daemon.socket('vm'));
    const [jsonl, fio] = [join(folder, 'd.jsonl'), join(folder, 'd.fio')];
    const trace = (...given: string[]) =>
      meanwhile(load, run(process.execPath, [MAIN, 'trace', 'vm/d', '--run-dir', daemon.runDirectory, ...given]));
    const one = await trace('-o', jsonl, '--seconds', '0.3');
    const [, requests, lost] = /(\d+) requests, (\d+) lost/.exec(one.stderr)!.map(Number) as [number, number, number];
    const lines = readFileSync(jsonl, 'utf8')
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as Record<string, unknown>);
    assert.equal(lines.length, requests);
    assert.ok(requests > 100 && lost === 0, one.stderr);
    for (const { vm, disk, queue, type, bytes, status } of lines) {
      assert.deepEqual([vm, disk, queue, bytes], ['vm', 'd', 0, REQUEST_BYTES]);
      assert.ok((type === 'read' || type === 'write') && (status === 'ok' || status === null));
    }
    const image = join(folder, 'replayed.img');
    await trace('-f', 'fio', '-o', fio, '--seconds', '0.3', '--file-name', image);
    const text = readFileSync(fio, 'utf8');
    assert.deepEqual(fioLogFaults(text), []);
    assert.ok(text.split('\n').length > 100);
    assert.ok(load.finish());
    const { filters } = (await daemon.status()).vms.vm!.d!;
    assert.deepEqual(
      filters.map(({ name, in_service }) => [name, in_service]),
      [['throttle', true]],
    );
    if (NO_FIO) return test.diagnostic(NO_FIO);
    writeFileSync(image, Buffer.alloc(DISK_BYTES));
    const count = (action: string) => text.split('\n').filter((line) => line.split(' ')[2] === action).length;
    const { stdout } = await run('fio', [
      '--name=replay',
      `--read_iolog=${fio}`,
      '--output-format=json',
      '--replay_no_stall=1',
    ]);
    const { jobs } = JSON.parse(stdout.slice(stdout.indexOf('{'))) as {
      jobs: { error: number; read: { total_ios: number }; write: { total_ios: number } }[];
    };
    const { error, read, write } = jobs[0]!;
    assert.deepEqual([error, read.total_ios, write.total_ios], [0, count('read'), count('write')]);
  });

  it('has nothing to say of a disk that is not there', async (test) => {
    const daemon = await Daemon.start(test, { cores: allowedCpus().slice(0, 1), vms });
    const failed = await run(process.execPath, [MAIN, 'trace', 'vm/x', '--run-dir', daemon.runDirectory]).catch(
      (error) => error,
    );
    assert.equal(failed.code, 1);
    assert.match(failed.stderr, /no disk or network card vm\/x/);
  });
});
