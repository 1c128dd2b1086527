/** What filters may do with requests besides passing them on: keep them, have operations and helpers of their own, be changed. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { RequestType, SECTOR_BYTES, Status } from '../../src/block/features.js';
import { DEFERRED, defineBlockFilter } from '../../src/filter/index.js';
import { threadCpuNs } from '../../src/host/clock.js';
import { scratchDirectory } from '../support/daemon.js';
import { FilterRig, type RigFilter, type RigRequest } from '../support/filter-rig.js';
import { Random, SEED } from '../support/seed.js';

const DISK_BYTES = 2 ** 20;
const DISK_SECTORS = DISK_BYTES / SECTOR_BYTES;
const BUFFER_BYTES = 16 * 1024;

type Backend = 'memory' | 'file';

const start = (test: TestContext, filters: readonly RigFilter[], backend: Backend = 'memory', queues = 1) =>
  new FilterRig(test, {
    filters,
    queues,
    backend:
      backend === 'memory'
        ? { type: 'memory', size: DISK_BYTES }
        : { type: 'file', path: join(scratchDirectory(test), 'disk.img'), size: DISK_BYTES },
  });

/** Keeps everything, both ways, for so many turns. */
const keeper = (turns: number) =>
  defineBlockFilter({
    name: 'keeper',
    defers: true,
    counters: ['kept'],
    create(context) {
      const kept = context.counter('kept');
      const waiting: { token: number; turns: number; up: boolean; status: number }[] = [];
      const keep = (token: number, up: boolean, status: number) => {
        kept.add(1);
        waiting.push({ token, turns, up, status });
      };
      return {
        submit: (request) => keep(request.defer(), false, Status.OK),
        complete(request, status) {
          keep(request.defer(), true, status);
          return DEFERRED;
        },
        tick() {
          for (let i = waiting.length - 1; i >= 0; i--) {
            const one = waiting[i]!;
            if (--one.turns > 0) continue;
            waiting.splice(i, 1);
            if (one.up) context.finish(one.token, one.status);
            else context.goOn(one.token);
          }
        },
      };
    },
  });

const KEY = 0xa5;
const turnAround = (bytes: Uint8Array, length = bytes.length) => {
  for (let i = 0; i < length; i++) bytes[i] = bytes[i]! ^ KEY;
};

