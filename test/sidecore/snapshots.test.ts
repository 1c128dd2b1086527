/** Sidecores and daemons die while guests write on disks with snapshots and on clones: guests and snapshots have what they had. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { RequestType, SECTOR_BYTES, Status } from '../../src/block/features.js';
import { askDaemon } from '../../src/daemon/control-server.js';
import { controlSocketPath } from '../../src/daemon/daemon.js';
import { BlockDriver, Load } from '../../src/guest/index.js';
import { scratchDirectory } from '../support/daemon.js';
import { Random } from '../support/seed.js';
import { SIDECORE_CPU } from '../vhost-user/test-daemon.js';
import { KillableDaemon } from './killable-daemon.js';

const SEED = Number(process.env.SEED ?? 20_261_128);
const KILLS = 6;
const DISK_BYTES = 16 * 2 ** 20;
const WORK_MS = 20;
const READ_BYTES = 512 * 1024;
const KILL_WITHIN_US = 3000;

interface Job {
  readonly job: number;
  readonly state: string;
  readonly error: string | null;
}

/** Of all that a disk has. */
function readHash(driver: BlockDriver, meanwhile: () => void): string {
  const queue = driver.queues[0]!;
  const hash = createHash('sha256');
  const at = queue.dataAddress(0);
  for (let offset = 0; offset < DISK_BYTES; offset += READ_BYTES) {
    queue.submit(0, RequestType.IN, offset / SECTOR_BYTES, READ_BYTES);
    queue.publish();
    const deadline = Date.now() + 20_000;
    while (queue.take() < 0) {
      meanwhile();
      assert.ok(Date.now() < deadline, 'a read ends');
    }
    assert.equal(queue.status(0), Status.OK);
    hash.update(driver.ram.bytes.subarray(at, at + READ_BYTES));
  }
  return hash.digest('hex');
}

describe('disks with snapshots and clones', { timeout: 120_000 }, () => {
  it(`keep what they have when sidecores and the daemon die (SEED=${SEED})`, async (test) => {
    const images = scratchDirectory(test);
    const base = join(images, 'base.img');
    writeFileSync(base, Buffer.alloc(DISK_BYTES, 'base '));
    const clone = (name: string) => ({
      backend: { type: 'file', path: base, read_only: true },
      filters: [{ use: 'overlay', options: { path: join(images, name) } }],
    });
    const snapped = {
      backend: { type: 'file', path: join(images, 'disk.img'), size: DISK_BYTES },
      filters: [{ use: 'snapshot', options: { path: join(images, 'snapshots') } }],
    };
    const vms = {
      a: { disks: { d: snapped } },
      b: { disks: { d: clone('b.top') } },
      c: { disks: { d: clone('c.top') } },
    };
    const config = { cores: [SIDECORE_CPU], vms };
    const random = new Random(SEED);
    const life = async (others: object, use: (daemon: KillableDaemon, work: () => void) => Promise<void>) => {
      const daemon = await KillableDaemon.start(test, { ...config, vms: { ...vms, ...others } });
      const drivers: BlockDriver[] = [];
      for (const vm of Object.keys(vms))
        drivers.push(await BlockDriver.connect({ socket: daemon.socket(vm), depth: 16, requestBytes: 4096 }));
      test.after(() => drivers.forEach((driver) => driver.close()));
      const pattern = {
        depth: 16,
        requestBytes: 4096,
        readShare: 0.3,
        workingSetBytes: 8 * 2 ** 20,
        verify: true,
        seed: SEED,
      };
      const load = new Load(drivers, pattern);
      load.start();
      await use(daemon, () => {
        const { errors, mismatches } = load.run(WORK_MS);
        assert.deepEqual({ errors, mismatches }, { errors: 0, mismatches: 0 });
      });
      return daemon;
    };
    const ask = async <T>(daemon: KillableDaemon, command: string, given: Record<string, string>): Promise<T> => {
      const body = { device: 'a/d', which: 'snapshot', command, given };
      const path = controlSocketPath(daemon.runDirectory);
      return (await askDaemon<{ answer: T }>(path, 'POST', '/filters/ask', body)).answer;
    };
    const hashOf = async (daemon: KillableDaemon, name: string, meanwhile: () => void): Promise<string> => {
      const file = join(images, 'out.raw');
      let job = await ask<Job>(daemon, 'export', { name, file });
      while (job.state === 'running') {
        meanwhile();
        job = await ask<Job>(daemon, 'job', { job: String(job.job) });
      }
      assert.equal(job.error, null);
      const hash = createHash('sha256').update(readFileSync(file)).digest('hex');
      rmSync(file);
      return hash;
    };
    const hashes = new Map<string, string>();
    const first = await life({}, async (daemon, work) => {
      for (let kill = 0; kill < KILLS; kill++) {
        work();
        const killed = daemon.kill(0, random.below(KILL_WITHIN_US));
        work();
        await killed;
        work();
        if (kill % 2 === 0) {
          await ask(daemon, 'create', { name: `s${kill}` });
          hashes.set(`s${kill}`, await hashOf(daemon, `s${kill}`, work));
        }
        for (const [name, hash] of hashes) assert.equal(await hashOf(daemon, name, work), hash, name);
      }
    });
    assert.equal(new Set(hashes.values()).size, hashes.size, 'the disk has changed between them');
    // kill -9
    await first.close();
    const view = { backend: { type: 'snapshot', of: 'a/d', name: 's0' } };
    const second = await life({ v: { disks: { d: view } } }, async (daemon, work) => {
      // Another guest reads it, while that it is of writes.
      const reader = await BlockDriver.connect({ socket: daemon.socket('v'), depth: 1, requestBytes: READ_BYTES });
      test.after(() => reader.close());
      assert.equal(reader.capacity, DISK_BYTES);
      assert.equal(readHash(reader, work), hashes.get('s0'));
      await assert.rejects(ask(daemon, 'delete', { name: 's0' }), { message: /is in use/ });
      for (const [name, hash] of hashes) assert.equal(await hashOf(daemon, name, () => {}), hash, name);
      for (let i = 0; i < 3; i++) work();
      await ask(daemon, 'delete', { name: 's2' });
      await ask(daemon, 'settle', {});
      for (const name of ['s0', 's4']) assert.equal(await hashOf(daemon, name, work), hashes.get(name), name);
    });
    const { vms: status } = await second.status();
    for (const vm of Object.keys(vms))
      for (const { faults, in_service } of status[vm]!.d!.filters as { faults: number; in_service: boolean }[])
        assert.deepEqual({ faults, in_service }, { faults: 0, in_service: true });
    assert.ok(readFileSync(base).equals(Buffer.alloc(DISK_BYTES, 'base ')));
  });
});
