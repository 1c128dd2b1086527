/**
 * Filters of disks change while guests read, write and flush: no request is lost, repeated, or moved past a flush, and no byte is
 * wrong, whatever else happens meanwhile.
 */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { askDaemon } from '../../src/daemon/control-server.js';
import { controlSocketPath } from '../../src/daemon/daemon.js';
import type { GivenFilter, ListedDevice } from '../../src/daemon/filter-changes.js';
import { encode } from '../../src/vhost-user/codec.js';
import { scratchDirectory } from '../support/daemon.js';
import { Random } from '../support/seed.js';
import { NEEDS_TWO_CPUS, TWO_CPUS } from '../vhost-user/test-daemon.js';
import { FlushingGuest } from './flushing-guest.js';
import { type FilterFiles, writeFilters } from './hot-swap-filters.js';
import { KillableDaemon } from './killable-daemon.js';

const SEED = Number(process.env.SEED ?? 20_261_128);
const CHANGES = Number(process.env.CHANGES ?? 1000);
const QUEUES = 2;
const DISK_BYTES = 16 * 2 ** 20;
const FILTERS_MAX = 5;
/** A death comes within this time after a change was asked for. */
const KILL_WITHIN_US = 1500;
/** So many each queue has done at the end. */
const FLUSHES_MIN = 10;
const LABEL = 'a/d';

type Backend = 'memory' | 'file';

interface Bench {
  readonly daemon: KillableDaemon;
  readonly files: FilterFiles;
  readonly random: Random;
  guest: FlushingGuest;
}

async function start(test: TestContext, backend: Backend, filters?: (files: FilterFiles) => object[]): Promise<Bench> {
  const folder = scratchDirectory(test);
  const files = writeFilters(folder);
  const image = backend === 'file' ? { path: join(folder, 'image') } : {};
  const disk = {
    backend: { type: backend, size: DISK_BYTES, ...image },
    queues: QUEUES,
    filters: filters?.(files) ?? [{ use: files.ledger }],
  };
  const vms = { a: { disks: { d: disk } } };
  const daemon = await KillableDaemon.start(test, { cores: TWO_CPUS, mode: 'adaptive', balance: false, vms });
  const random = new Random(SEED);
  const guest = await FlushingGuest.connect(daemon.socket('a'), QUEUES, random);
  const bench = { daemon, files, random, guest };
  test.after(() => bench.guest.driver.close());
  return bench;
}

/** Asks the daemon while the guest works. Returns the answer. */
async function ask<T = ListedDevice>({ daemon, guest }: Bench, what: string, body: object): Promise<T> {
  const path = controlSocketPath(daemon.runDirectory);
  const answer = askDaemon<T>(path, 'POST', `/filters/${what}`, { device: LABEL, ...body }, 30_000);
  return guest.during(answer);
}

/** Makes a random change above the ledger. */
async function changeOne(bench: Bench, filters: readonly { name: string }[]): Promise<ListedDevice> {
  const { random, files } = bench;
  const base = '/';
  const others = filters.length - 1;
  const which = String(random.below(others));
  // Fewer from files: these are built each time.
  const any = (): GivenFilter =>
    random.pick<GivenFilter>([
      { use: 'meter' },
      { use: 'meter', options: { latency: random.chance(0.5) } },
      { use: random.chance(0.3) ? files.pass : 'meter' },
      random.chance(0.6) ? { use: files.defer, options: { every: 1 + random.below(5) } } : { use: 'meter' },
    ]);
  const kind = others === 0 ? 'add' : random.pick(['add', 'remove', 'replace', 'set', 'set'] as const);
  switch (kind) {
    case 'add':
      if (others >= FILTERS_MAX) return ask(bench, 'remove', { which });
      return ask(bench, 'add', { filter: any(), at: random.below(others + 1), base });
    case 'remove':
      return ask(bench, 'remove', { which });
    case 'replace':
      return ask(bench, 'replace', { which, filter: any(), base });
    case 'set': {
      const { name } = filters[Number(which)]!;
      const options = {
        meter: { latency: random.chance(0.5) },
        pass: { n: random.below(9), deep: { a: random.below(9) } },
        defer: { every: 1 + random.below(5) },
      }[name];
      return ask(bench, 'set', { which, filter: { options } });
    }
  }
}

/** Changes filters again and again. */
async function changeMany(bench: Bench, count: number, during: (i: number) => Promise<unknown> = async () => {}) {
  let { filters } = (await ask<{ devices: ListedDevice[] }>(bench, 'list', {})).devices[0]!;
  for (let i = 0; i < count; i++) {
    const other = during(i);
    ({ filters } = await changeOne(bench, filters));
    assert.equal(filters.at(-1)!.name, 'ledger');
    assert.ok(filters.every(({ in_service }) => in_service));
    await other;
  }
}