/** Stores data otherwise than the guest sees them, through operations and buffers of its own; by a helper if it is told so. */
const cipher = defineBlockFilter({
  name: 'cipher',
  defers: true,
  options: (z) => z.strictObject({ helper: z.boolean().default(false) }),
  helper: () => ({
    async handle({ bytes, a }) {
      await null;
      turnAround(bytes, a);
      return a;
    },
  }),
  create(context) {
    const { below, helper, options } = context;
    const buffers = context.buffers(4, BUFFER_BYTES);
    interface Work {
      token: number;
      buffer: NonNullable<ReturnType<typeof buffers.take>>;
      at: number;
      length: number;
    }
    const works: (Work | undefined)[] = [];
    const pending: number[] = [];
    const waiting: { token: number; at: number }[] = [];
    const free = (tag: number) => {
      buffers.giveBack(works[tag]!.buffer);
      works[tag] = undefined;
      const next = waiting.shift();
      if (next !== undefined) begin(next.token, next.at);
    };
    /** The next piece of a request. */
    const begin = (token: number, at: number) => {
      const buffer = buffers.take();
      if (buffer === undefined) return void waiting.push({ token, at });
      const request = context.requestOf(token);
      const length = Math.min(BUFFER_BYTES, request.bytes - at);
      const tag = works.indexOf(undefined);
      const slot = tag < 0 ? works.length : tag;
      works[slot] = { token, buffer, at, length };
      if (request.type === RequestType.IN) return below.read(buffer, request.sector + at / SECTOR_BYTES, length, slot);
      request.copyTo(at, buffer.bytes, 0, length);
      if (options.helper) return helper.ask(1, buffer, slot, length);
      turnAround(buffer.bytes, length);
      store(slot);
    };
    const store = (tag: number) => {
      const { token, buffer, at, length } = works[tag]!;
      const request = context.requestOf(token);
      below.write(buffer, request.sector + at / SECTOR_BYTES, length, tag, 0, request.durable);
    };
    const deliver = (tag: number) => {
      const { token, buffer, at, length } = works[tag]!;
      context.requestOf(token).copyFrom(at, buffer.bytes, 0, length);
      goOn(tag);
    };
    const goOn = (tag: number) => {
      const { token, at, length } = works[tag]!;
      const isLast = at + length === context.requestOf(token).bytes;
      if (!isLast) waiting.push({ token, at: at + length });
      free(tag);
      if (isLast) context.finish(token, Status.OK);
    };
    return {
      submit(request, next) {
        const { type } = request;
        if (type !== RequestType.IN && type !== RequestType.OUT) return next(request);
        pending.push(request.defer());
      },
      tick() {
        for (const token of pending.splice(0)) begin(token, 0);
      },
      done(tag, status) {
        const { token, buffer, length } = works[tag]!;
        if (status !== Status.OK) {
          free(tag);
          return context.finish(token, status);
        }
        if (context.requestOf(token).type === RequestType.OUT) return goOn(tag);
        if (options.helper) return helper.ask(2, buffer, tag, length);
        turnAround(buffer.bytes, length);
        deliver(tag);
      },
      answered(tag, result) {
        assert.equal(result, works[tag]!.length);
        if (context.requestOf(works[tag]!.token).type === RequestType.OUT) store(tag);
        else deliver(tag);
      },
    };
  },
});
describe('a filter that keeps requests', () => {
  for (const backend of ['memory', 'file'] as const)
    it(`has them go on when it says so, down and up: ${backend}`, async (test) => {
      const rig = start(test, [{ definition: keeper(3) }, { definition: keeper(1) }], backend);
      const data = Buffer.alloc(8192, 'kept');
      const requests = [3, 11, 40].map((sector) => rig.begin(RequestType.OUT, sector, data, { cuts: [100, 1000] }));
      assert.deepEqual(
        requests.map(({ status }) => status),
        [undefined, undefined, undefined],
      );
      for (const request of requests) assert.equal((await rig.end(request)).status, Status.OK);
      assert.equal(await rig.flush(), Status.OK);
      assert.deepEqual(await rig.read(40, 8192), data);
      assert.deepEqual([rig.counters(0), rig.counters(1)], [{ kept: 10 }, { kept: 10 }]);
    });

  const stubborn = (up: boolean) =>
    defineBlockFilter({
      name: 'stubborn',
      defers: true,
      create: () => ({
        submit(request, next) {
          if (up) next(request);
          else request.defer();
        },
        complete(request, status) {
          if (!up) return status;
          request.defer();
          return DEFERRED;
        },
      }),
    });

  for (const up of [false, true])
    for (const onFault of ['closed', 'open'] as const)
      it(`for too long has failed, ${onFault}, on the way ${up ? 'up' : 'down'}`, async (test) => {
        const rig = start(test, [{ definition: keeper(1) }, { definition: stubborn(up), onFault, deferNsMax: 1e9 }]);
        const data = Buffer.alloc(512, 7);
        const request = rig.begin(RequestType.OUT, 5, data);
        await rig.until(() => rig.queues[0]!.chain.filters[1]!.held === 1);
        rig.pass(0.9e9);
        for (let i = 0; i < 10; i++) rig.queues[0]!.turn();
        assert.equal(request.status, undefined);
        rig.pass(0.2e9);
        await rig.end(request);
        assert.equal(request.status, onFault === 'open' ? Status.OK : Status.IOERR);
        const { memory } = rig.filters.opened[1]!;
        assert.ok(memory.out);
        assert.match(memory.faultNote.look()!, /kept a request for more than 1 s/);
        if (onFault === 'open') assert.deepEqual(await rig.read(5, 512), data);
        else await assert.rejects(rig.read(5, 512), /ended with 1/);
      });

  it('and fails at another has them go their way', async (test) => {
    for (const onFault of ['closed', 'open'] as const) {
      const definition = defineBlockFilter({
        name: 'fails-later',
        defers: true,
        create: () => ({
          submit(request) {
            if (request.sector === 9) throw new Error('as it was told');
            request.defer();
          },
        }),
      });
      const rig = start(test, [{ definition, onFault }]);
      const kept = [1, 2, 3].map((sector) => rig.begin(RequestType.OUT, sector, Buffer.alloc(512, sector)));
      const last = rig.begin(RequestType.OUT, 9, Buffer.alloc(512, 9));
      for (const request of [...kept, last]) {
        await rig.end(request);
        assert.equal(request.status, onFault === 'open' ? Status.OK : Status.IOERR);
      }
      if (onFault === 'open') assert.equal((await rig.read(2, 512))[0], 2);
    }
  });

  it('has failed if it does not say so, or uses tokens that are not its own', async (test) => {
    const wrong: Record<string, (token: number, finish: (token: number) => void) => void> = {
      'twice the same': (token, finish) => {
        finish(token);
        finish(token);
      },
      'another’s': (token, finish) => finish(token + 1),
      'no number': (_, finish) => finish(Number.NaN),
    };
    for (const [what, use] of Object.entries(wrong)) {
      const definition = defineBlockFilter({
        name: 'mistaken',
        defers: true,
        create(context) {
          let token = -1;
          return {
            submit(request) {
              token = request.defer();
            },
            tick: () => use(token, (one) => context.finish(one, Status.OK)),
          };
        },
      });
      const rig = start(test, [{ definition }]);
      await rig.end(rig.begin(RequestType.OUT, 0, Buffer.alloc(512)));
      assert.match(rig.filters.opened[0]!.memory.faultNote.look()!, /keeps no request with this token/, what);
    }
    const silent = defineBlockFilter({
      name: 'silent',
      create: () => ({
        submit(request) {
          request.defer();
        },
      }),
    });
    const rig = start(test, [{ definition: silent }]);
    assert.equal(await rig.write(0, Buffer.alloc(512)), Status.IOERR);
    assert.match(rig.filters.opened[0]!.memory.faultNote.look()!, /does not say `defers`/);
  });
});

