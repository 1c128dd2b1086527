/**
 * Filters in a whole daemon: one from a file that throws under load takes only its own disk out of service, ours count and refuse,
 * and all of it outlives sidecores that die and queues that move.
 */
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { setTimeout as sleep, setImmediate as turn } from 'node:timers/promises';
import { BLOCK_FEATURES } from '../../src/block/features.js';
import { checkFile } from '../../src/cli/check.js';
import { BlockDriver, Load, RequestType, Status } from '../../src/guest/index.js';
import { allowedCpus } from '../../src/host/affinity.js';
import { PIECE_REQUESTS } from '../../src/limits.js';
import { Daemon, scratchDirectory } from '../support/daemon.js';
import { until } from '../vhost-user/raw-front-end.js';
import { SIDECORE_CPU } from '../vhost-user/test-daemon.js';
import { KillableDaemon } from './killable-daemon.js';

const DISK_BYTES = 16 * 2 ** 20;
const REQUEST_BYTES = 4096;
const DEPTH = 16;
/** So few that no queue is left out for them. */
const DEATHS = 2;

/** Passes on what it checks: it reads all data both ways, and throws at the nth request if it is told to. */
const FILTER = `import { defineBlockFilter, RequestType, type FilterRequest } from 'sidecore/filter';

interface Options { throwAt?: number | undefined }

export default defineBlockFilter({
  name: 'look',
  options: (z) => z.strictObject({ throwAt: z.int().optional() }),
  counters: ['down', 'up', 'bytes'],
  histograms: ['sectors'],
  sharedBytes: 8,
  create(context) {
    const { throwAt }: Options = context.options;
    const [down, up, bytes] = ['down', 'up', 'bytes'].map(context.counter);
    const sectors = context.histogram('sectors');
    const seen = new Int32Array(context.shared);
    context.log(\`queue \${context.queue} of \${context.vm}/\${context.device}\`);
    const sum = (request: FilterRequest): number => {
      let length = 0;
      for (let i = 0; i < request.segmentCount; i++) length += request.segment(i).length;
      return length;
    };
    return {
      submit(request, next) {
        if (Atomics.add(seen, 0, 1) + 1 === throwAt) {
          throw new Error('as it was told');
        }
        down!.add(1);
        next(request);
      },
      complete(request, status) {
        up!.add(1);
        if (sum(request) !== request.bytes) throw new Error('segments were lost');
        if (request.type === RequestType.IN || request.type === RequestType.OUT) bytes!.add(request.bytes);
        sectors.add(request.sector);
        return status;
      },
    };
  },
});
`;
/** Where it throws. */
const THROW_LINE = FILTER.split('\n').findIndex((line) => line.includes("throw new Error('as")) + 1;

type Backend = 'memory' | 'file';

const disk = (folder: string, name: string, backend: Backend, filters: readonly object[]) => ({
  backend: { type: backend, size: DISK_BYTES, ...(backend === 'file' ? { path: join(folder, name) } : {}) },
  filters,
});

function folderWithFilter(test: TestContext): string {
  const folder = scratchDirectory(test);
  writeFileSync(join(folder, 'look.ts'), FILTER);
  return folder;
}

async function connect(test: TestContext, socket: string, queues = 1): Promise<BlockDriver> {
  const guest = await BlockDriver.connect({ socket, depth: DEPTH, requestBytes: REQUEST_BYTES, queues });
  test.after(() => guest.close());
  return guest;
}

const loadOf = (...guests: BlockDriver[]) =>
  new Load(guests, {
    depth: DEPTH,
    requestBytes: REQUEST_BYTES,
    readShare: 0.5,
    workingSetBytes: 2 ** 20,
    verify: true,
    blank: true,
  });

