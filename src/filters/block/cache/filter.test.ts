import assert from 'node:assert/strict';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { Worker } from 'node:worker_threads';
import { scratchDirectory } from '../../../../test/support/daemon.js';
import { FilterRig, type RigFilter } from '../../../../test/support/filter-rig.js';
import { SectorHistory } from '../../../../test/support/sector-history.js';
import { Random, SEED } from '../../../../test/support/seed.js';
import { slowFilter } from '../../../../test/support/slow-filter.js';
import { defineBlockFilter, RequestType, SECTOR_BYTES, Status } from '../../../filter/index.js';
import { readOptions } from '../../../filter/load.js';
import { mapAnonymous, unmap } from '../../../host/memory-map.js';
import { cacheSharedBytes, dataBytesOf, setsOf } from './blocks.js';
import { cache } from './filter.js';

const SIZE = 4 * 2 ** 20 + 5 * SECTOR_BYTES;
const BLOCK = 4096;

interface StartOptions {
  readonly backend?: 'memory' | 'file';
  readonly queues?: number;
  readonly options?: Readonly<Record<string, unknown>>;
  readonly below?: readonly RigFilter[];
}

function start(test: TestContext, more: StartOptions = {}): FilterRig {
  const { backend = 'memory', queues = 1, options = {}, below = [] } = more;
  return new FilterRig(test, {
    queues,
    backend:
      backend === 'memory'
        ? { type: 'memory', size: SIZE }
        : { type: 'file', path: join(scratchDirectory(test), 'disk.img'), size: SIZE },
    filters: [{ definition: cache, options: { size: '1MiB', ...options } }, ...below],
  });
}

/** What comes through it. */
function counting() {
  const seen = { reads: 0, writes: 0 };
  const definition = defineBlockFilter({
    name: 'counting',
    create: () => ({
      submit(request, next) {
        if (request.type === RequestType.IN) seen.reads++;
        if (request.type === RequestType.OUT) seen.writes++;
        next(request);
      },
    }),
  });
  return { seen, definition };
}

const noFaults = (rig: FilterRig) => {
  for (const { memory } of rig.filters.opened) assert.equal(memory.faults, 0, memory.faultNote.look());
};