describe('a filter that takes long', () => {
  it('on average is out of service when enough of its calls were timed', async (test) => {
    const slow = defineBlockFilter({
      name: 'slow',
      create: () => ({
        submit(request, next) {
          const start = threadCpuNs();
          while (threadCpuNs() - start < 100_000);
          next(request);
        },
      }),
    });
    const rig = start(test, [{ definition: slow, onFault: 'open', timeNsMax: 50_000 }]);
    let requests = 0;
    while (!rig.filters.opened[0]!.memory.out) {
      await rig.write(requests % 100, Buffer.alloc(512));
      assert.ok(++requests < 3000, 'it is found out');
    }
    assert.match(
      rig.filters.opened[0]!.memory.faultNote.look()!,
      /calls take 1\d\d.* us on average, more than its time_limit/,
    );
  });
});

describe('operations of a filter’s own', () => {
  for (const backend of ['memory', 'file'] as const)
    for (const helper of [false, true])
      it(`store and fetch what a guest’s requests ask for: ${backend}${helper ? ', by a helper' : ''} (seed ${SEED})`, async (test) => {
        const rig = start(
          test,
          [{ definition: keeper(1) }, { definition: cipher, options: { helper } }, { definition: keeper(2) }],
          backend,
        );
        const model = Buffer.alloc(DISK_BYTES, KEY);
        const random = new Random(SEED);
        for (let round = 0; round < 25; round++) {
          // Several at once, which do not overlap.
          const slots = Array.from({ length: 8 }, (_, i) => i).filter(() => random.chance(0.6));
          const requests: [RigRequest, number, number][] = slots.map((slot) => {
            const room = DISK_SECTORS / 8;
            const sectors = 1 + random.below(random.chance(0.3) ? room : 16);
            const sector = slot * room + random.below(room - sectors + 1);
            const bytes = sectors * SECTOR_BYTES;
            const cuts = Array.from({ length: random.below(5) }, () => 1 + random.below(bytes));
            if (random.chance(0.5)) return [rig.begin(RequestType.IN, sector, bytes, { cuts }), sector, bytes];
            const data = Buffer.alloc(bytes, `${round} ${slot} ${random.below(1000)} `);
            const request = rig.begin(RequestType.OUT, sector, data, { cuts, durable: random.chance(0.2) });
            data.copy(model, sector * SECTOR_BYTES);
            return [request, sector, bytes];
          });
          for (const [request, sector, bytes] of requests) {
            await rig.end(request);
            assert.equal(request.status, Status.OK);
            const at = sector * SECTOR_BYTES;
            assert.ok(request.data.equals(model.subarray(at, at + bytes)), `round ${round}, sector ${sector}`);
          }
        }
        const stored = Buffer.alloc(DISK_BYTES);
        rig.disk.image.read(0, stored);
        turnAround(stored);
        assert.ok(stored.equals(model));
        for (const filter of rig.filters.opened) assert.equal(filter.memory.faults, 0);
      });

  it('that are none are the filter’s fault', async (test) => {
    const definition = defineBlockFilter({
      name: 'beyond',
      defers: true,
      create(context) {
        const buffer = context.buffers(1, 4096).take()!;
        return {
          submit(request) {
            request.defer();
            context.below.read(buffer, DISK_SECTORS, 512, 0);
          },
        };
      },
    });
    const rig = start(test, [{ definition }]);
    assert.equal(await rig.write(0, Buffer.alloc(512)), Status.IOERR);
    assert.match(rig.filters.opened[0]!.memory.faultNote.look()!, /no 512 bytes at sector 2048/);
  });
});

