import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { BlockDriver, RequestType, Status } from '../../src/guest/index.js';
import { Daemon, repositoryRoot } from '../../test/support/daemon.js';
import { until } from '../../test/vhost-user/raw-front-end.js';
import { SIDECORE_CPU } from '../../test/vhost-user/test-daemon.js';
import guard from './guard.js';

const SOURCE = join(repositoryRoot, 'examples/filter/guard.ts');

describe('the filter that is an example', () => {
  it('has at most 20 lines, and is what the guide shows', () => {
    const code = readFileSync(SOURCE, 'utf8').trim();
    assert.ok(code.split('\n').length <= 20);
    assert.ok(readFileSync(join(repositoryRoot, 'docs/filters.md'), 'utf8').includes(code));
    assert.equal(guard.name, 'guard');
  });

  it('runs in a daemon from its file, and does what it says', { timeout: 60_000 }, async (test) => {
    const filters = [{ use: SOURCE, options: { sectors: 64 } }];
    const disk = { backend: { type: 'memory', size: 2 ** 20 }, filters };
    const daemon = await Daemon.start(test, { cores: [SIDECORE_CPU], vms: { vm: { disks: { d: disk } } } });
    const guest = await BlockDriver.connect({ socket: daemon.socket('vm', 'd'), depth: 1, requestBytes: 512 });
    test.after(() => guest.close());
    const queue = guest.queues[0]!;
    const run = async (type: number, sector: number): Promise<number> => {
      queue.submit(0, type, sector, 512);
      queue.publish();
      await until(() => queue.take() === 0, 'the request completes');
      return queue.status(0);
    };
    assert.equal(await run(RequestType.OUT, 63), Status.IOERR);
    assert.equal(await run(RequestType.OUT, 64), Status.OK);
    assert.equal(await run(RequestType.IN, 63), Status.OK);
    assert.equal(await run(RequestType.DISCARD, 0), Status.UNSUPP);
    const [status] = (await daemon.status()).vms.vm!.d!.filters;
    assert.deepEqual(status!.counters, { refused: 1 });
    assert.equal(status!.in_service, true);
  });

  it('keeps many requests at once, each as long as it says, where the guide shows that', {
    timeout: 60_000,
  }, async (test) => {
    const source = join(repositoryRoot, 'examples/filter/late.ts');
    const guide = readFileSync(join(repositoryRoot, 'docs/filters.md'), 'utf8');
    assert.ok(guide.includes(readFileSync(source, 'utf8').trim()));
    const disk = { backend: { type: 'memory', size: 2 ** 20 }, filters: [{ use: source }] };
    const daemon = await Daemon.start(test, { cores: [SIDECORE_CPU], vms: { vm: { disks: { d: disk } } } });
    const depth = 32;
    const guest = await BlockDriver.connect({ socket: daemon.socket('vm', 'd'), depth, requestBytes: 512 });
    test.after(() => guest.close());
    const queue = guest.queues[0]!;
    for (let round = 0; round < 3; round++) {
      const began = process.hrtime.bigint();
      for (let tag = 0; tag < depth; tag++) queue.submit(tag, RequestType.IN, tag, 512);
      queue.publish();
      const taken: number[] = [];
      await until(() => {
        for (let tag = queue.take(); tag >= 0; tag = queue.take()) taken.push(tag);
        return taken.length === depth;
      }, 'all complete');
      assert.ok(process.hrtime.bigint() - began >= 5_000_000n);
      assert.deepEqual(
        taken,
        Array.from({ length: depth }, (_, tag) => tag),
      );
      for (let tag = 0; tag < depth; tag++) assert.equal(queue.status(tag), Status.OK);
    }
    assert.equal((await daemon.status()).vms.vm!.d!.filters[0]!.in_service, true);
  });
});