describe('filters in a daemon', { timeout: 120_000 }, () => {
  for (const backend of ['memory', 'file'] as const) {
    it(`see every request once each way, and change no byte: ${backend}`, async (test) => {
      const folder = folderWithFilter(test);
      const filters = [{ use: 'meter' }, { use: join(folder, 'look.ts') }];
      const vms = { vm: { disks: { d: { ...disk(folder, 'd.img', backend, filters), queues: 2 } } } };
      const daemon = await Daemon.start(test, { cores: allowedCpus().slice(0, 2), vms });
      const load = loadOf(await connect(test, daemon.socket('vm', 'd'), 2));
      load.start();
      let [requests, errors, mismatches] = [0, 0, 0];
      for (let i = 0; i < 40; i++) {
        const result = load.run(10);
        requests += result.requests;
        errors += result.errors;
        mismatches += result.mismatches;
        await turn();
      }
      assert.ok(load.finish());
      assert.deepEqual([errors, mismatches], [0, 0]);
      assert.ok(requests > 1000, `${requests} requests`);
      const { filters: seen, queues } = (await daemon.status()).vms.vm!.d!;
      const total = queues.reduce((sum, queue) => sum + queue.requests, 0);
      const bytes = (pick: 'bytes_read' | 'bytes_written') => queues.reduce((sum, queue) => sum + queue[pick], 0);
      const [meter, look] = seen;
      assert.ok(total >= requests);
      assert.deepEqual(look!.counters, { down: total, up: total, bytes: total * REQUEST_BYTES });
      assert.equal(look!.histograms['sectors']!.count, total);
      const { reads, writes, ...others } = meter!.counters;
      assert.equal(reads! + writes!, total);
      assert.deepEqual(others, {
        flushes: 0,
        others: 0,
        errors: 0,
        bytes_read: bytes('bytes_read'),
        bytes_written: bytes('bytes_written'),
      });
      const { count, p50, p99, max } = meter!.histograms['latency_ns']!;
      assert.equal(count, total);
      assert.ok(p50 > 0 && p50 <= p99 && p99 <= max);
      assert.deepEqual(
        seen.map(({ in_service, faults, last_fault }) => [in_service, faults, last_fault]),
        [
          [true, 0, null],
          [true, 0, null],
        ],
      );
      assert.match(daemon.log, /vm\/d: filter .*look\.ts: queue [01] of vm\/d/);
    });
  }

  for (const onFault of ['closed', 'open'] as const) {
    for (const backend of ['memory', 'file'] as const) {
      it(`that throw under load are out of service, ${onFault}, and nobody else notices: ${backend}`, async (test) => {
        const folder = folderWithFilter(test);
        const use = join(folder, 'look.ts');
        const bad = [{ use, options: { throwAt: 2000 }, on_fault: onFault }, { use: 'meter' }];
        const vms = {
          bad: { disks: { d: disk(folder, 'bad.img', backend, bad) } },
          good: { disks: { d: disk(folder, 'good.img', backend, [{ use }]) } },
        };
        const daemon = await Daemon.start(test, { cores: [SIDECORE_CPU], vms });
        const badLoad = loadOf(await connect(test, daemon.socket('bad', 'd')));
        const goodLoad = loadOf(await connect(test, daemon.socket('good', 'd')));
        badLoad.start();
        goodLoad.start();
        let failed = 0;
        let after = 0;
        for (const deadline = Date.now() + 20_000; after < 3 && Date.now() < deadline; ) {
          const bad = badLoad.run(5);
          const good = goodLoad.run(5);
          assert.deepEqual([bad.mismatches, good.errors, good.mismatches], [0, 0, 0]);
          failed += bad.errors;
          const isOut = !(await daemon.status()).vms.bad!.d!.filters[0]!.in_service;
          if (isOut) after++;
        }
        assert.equal(after, 3, 'the filter has thrown');
        const { good, bad: broken } = (await daemon.status()).vms;
        const [look, meter] = broken!.d!.filters;
        assert.deepEqual([look!.in_service, look!.faults, meter!.in_service, meter!.faults], [false, 1, true, 0]);
        assert.equal(look!.counters['down'], 1999);
        assert.match(look!.last_fault!, new RegExp(`^as it was told \\(.*look\\.ts:${THROW_LINE}\\)$`));
        assert.deepEqual(broken!.d!.faults, { FILTER_FAILED: 1 });
        assert.match(daemon.log, /bad\/d: filter .*look\.ts failed and is out of service.*\[FILTER_FAILED\]/);
        assert.ok(good!.d!.filters[0]!.in_service);
        if (onFault === 'open') assert.equal(failed, 0);
        else assert.ok(failed > 0);
        assert.ok(goodLoad.finish() && badLoad.finish());
      });
    }
  }

  it('count on when sidecores die and queues move, and what is out of service stays so', async (test) => {
    const cpus = allowedCpus().slice(0, 2);
    if (cpus.length < 2) return test.skip('needs two CPUs');
    const folder = folderWithFilter(test);
    const use = join(folder, 'look.ts');
    const daemon = await KillableDaemon.start(test, {
      cores: cpus,
      mode: 'adaptive',
      balance: false,
      vms: {
        a: { disks: { d: disk(folder, 'a', 'memory', [{ use: 'meter' }, { use }]) } },
        b: { disks: { d: disk(folder, 'b', 'memory', [{ use, options: { throwAt: 10 }, on_fault: 'open' }]) } },
      },
    });
    const load = loadOf(await connect(test, daemon.socket('a')), await connect(test, daemon.socket('b')));
    load.start();
    /** Goes on with the load until that is done. */
    const workDuring = async (what: Promise<unknown>) => {
      const done = what.then(() => true);
      do {
        const { errors, mismatches } = load.run(5);
        assert.deepEqual([errors, mismatches], [0, 0]);
      } while (!(await Promise.race([done, turn(false)])));
    };
    await workDuring(sleep(50));
    for (let i = 0; i < 2 * DEATHS; i++) {
      await workDuring(daemon.move({ label: 'a/d', queue: 0, to: i % 2 }, { label: 'b/d', queue: 0, to: (i + 1) % 2 }));
      if (i % 2 === 1) await workDuring(daemon.kill(1, 500));
    }
    assert.ok(load.finish());
    const { a, b } = (await daemon.status()).vms;
    const { requests, retaken } = a!.d!.queues[0]!;
    const [meter, look] = a!.d!.filters;
    const counted = look!.counters['down']!;
    // Counted a little before the sidecore's own count, which a death may leave out, or done again.
    assert.ok(
      counted >= requests && counted <= requests + retaken + DEATHS * PIECE_REQUESTS,
      `${counted} of ${requests}, ${retaken}`,
    );
    assert.ok(meter!.counters['reads']! + meter!.counters['writes']! <= counted);
    assert.deepEqual([meter!.in_service, look!.in_service, look!.faults], [true, true, 0]);
    const [out] = b!.d!.filters;
    assert.deepEqual([out!.in_service, out!.faults, out!.counters['down']], [false, 1, 9]);
  });

  it('named readonly have the disk say so, and refuse what writes', async (test) => {
    const folder = scratchDirectory(test);
    const vms = { vm: { disks: { d: disk(folder, 'd', 'memory', [{ use: 'readonly' }]) } } };
    const daemon = await Daemon.start(test, { cores: [SIDECORE_CPU], vms });
    const guest = await connect(test, daemon.socket('vm', 'd'));
    assert.notEqual(guest.frontEnd.features & BLOCK_FEATURES.RO, 0n);
    assert.equal(guest.frontEnd.features & BLOCK_FEATURES.DISCARD, 0n);
    const queue = guest.queues[0]!;
    for (const [type, status] of [
      [RequestType.OUT, Status.IOERR],
      [RequestType.IN, Status.OK],
      [RequestType.FLUSH, Status.OK],
    ] as const) {
      queue.submit(0, type, 0, type === RequestType.FLUSH ? 0 : 512);
      queue.publish();
      await until(() => queue.take() === 0, 'the request completes');
      assert.equal(queue.status(0), status);
    }
  });

  it('are looked at by `check`, which names file and line', (test) => {
    const folder = folderWithFilter(test);
    const file = join(folder, 'sidecore.yaml');
    const vms = { vm: { disks: { d: disk(folder, 'd', 'memory', [{ use: './look.ts' }]) } } };
    writeFileSync(file, JSON.stringify({ run_dir: folder, cores: [SIDECORE_CPU], vms }, null, 2));
    assert.deepEqual(checkFile(file).problems, []);
    writeFileSync(join(folder, 'look.ts'), `${FILTER}\nexport const = 1;\n`);
    const [problem] = checkFile(file).problems;
    assert.equal(problem!.code, 'FILTER_INVALID');
    assert.match(problem!.text, new RegExp(`^look\\.ts:${FILTER.split('\n').length + 1}: `));
    assert.equal(readFileSync(file, 'utf8').split('\n')[problem!.line - 1]!.trim(), '"use": "./look.ts"');
  });
});