describe('requests that go to a disk of the filter’s own', () => {
  /** Sectors from `from` on are on a disk of its own; at once, or when they were kept for a turn. */
  const split = (from: number, keeps: boolean, own: Record<string, unknown>, defers = true) =>
    defineBlockFilter({
      name: 'split',
      defers,
      counters: ['back'],
      disks: () => ({ own: own as never }),
      create(context) {
        const disk = context.disk('own');
        const back = context.counter('back');
        const kept: number[] = [];
        return {
          submit(request, next) {
            if (request.sector < from && request.rangeCount === 0) next(request);
            else if (keeps) kept.push(request.defer());
            else request.redirect(disk);
          },
          complete(_request, status) {
            back.add(1);
            return status;
          },
          tick() {
            for (const token of kept.splice(0)) context.redirect(token, disk);
          },
        };
      },
    });

  for (const backend of ['memory', 'file'] as const)
    for (const keeps of [false, true])
      it(`are as others are: ${backend}, ${keeps ? 'kept before' : 'at once'}`, async (test) => {
        const own =
          backend === 'memory'
            ? { type: 'memory', size: DISK_BYTES }
            : { type: 'file', path: join(scratchDirectory(test), 'own.img'), size: DISK_BYTES };
        const rig = start(test, [{ definition: keeper(1) }, { definition: split(1000, keeps, own) }], backend);
        const [one, two] = [Buffer.alloc(4096, 'one'), Buffer.alloc(199_680, 'two')];
        const low = rig.begin(RequestType.OUT, 8, one);
        const high = rig.begin(RequestType.OUT, 1001, two, { cuts: [100, 7000] });
        for (const request of [low, high]) assert.equal((await rig.end(request)).status, Status.OK);
        assert.deepEqual(await rig.read(1001, two.length, { cuts: [513] }), two);
        assert.deepEqual(await rig.read(8, one.length), one);
        const below = Buffer.alloc(DISK_BYTES);
        rig.disk.image.read(0, below);
        assert.ok(below.subarray(1000 * 512).every((byte) => byte === 0));
        assert.equal(await rig.clear(RequestType.WRITE_ZEROES, 1001, 8), Status.OK);
        assert.ok((await rig.read(1001, 4096)).every((byte) => byte === 0));
        assert.deepEqual(rig.counters(1), { back: 6 });
        for (const filter of rig.filters.opened) assert.equal(filter.memory.faults, 0);
      });

  it('are refused where that disk has no such sectors, or the filter does not say `defers`', async (test) => {
    const small = { type: 'memory', size: 65_536 };
    const rig = start(test, [{ definition: split(0, false, small) }]);
    assert.equal(await rig.write(127, Buffer.alloc(1024)), Status.IOERR);
    assert.match(rig.filters.opened[0]!.memory.faultNote.look()!, /the disk has no such sectors/);
    const silent = start(test, [{ definition: split(0, false, small, false) }]);
    assert.equal(await silent.write(0, Buffer.alloc(1024)), Status.IOERR);
    assert.match(silent.filters.opened[0]!.memory.faultNote.look()!, /only if its definition says `defers`/);
  });
});

