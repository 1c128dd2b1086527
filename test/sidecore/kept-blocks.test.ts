/**
 * Filters that keep what they know in shared memory and mapped files, in a whole daemon: verified load over two sidecores, which are
 * killed meanwhile, while what the filters do is changed.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { askDaemon } from '../../src/daemon/control-server.js';
import { controlSocketPath } from '../../src/daemon/daemon.js';
import { encode } from '../../src/vhost-user/codec.js';
import { scratchDirectory } from '../support/daemon.js';
import { Random, SEED } from '../support/seed.js';
import { NEEDS_TWO_CPUS, TWO_CPUS } from '../vhost-user/test-daemon.js';
import { FlushingGuest } from './flushing-guest.js';
import { KillableDaemon } from './killable-daemon.js';

const KILLS = 6;
const DISK_BYTES = 16 * 2 ** 20;

describe('cache, verify and mirror in a daemon', { timeout: 120_000, skip: NEEDS_TWO_CPUS }, () => {
  it(`keep a disk right while sidecores die and options change (seed ${SEED})`, async (test) => {
    const folder = scratchDirectory(test);
    const [path, second, sums] = ['first.img', 'second.img', 'disk.sums'].map((name) => join(folder, name));
    const filters = [
      { use: 'cache', options: { size: '4MiB' } },
      { use: 'verify', options: { sums } },
      { use: 'mirror', options: { to: { type: 'file', path: second }, resync_rate: '1GiB' } },
    ];
    const disk = { backend: { type: 'file', path, size: DISK_BYTES }, queues: 2, filters };
    const vms = { a: { disks: { d: disk } } };
    const daemon = await KillableDaemon.start(test, { cores: TWO_CPUS, mode: 'adaptive', balance: false, vms });
    const random = new Random(SEED);
    const guest = await FlushingGuest.connect(daemon.socket('a'), 2, random);
    test.after(() => guest.driver.close());
    const ask = <T>(what: string, body: object) =>
      guest.during(
        askDaemon<T>(controlSocketPath(daemon.runDirectory), 'POST', `/filters/${what}`, { device: 'a/d', ...body }),
      );
    for (let kill = 0; kill < KILLS; kill++) {
      guest.work(20);
      await guest.during(daemon.kill(random.below(2), random.below(1500)));
      // The deaths that its queues saw are forgotten.
      for (const [index, { callFd }] of guest.driver.queues.entries())
        await guest.driver.frontEnd.send('SET_VRING_CALL', encode.vringFd({ index, noFd: false }), [callFd]);
      await ask('set', { which: 'cache', filter: { options: { writes: random.pick(['through', 'around']) } } });
      if (kill === 2) await ask('ask', { which: 'verify', command: 'scrub', given: {} });
      if (kill === 4) await ask('ask', { which: 'cache', command: 'drop', given: {} });
    }
    guest.work(100);
    guest.finish();
    interface Phase {
      answer: { phase: string };
    }
    const phase = async () => (await ask<Phase>('ask', { which: 'mirror', command: 'status', given: {} })).answer.phase;
    for (const end = Date.now() + 10_000; (await phase()) !== 'in sync' && Date.now() < end; );
    guest.finish();
    const status = (await daemon.status()).vms['a']!.d!;
    assert.deepEqual(
      [status.queues.map(({ fault }) => fault), status.faults],
      [[null, null], {}],
      daemon.log.slice(-2000),
    );
    assert.deepEqual(
      status.filters.map(({ faults, in_service }) => [faults, in_service]),
      [0, 0, 0].map((faults) => [faults, true]),
    );
    const [, verify, mirror] = status.filters;
    assert.equal(verify!.counters['mismatches'], 0);
    assert.ok(mirror!.counters['mirrored_writes']! > 50, `${mirror!.counters['mirrored_writes']} writes`);
    await daemon.close();
    assert.ok(readFileSync(path!).equals(readFileSync(second!)), 'the halves differ');
  });
});