/** Nothing was lost, repeated, or moved past a flush. Requests of guests that have left, or were done again by another sidecore, may be more. */
async function finish(bench: Bench, exact = true, expected = {}): Promise<void> {
  const { daemon, guest } = bench;
  const few = () => guest.flushes.some(({ length }) => length < FLUSHES_MIN);
  for (const end = Date.now() + 10_000; few() && Date.now() < end; ) guest.work(5);
  guest.finish();
  const { filters, queues, faults } = (await daemon.status()).vms['a']!.d!;
  const ledger = filters.at(-1)!;
  assert.deepEqual([queues.map(({ fault }) => fault), faults], [[null, null], expected], daemon.log.slice(-2000));
  assert.equal(ledger.name, 'ledger');
  assert.equal(ledger.counters['repeated'], 0);
  if (!exact) {
    assert.ok(ledger.counters['requests']! >= guest.requests);
    return;
  }
  assert.equal(ledger.counters['requests'], guest.requests);
  const { answer: seen } = await ask<{ answer: number[][] }>({ ...bench }, 'ask', {
    which: 'ledger',
    command: 'flushes',
    given: {},
  });
  guest.finish();
  for (const [queue, flushes] of guest.flushes.entries()) {
    assert.ok(flushes.length >= FLUSHES_MIN && seen[queue]!.length >= FLUSHES_MIN, `${flushes.length} flushes`);
    for (const [i, before] of seen[queue]!.entries())
      assert.ok(before >= flushes[i]!, `flush ${i} of queue ${queue}: ${before} of ${flushes[i]} writes were stored`);
  }
}

describe('filters that change under load', { timeout: 240_000, skip: NEEDS_TWO_CPUS }, () => {
  for (const backend of ['memory', 'file'] as const) {
    it(`${CHANGES / 2} times lose, repeat and reorder nothing: ${backend} (SEED=${SEED})`, async (test) => {
      const bench = await start(test, backend);
      await changeMany(bench, CHANGES / 2);
      await finish(bench);
    });
  }

  it(`survive the deaths of either sidecore meanwhile (SEED=${SEED})`, async (test) => {
    const bench = await start(test, 'file');
    const { daemon, random, guest } = bench;
    for (let kill = 0; kill < 8; kill++) {
      const killed: Promise<void>[] = [];
      await changeMany(bench, 10, async (i) => {
        if (i === 5) killed.push(daemon.kill(random.below(2), random.below(KILL_WITHIN_US)));
      });
      await guest.during(Promise.all(killed));
      // The deaths that its queues saw are forgotten.
      for (const [index, { callFd }] of guest.driver.queues.entries())
        await guest.driver.frontEnd.send('SET_VRING_CALL', encode.vringFd({ index, noFd: false }), [callFd]);
    }
    const { cores } = await daemon.status();
    assert.equal(
      cores.reduce((sum, { deaths }) => sum + deaths, 0),
      8,
    );
    await finish(bench, false);
  });

  it(`go on while queues move (SEED=${SEED})`, async (test) => {
    const bench = await start(test, 'memory');
    const { daemon, random } = bench;
    let moved = 0;
    await changeMany(bench, 100, async () => {
      const [hasMoved] = await daemon.move({ label: LABEL, queue: random.below(QUEUES), to: random.below(2) });
      if (hasMoved) moved++;
    });
    assert.ok(moved > 10, `${moved} moves`);
    await finish(bench);
  });

  it(`go on while front ends come and go, each of which finds what the last one wrote (SEED=${SEED})`, async (test) => {
    const bench = await start(test, 'memory');
    const path = controlSocketPath(bench.daemon.runDirectory);
    const add = () => {
      const body = { device: LABEL, filter: { use: 'meter' }, at: 0, base: '/' };
      return askDaemon(path, 'POST', '/filters/add', body);
    };
    for (let round = 0; round < 30; round++) {
      bench.guest.work(1);
      const before = bench.guest;
      // One while it leaves, with requests in flight, and one while the next comes.
      const first = add();
      for (let i = bench.random.below(4); i > 0; i--) await turn();
      before.driver.close();
      await first;
      const second = add();
      bench.guest = await FlushingGuest.connect(bench.daemon.socket('a'), QUEUES, bench.random, before);
      await bench.guest.during(second);
      for (let i = 0; i < 2; i++) await ask(bench, 'remove', { which: '0' });
    }
    await finish(bench, false);
  });
});