describe('filters that are changed', () => {
  const counting = defineBlockFilter({
    name: 'counting',
    counters: ['seen', 'before'],
    options: (z) => z.strictObject({ step: z.int().default(1) }),
    create(context) {
      const seen = context.counter('seen');
      let total = (context.previous as number | undefined) ?? 0;
      context.counter('before').add(total);
      return {
        submit(request, next) {
          total += context.options.step;
          seen.add(context.options.step);
          next(request);
        },
        handOver: () => total,
        close: () => context.log(`closed at ${total}`),
      };
    },
  });

  it('stay as they are, or are closed, or hand over what they know', async (test) => {
    const rig = start(test, [{ definition: counting }, { definition: keeper(1) }]);
    for (let i = 0; i < 3; i++) await rig.write(i, Buffer.alloc(512, i));
    const [first, second] = rig.filters.opened;
    // Another before it.
    await rig.change([{ ready: rig.ready({ definition: keeper(2) }) }, first!, second!]);
    await rig.write(3, Buffer.alloc(512, 3));
    assert.deepEqual(rig.counters(1), { seen: 4, before: 0 });
    // One in its place, while requests are under way.
    const requests = [4, 5, 6].map((sector) => rig.begin(RequestType.OUT, sector, Buffer.alloc(512, sector)));
    const next = { ready: rig.ready({ definition: counting, options: { step: 10 } }), old: rig.filters.opened[1]! };
    await rig.change([next, rig.filters.opened[2]!]);
    assert.deepEqual(
      requests.map(({ status }) => status),
      [Status.OK, Status.OK, Status.OK],
    );
    await rig.write(7, Buffer.alloc(512, 7));
    assert.deepEqual(rig.counters(0), { seen: 17, before: 7 });
    await rig.change([]);
    for (let i = 0; i < 8; i++) assert.equal((await rig.read(i, 512))[0], i);
    assert.match(first!.memory.logNote.look()!, /closed at 17/);
  });

  it('are not stopped in the middle of what others wait for', async (test) => {
    const begun: number[] = [];
    const definition = defineBlockFilter({
      name: 'in-steps',
      defers: true,
      create(context) {
        const buffer = context.buffers(1, 4096).take()!;
        let left = 0;
        return {
          submit(request, next) {
            left = 3;
            context.below.read(buffer, 0, 512, left);
            next(request);
          },
          done(tag) {
            begun.push(tag);
            left--;
            if (left > 0) context.below.read(buffer, 0, 512, left);
          },
          settled: () => left === 0,
        };
      },
    });
    const rig = start(test, [{ definition }], 'file');
    await rig.end(rig.begin(RequestType.IN, 8, 512));
    await rig.hold(() => assert.deepEqual(begun, [3, 2, 1]));
  });
});
