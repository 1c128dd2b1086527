/**
 * Filters that keep their sidecore, or end it: they are out of service by their policy, all else goes on from shared state, and
 * the operator knows. How long the others wait is measured in the benchmarks.
 */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { closeSync, openSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { BlockDriver, Load } from '../../src/guest/index.js';
import { QUEUE_CRASHES_MAX } from '../../src/limits.js';
import { scratchDirectory } from '../support/daemon.js';
import { TestDaemon } from '../vhost-user/test-daemon.js';

const DISK_BYTES = 4 * 2 ** 20;
const REQUEST_BYTES = 4096;
const DEPTH = 8;
const WAIT_MS_MAX = 20_000;

const KEPT = /^has kept its sidecore for \d+ ms$/;

/** What a filter does at its nth request and all further ones, whether its sidecore's thread dies of it, and what is said. */
const MISDEEDS = {
  loops: { does: 'for (;;);', dies: true, said: KEPT },
  throws: { does: `throw new Error('as it was told');`, dies: false, said: /^as it was told / },
  waits: { does: 'Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);', dies: true, said: KEPT },
  recurses: {
    does: 'const deeper = () => deeper() + 1; deeper();',
    dies: false,
    said: /^Maximum call stack size exceeded/,
  },
  allocates: { does: 'for (;;) kept.push({ kept });', dies: true, said: KEPT },
  exits: {
    does: 'process.exit(3);',
    dies: true,
    // Its end may take a while, which counts.
    said: /^(has kept its sidecore for \d+ ms|was at work when its sidecore died: the thread ended with code 3)$/,
  },
} as const;
type Misdeed = keyof typeof MISDEEDS;
const MISDEED_NAMES = Object.keys(MISDEEDS) as Misdeed[];

const filterText = (does: string) => `const kept = [];
export default {
  name: 'bad',
  options: (z) => z.strictObject({ at: z.int(), fifo: z.string().optional() }),
  sharedBytes: 4,
  create({ options, shared }) {
    const seen = new Int32Array(shared);
    return {
      submit(request, next) {
        if (Atomics.add(seen, 0, 1) + 1 >= options.at) { ${does} }
        next(request);
      },
      complete: (request, status) => status,
    };
  },
};
`;

type Backend = 'memory' | 'file';

const disk = (folder: string, name: string, backend: Backend, filters: readonly object[]) => ({
  backend: { type: backend, size: DISK_BYTES, ...(backend === 'file' ? { path: join(folder, name) } : {}) },
  filters,
});

/** Writes filters of all kinds to a folder. */
function folderWithFilters(test: TestContext): string {
  const folder = scratchDirectory(test);
  const write = (name: string, does: string) => writeFileSync(join(folder, `${name}.ts`), filterText(does));
  for (const [name, { does }] of Object.entries(MISDEEDS)) write(name, does);
  write('reads', `require('node:fs').readFileSync(options.fifo);`);
  return folder;
}

/** A guest under load, whose data are checked. */
class LoadedGuest {
  errors = 0;
  readonly driver: BlockDriver;
  readonly load: Load;

  private constructor(driver: BlockDriver) {
    this.driver = driver;
    this.load = new Load([driver], {
      depth: DEPTH,
      requestBytes: REQUEST_BYTES,
      readShare: 0.5,
      workingSetBytes: 2 ** 20,
      verify: true,
      blank: true,
    });
    this.load.start();
  }

  static async start(test: TestContext, socket: string): Promise<LoadedGuest> {
    const driver = await BlockDriver.connect({ socket, depth: DEPTH, requestBytes: REQUEST_BYTES });
    test.after(() => driver.close());
    return new LoadedGuest(driver);
  }

  /** Works for a few milliseconds. Returns how many requests came back. */
  run(): number {
    const { requests, errors, mismatches } = this.load.run(2);
    assert.equal(mismatches, 0);
    this.errors += errors;
    return requests;
  }
}

/** Has guests work until something holds. */
async function workUntil(guests: readonly LoadedGuest[], holds: () => Promise<boolean>, what: string): Promise<void> {
  for (const deadline = Date.now() + WAIT_MS_MAX; !(await holds()); await turn()) {
    for (const guest of guests) guest.run();
    assert.ok(Date.now() < deadline, what);
  }
}

/** Has each of some guests get something done. */
async function workAll(guests: readonly LoadedGuest[]): Promise<void> {
  const waiting = new Set(guests);
  const served = async () => {
    for (const guest of [...waiting]) if (guest.run() > 0) waiting.delete(guest);
    return waiting.size === 0;
  };
  await workUntil([], served, 'every guest is served');
}

describe('filters that do harm', { timeout: 120_000 }, () => {
  for (const backend of ['memory', 'file'] as const) {
    it(`are out of service, one after the other, and nobody else notices: ${backend}`, (test) => harm(test, backend));
  }

  async function harm(test: TestContext, backend: Backend): Promise<void> {
    const folder = folderWithFilters(test);
    const cases = MISDEED_NAMES.flatMap((misdeed) =>
      (['closed', 'open'] as const).map((onFault) => ({ vm: `${misdeed}-${onFault}`, misdeed, onFault })),
    );
    const bad = cases.map(({ vm, misdeed, onFault }) => {
      const filter = { use: join(folder, `${misdeed}.ts`), options: { at: 100 }, on_fault: onFault };
      return [vm, { disks: { d: disk(folder, vm, backend, [filter, { use: 'meter' }]) } }];
    });
    const daemon = await TestDaemon.start(test, {
      ...Object.fromEntries(bad),
      good: { disks: { d: disk(folder, 'good', backend, [{ use: 'meter' }]) } },
    });
    const good = await LoadedGuest.start(test, daemon.socket('good'));
    await workAll([good]);
    let deaths = 0;
    for (const { vm, misdeed, onFault } of cases) {
      const guest = await LoadedGuest.start(test, daemon.socket(vm));
      const isOut = async () => !(await daemon.disk(vm)).filters[0]!.in_service;
      await workUntil([good, guest], isOut, `${vm}: the filter is out of service`);
      await workAll([good, guest]);
      assert.ok(guest.load.finish(), `${vm}: every request comes back`);
      assert.equal(guest.errors > 0, onFault === 'closed', `${vm}: errors by its policy`);
      const { filters, faults, queues } = await daemon.disk(vm);
      const [filter, meter] = filters;
      assert.match(filter!.last_fault!, MISDEEDS[misdeed].said);
      assert.deepEqual([filter!.faults, meter!.in_service, faults], [1, true, { FILTER_FAILED: 1 }]);
      assert.equal(queues[0]!.fault, null);
      if (MISDEEDS[misdeed].dies) deaths++;
      const { cores } = await daemon.status();
      assert.deepEqual([vm, cores[0]!.deaths], [vm, deaths]);
    }
    assert.ok(good.load.finish());
    assert.equal(good.errors, 0);
    const { vms, cores } = await daemon.status();
    const { filters, faults, queues } = vms.good!.d!;
    assert.deepEqual([filters[0]!.in_service, faults, queues[0]!.fault], [true, {}, null]);
    // More than a queue may cause: no queue is to blame.
    assert.ok(deaths > QUEUE_CRASHES_MAX);
    assert.equal(cores[0]!.queues, cases.length + 1);
    assert.equal(daemon.logLines('FILTER_STALLED').length, deaths);
    assert.deepEqual(daemon.logLines('CORE_DIED'), []);
  }

  it('in quarantine leave the sidecore of others alone, even in a call that does not return', async (test) => {
    const folder = folderWithFilters(test);
    const fifo = join(folder, 'fifo');
    execFileSync('mkfifo', [fifo]);
    const bad = (name: string, options: object) =>
      disk(folder, name, 'memory', [{ use: join(folder, `${name}.ts`), options, quarantine: true }]);
    const daemon = await TestDaemon.start(
      test,
      {
        loops: { disks: { d: { ...bad('loops', { at: 100 }), queues: 2 } } },
        reads: { disks: { d: bad('reads', { at: 100, fifo }) } },
        good: { disks: { d: disk(folder, 'good', 'memory', []) } },
      },
      'sidecore',
    );
    const good = await LoadedGuest.start(test, daemon.socket('good'));
    const reader = await LoadedGuest.start(test, daemon.socket('reads'));
    const looper = await LoadedGuest.start(test, daemon.socket('loops'));
    const isOut = async (vm: string) => !(await daemon.disk(vm)).filters[0]!.in_service;
    const stalled = async () => (await daemon.status()).cores[2]!.stalled;
    await workUntil([good, looper, reader], () => isOut('loops'), 'the filter that loops is out of service');
    await workUntil([good, looper, reader], stalled, 'that which reads has its sidecore hang');
    await workAll([good, looper]);
    assert.equal(await isOut('reads'), false);
    closeSync(openSync(fifo, 'w'));
    await workUntil([good, looper, reader], () => isOut('reads'), 'it is out of service when its call has returned');
    await workAll([good, looper, reader]);
    assert.ok([good, looper, reader].every(({ load }) => load.finish()));
    assert.equal(good.errors, 0);
    const { cores, vms } = await daemon.status();
    assert.deepEqual(
      cores.map(({ quarantined, deaths, queues }) => ({ quarantined, deaths, queues })),
      [
        { quarantined: null, deaths: 0, queues: 1 },
        { quarantined: 'loops/d', deaths: 1, queues: 1 },
        { quarantined: 'reads/d', deaths: 1, queues: 1 },
      ],
    );
    assert.deepEqual([vms.good!.d!.queues[0]!.core, vms.loops!.d!.queues[0]!.core], [0, 1]);
  });

  it('that loop while they are made are out of service as well', async (test) => {
    const folder = scratchDirectory(test);
    const use = join(folder, 'made.ts');
    writeFileSync(use, `export default { name: 'made', create() { for (;;); } };\n`);
    const daemon = await TestDaemon.start(test, {
      bad: { disks: { d: disk(folder, 'bad', 'memory', [{ use, on_fault: 'open' }]) } },
      good: { disks: { d: disk(folder, 'good', 'memory', []) } },
    });
    const good = await LoadedGuest.start(test, daemon.socket('good'));
    await workAll([good]);
    const guest = await LoadedGuest.start(test, daemon.socket('bad'));
    await workAll([good, guest]);
    assert.ok(good.load.finish() && guest.load.finish());
    assert.deepEqual([good.errors, guest.errors], [0, 0]);
    const { filters } = await daemon.disk('bad');
    assert.match(filters[0]!.last_fault!, /^has kept its sidecore for \d+ ms while it was made$/);
  });
});