describe('a filter that keeps what it gets', { timeout: 60_000, skip: NEEDS_TWO_CPUS }, () => {
  it('has a change end with DEVICE_BUSY, and everything goes on, also what filters do by themselves', async (test) => {
    const bench = await start(test, 'memory', (files) => [{ use: files.keep }, { use: files.ledger }]);
    bench.guest.work(20);
    const started = performance.now();
    await assert.rejects(ask(bench, 'add', { filter: { use: 'meter' }, base: '/', waitMsMax: 100 }), {
      code: 'DEVICE_BUSY',
      message: 'a/d: its requests in flight do not end within 0.1 s',
    });
    assert.ok(performance.now() - started >= 100);
    const names = async () => {
      const { devices } = await ask<{ devices: ListedDevice[] }>(bench, 'list', {});
      return devices[0]!.filters.map(({ name }) => name);
    };
    assert.deepEqual(await names(), ['keep', 'ledger']);
    assert.equal(bench.guest.requests, 0);
    await ask(bench, 'ask', { which: 'keep', command: 'free', given: {} });
    for (const end = Date.now() + 10_000; bench.guest.requests < 10_000 && Date.now() < end; ) bench.guest.work(5);
    bench.guest.finish();
    await ask(bench, 'add', { filter: { use: 'meter' }, at: 0, base: '/' });
    await ask(bench, 'remove', { which: 'keep' });
    assert.deepEqual(await names(), ['meter', 'ledger']);
    await finish(bench);
  });
});

describe('a filter that holds its disk', { timeout: 60_000, skip: NEEDS_TWO_CPUS }, () => {
  it('does so between requests; what does not come to an end is out of service, and the others wait no longer', async (test) => {
    const bench = await start(test, 'memory', (files) => [
      { use: files.hold, on_fault: 'open' },
      { use: files.ledger },
    ]);
    const { daemon, files, guest } = bench;
    const command = (command: string, given = {}) =>
      ask<{ answer: unknown }>(bench, 'ask', { which: 'hold', command, given });
    guest.work(10);
    assert.equal((await command('good')).answer, 7);
    const isFault = (text: string) => ({ code: 'FILTER_FAILED', message: `a/d: filter ${files.hold}: ${text}` });
    await assert.rejects(command('nested'), isFault('hold() was called within hold()'));
    assert.equal((await command('good')).answer, 7);
    const stuck = command('stuck', { seconds: '0.15' });
    const moved = daemon.move({ label: LABEL, queue: 0, to: 0 }, { label: LABEL, queue: 1, to: 0 });
    const changed = ask(bench, 'add', { filter: { use: 'meter' }, at: 0, base: '/' });
    await assert.rejects(stuck, isFault('hold() has not come to its end for more than 0.15 s'));
    await Promise.all([moved, changed]);
    const of = async () => (await daemon.status()).vms['a']!.d!.filters.find(({ name }) => name === 'hold')!;
    const failed = await of();
    assert.deepEqual([failed.in_service, failed.faults], [false, 1]);
    assert.match(failed.last_fault!, /hold\(\) has not come to its end/);
    guest.work(10);
    await ask(bench, 'replace', { which: 'hold', filter: {}, base: '/' });
    assert.equal((await of()).in_service, true);
    assert.equal((await command('good')).answer, 7);
    await finish(bench, true, { FILTER_FAILED: 1 });
  });
});

describe('a filter whose place another takes', { timeout: 60_000, skip: NEEDS_TWO_CPUS }, () => {
  it('gives it what it has handed over, queue by queue', async (test) => {
    const bench = await start(test, 'memory', (files) => [{ use: files.one }, { use: files.ledger }]);
    const { files, guest, daemon } = bench;
    const use = async (which: string, file: string) => {
      await ask(bench, 'replace', { which, filter: { use: file }, base: '/' });
      const [first] = (await daemon.status()).vms['a']!.d!.filters;
      return first!.counters as { begun: number; seen: number };
    };
    guest.work(50);
    guest.finish();
    const first = guest.requests;
    const { begun } = await use('one', files.two);
    assert.ok(begun >= first && begun > 100, `${begun} of ${first}`);
    guest.finish();
    const second = guest.requests;
    const again = await use('two', files.one);
    assert.ok(again.begun >= second, `${again.begun} of ${second}`);
    await finish(bench);
  });
});

describe('changes that are asked for at once', { timeout: 60_000, skip: NEEDS_TWO_CPUS }, () => {
  it('come one after the other, in their order', async (test) => {
    const bench = await start(test, 'memory');
    const { files } = bench;
    const answers = await Promise.all([
      ask(bench, 'add', { filter: { use: files.pass, options: { n: 1 } }, at: 0, base: '/' }),
      ask(bench, 'set', { which: 'pass', filter: { options: { deep: { a: 5 } } } }),
      ask(bench, 'add', { filter: { use: 'meter' }, before: 'pass', base: '/' }),
      ask(bench, 'remove', { which: 'pass' }),
    ]);
    assert.deepEqual(
      answers.map(({ filters }) => filters.map(({ name, options }) => [name, options])),
      [
        [
          ['pass', { n: 1 }],
          ['ledger', {}],
        ],
        [
          ['pass', { n: 1, deep: { a: 5 } }],
          ['ledger', {}],
        ],
        [
          ['meter', {}],
          ['pass', { n: 1, deep: { a: 5 } }],
          ['ledger', {}],
        ],
        [
          ['meter', {}],
          ['ledger', {}],
        ],
      ],
    );
    await finish(bench);
  });
});