describe('cache', () => {
  it('answers reads of what was read or written without the back end', async (test) => {
    const { seen, definition } = counting();
    const rig = start(test, { queues: 2, below: [{ definition }] });
    const data = Buffer.alloc(4 * BLOCK, 'some data ');
    rig.disk.image.write(BLOCK, data);
    assert.ok((await rig.read(8, data.length)).equals(data));
    for (const queue of [0, 1]) assert.ok((await rig.read(8, data.length, { queue, cuts: [5, 700] })).equals(data));
    assert.ok((await rig.read(11, 3 * 512)).equals(data.subarray(3 * 512, 6 * 512)));
    assert.equal(seen.reads, 1);
    assert.deepEqual(rig.counters(), { hits: 3, misses: 1, evictions: 0 });
    const other = Buffer.alloc(BLOCK, 'other data ');
    assert.equal(await rig.write(16, other), Status.OK);
    assert.ok((await rig.read(16, BLOCK, { queue: 1 })).equals(other));
    assert.equal(seen.reads, 1);
    assert.equal(seen.writes, 1);
    const below = Buffer.alloc(BLOCK);
    rig.disk.image.read(16 * 512, below);
    assert.ok(below.equals(other));
    // A part of a block: it is read anew.
    assert.equal(await rig.write(17, Buffer.alloc(512, 1)), Status.OK);
    assert.equal((await rig.read(17, 512))[0], 1);
    assert.equal(seen.reads, 2);
    noFaults(rig);
  });

  it('does not keep what is written if it is told so', async (test) => {
    const { seen, definition } = counting();
    const rig = start(test, { options: { writes: 'around' }, below: [{ definition }] });
    await rig.write(0, Buffer.alloc(BLOCK, 1));
    assert.equal((await rig.read(0, BLOCK))[0], 1);
    assert.equal((await rig.read(0, BLOCK))[0], 1);
    await rig.write(0, Buffer.alloc(BLOCK, 2));
    assert.equal((await rig.read(0, BLOCK))[0], 2);
    assert.deepEqual(seen, { reads: 2, writes: 2 });
  });

  it('keeps what is stored, though the guest changes its memory meanwhile', async (test) => {
    const rig = start(test, { backend: 'file' });
    for (let round = 0; round < 30; round++) {
      const request = rig.begin(RequestType.OUT, 8 * round, Buffer.alloc(2 * BLOCK, round));
      await rig.until(() => {
        request.data.fill(request.data[0]! + 1);
        return request.status !== undefined;
      });
      const stored = Buffer.alloc(2 * BLOCK);
      rig.disk.image.read(round * BLOCK, stored);
      const { hits } = rig.counters();
      assert.ok((await rig.read(8 * round, 2 * BLOCK)).equals(stored));
      assert.equal(rig.counters().hits, hits! + 1);
    }
  });

  it('makes place for others, those first that were not read lately', async (test) => {
    const rig = start(test);
    for (let block = 0; block < 1024; block++) {
      await rig.read(8 * block, BLOCK);
      // One that is read all the time.
      await rig.read(0, BLOCK);
    }
    const { hits, misses, evictions } = rig.counters();
    assert.ok(evictions! >= 1024 - 256 && evictions! < 1024, `${evictions} evictions`);
    assert.ok(hits! > 1000, `${hits} hits, ${misses} misses`);
    const { cached_bytes, size_bytes } = rig.filters.opened[0]!.status() as Record<string, number>;
    assert.equal(size_bytes, 2 ** 20);
    assert.ok(cached_bytes! > 0.9 * 2 ** 20 && cached_bytes! <= 2 ** 20, `${cached_bytes} bytes`);
  });

  it('lets long requests pass by', async (test) => {
    const rig = start(test);
    await rig.read(0, 2 ** 20);
    await rig.read(0, 2 ** 20);
    await rig.write(0, Buffer.alloc(2 ** 20, 7));
    assert.deepEqual(rig.counters(), { hits: 0, misses: 2, evictions: 0 });
    assert.equal((await rig.read(8, BLOCK))[0], 7);
  });

  it('keeps nothing of what failed', async (test) => {
    const failing = { now: true };
    const definition = defineBlockFilter({
      name: 'failing',
      create: () => ({ submit: (request, next) => (failing.now ? request.complete(Status.IOERR) : next(request)) }),
    });
    const rig = start(test, { below: [{ definition }] });
    assert.equal(await rig.write(0, Buffer.alloc(BLOCK, 1)), Status.IOERR);
    await assert.rejects(rig.read(8, BLOCK), /ended with 1/);
    failing.now = false;
    assert.equal((await rig.read(0, BLOCK))[0], 0);
    assert.equal((await rig.read(8, BLOCK))[0], 0);
    assert.deepEqual(rig.counters(), { hits: 0, misses: 3, evictions: 0 });
  });

  for (const backend of ['memory', 'file'] as const)
    for (const writes of ['through', 'around'] as const)
      it(`never gives old data: ${backend}, ${writes} (seed ${SEED})`, async (test) => {
        const random = new Random(SEED);
        const below = [{ definition: slowFilter(random) }];
        const rig = start(test, { backend, queues: 3, options: { writes }, below });
        const history = new SectorHistory(rig, random, SIZE / SECTOR_BYTES, 3);
        for (let round = 0; round < 1500; round++) {
          if (history.inFlight < 6) history.begin(150);
          if (random.chance(0.5)) for (const queue of rig.queues) queue.turn();
          history.look();
          if (round % 300 === 299) {
            await history.end();
            await rig.filters.opened[0]!.commands.drop!({});
          }
        }
        await history.check();
        assert.ok(rig.counters().hits! > 0, `${rig.counters().hits} hits`);
        noFaults(rig);
      });

  it(`never gives old data after sidecores died (seed ${SEED})`, async (test) => {
    const random = new Random(SEED);
    const rig = start(test, { backend: 'file', queues: 2 });
    const history = new SectorHistory(rig, random, SIZE / SECTOR_BYTES, 2);
    for (let round = 0; round < 600; round++) {
      if (history.inFlight < 6) history.begin(400);
      if (random.chance(0.5)) for (const queue of rig.queues) queue.turn();
      if (random.chance(0.1)) rig.die(random.below(2));
      history.look();
    }
    await history.check();
    noFaults(rig);
  });

  it('is empty after it was dropped, and not after it was changed', async (test) => {
    const rig = start(test);
    await rig.write(0, Buffer.alloc(BLOCK, 3));
    const [old] = rig.filters.opened;
    const ready = rig.ready({ definition: cache, options: { size: '1MiB', writes: 'around' } });
    await rig.change([{ ready, old: old! }]);
    assert.equal((await rig.read(0, BLOCK))[0], 3);
    assert.equal(rig.counters().hits, 1);
    const { cached_bytes } = (await rig.filters.opened[0]!.commands.drop!({})) as { cached_bytes: number };
    assert.equal(cached_bytes, 0);
    assert.equal((await rig.read(0, BLOCK))[0], 3);
    assert.equal(rig.counters().hits, 1);
  });

  it('says what is wrong with its options', () => {
    const faults = (options: Record<string, unknown>) => {
      const read = readOptions(cache, options);
      return 'faults' in read ? read.faults.map(({ keys, text }) => `${keys.join('.')}: ${text}`).join() : '';
    };
    assert.equal(faults({ size: '2GiB' }), '');
    assert.match(faults({ size: '2 bananas' }), /size: 2 bananas is no size/);
    assert.match(faults({ size: '4KiB' }), /size: a cache has 1MiB to 16GiB/);
    assert.match(faults({ writes: 'back' }), /writes/);
  });

  it('is right on several threads at once', async () => {
    const sets = setsOf(2 ** 20);
    const map = mapAnonymous(dataBytesOf(sets));
    const shared = new SharedArrayBuffer(cacheSharedBytes(sets));
    const disk = new SharedArrayBuffer(4 * 512);
    const url = new URL('../../../../test/support/cache-thread.js', import.meta.url);
    const results = await Promise.all(
      [0, 1, 2].map(
        (queue) =>
          new Promise<{ hits: number; wrong: string[] }>((resolve, reject) => {
            const workerData = {
              shared,
              place: { address: map.address, sets },
              disk,
              queue,
              rounds: 60_000,
              seed: SEED,
            };
            const worker = new Worker(url, { workerData });
            worker.once('message', resolve);
            worker.once('error', reject);
          }),
      ),
    );
    for (const { hits, wrong } of results) {
      assert.deepEqual(wrong, []);
      assert.ok(hits > 1000, `${hits} hits`);
    }
    unmap(map);
  });
});
