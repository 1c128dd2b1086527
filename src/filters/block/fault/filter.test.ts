import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import { FilterRig } from '../../../../test/support/filter-rig.js';
import { Random, SEED } from '../../../../test/support/seed.js';
import { RequestType, SECTOR_BYTES, Status } from '../../../block/features.js';
import { readOptions } from '../../../filter/load.js';
import { fault } from './filter.js';

const DISK_BYTES = 2 ** 20;

interface Listed {
  readonly rules: readonly { readonly matched: number; readonly met: number }[];
}

function start(test: TestContext, rules: readonly object[], more: { seed?: number; queues?: number } = {}) {
  const { seed = 1, queues = 1 } = more;
  const rig = new FilterRig(test, {
    filters: [{ definition: fault, options: { rules, seed } }],
    queues,
    dataBytesMax: 2 ** 18,
    backend: { type: 'memory', size: DISK_BYTES },
  });
  const ask = (command: string, given: Record<string, string> = {}) =>
    rig.filters.opened[0]!.commands[command]!(given) as Promise<Listed>;
  const statuses = async (count: number, act: (i: number) => Promise<number>) => {
    const all: number[] = [];
    for (let i = 0; i < count; i++) all.push(await act(i));
    return all;
  };
  const write = (sector: number, byte = 1, bytes = 512) => rig.write(sector, Buffer.alloc(bytes, byte));
  const stored = (sector: number, bytes: number) => {
    const data = Buffer.alloc(bytes);
    rig.disk.image.read(sector * SECTOR_BYTES, data);
    return data;
  };
  return { rig, ask, statuses, write, stored };
}

const { OK, IOERR, UNSUPP } = Status;

describe('a rule', () => {
  it('meets every nth, after so many, once, of its kind and sectors', async (test) => {
    const { rig, ask, statuses, write } = start(test, [
      { on: 'write', every: 3, sectors: [0, 9], do: 'error' },
      { on: 'write', after: 2, once: true, sectors: [100, 110], do: 'unsupported' },
      { on: 'flush', after: 1, do: 'error' },
    ]);
    assert.deepEqual(await statuses(7, (i) => write(i)), [OK, OK, IOERR, OK, OK, IOERR, OK]);
    assert.deepEqual(await statuses(5, () => write(105)), [OK, OK, UNSUPP, OK, OK]);
    // One that touches the last sector, and one that ends before the first.
    assert.deepEqual(await statuses(2, (i) => write(i === 0 ? 9 : 10, 1, 1024)), [OK, OK]);
    assert.deepEqual(await statuses(3, () => rig.flush()), [OK, IOERR, IOERR]);
    assert.equal((await rig.read(5, 512))[0], 0);
    const { rules } = await ask('list');
    assert.deepEqual(
      rules.map(({ matched, met }) => [matched, met]),
      [
        [8, 2],
        [5, 1],
        [3, 2],
      ],
    );
    assert.deepEqual(rig.counters(), {
      errors: 4,
      unsupported: 1,
      hung: 0,
      lies: 0,
      delayed: 0,
      torn: 0,
      corrupted: 0,
    });
  });

  it(`meets the same requests with the same seed, whatever queues they come by (seed ${SEED})`, async (test) => {
    const rules = [
      { on: 'write', probability: 0.3, do: 'error' },
      { on: 'any', probability: 0.1, do: 'unsupported' },
    ];
    const random = new Random(SEED);
    const kinds = Array.from({ length: 400 }, () => random.chance(0.5));
    const run = async (seed: number, queues: number) => {
      const { rig, statuses } = start(test, rules, { seed, queues });
      return statuses(400, async (i) => {
        const kind = kinds[i]! ? RequestType.OUT : RequestType.IN;
        return (await rig.end(rig.begin(kind, i, 512, { queue: i % queues }))).status!;
      });
    };
    const one = await run(7, 1);
    assert.deepEqual(await run(7, 3), one);
    assert.notDeepEqual(await run(8, 1), one);
    const share = (status: number) => one.filter((found) => found === status).length / 400;
    const writes = kinds.filter(Boolean).length / 400;
    assert.ok(Math.abs(share(IOERR) - 0.3 * writes) < 0.1, `${share(IOERR)}`);
    assert.ok(Math.abs(share(UNSUPP) - 0.1 * (1 - 0.3 * writes)) < 0.06, `${share(UNSUPP)}`);
  });

  it('is added, counted and cleared while requests come', async (test) => {
    const { rig, ask, statuses, write } = start(test, []);
    assert.deepEqual(await statuses(2, write), [OK, OK]);
    await ask('add', { on: 'write', every: '2', do: 'error', sectors: '0-100' });
    const { rules } = await ask('add', { on: 'read', delay: '5ms' });
    assert.deepEqual(rules, [
      { rule: 0, on: 'write', sectors: [0, 100], every: 2, do: 'error', matched: 0, met: 0 },
      { rule: 1, on: 'read', do: { delay: '5ms' }, matched: 0, met: 0 },
    ]);
    assert.deepEqual(await statuses(4, write), [OK, IOERR, OK, IOERR]);
    assert.deepEqual(await ask('clear'), { rules: [] });
    assert.deepEqual(await statuses(2, write), [OK, OK]);
    await assert.rejects(ask('add', { on: 'read', torn: '5' }), /torn is for writes/);
    await assert.rejects(ask('add', { on: 'sometimes', do: 'error' }), /on/);
    assert.equal(rig.counters()['errors'], 2);
  });
});

describe('what is done to a request', () => {
  it('delays it by so much', async (test) => {
    const { rig } = start(test, [{ on: 'read', do: { delay: '5ms' } }]);
    const [slow, other] = [0, 1].map((sector) => rig.begin(RequestType.IN, sector, 512));
    const write = rig.begin(RequestType.OUT, 0, 512);
    assert.equal(write.status, OK);
    rig.pass(4.9e6);
    for (let i = 0; i < 3; i++) rig.queues[0]!.turn();
    assert.deepEqual([slow!.status, other!.status], [undefined, undefined]);
    rig.pass(0.2e6);
    assert.deepEqual([(await rig.end(slow!)).status, (await rig.end(other!)).status], [OK, OK]);
  });

  it('hangs until the rules are cleared, the filter goes, or the limit is reached', async (test) => {
    const { rig, ask } = start(test, [{ on: 'read', do: 'hang' }]);
    const one = rig.begin(RequestType.IN, 0, 512);
    rig.pass(20e9);
    for (let i = 0; i < 3; i++) rig.queues[0]!.turn();
    assert.equal(one.status, undefined);
    await ask('clear');
    assert.equal((await rig.end(one)).status, OK);
    await ask('add', { on: 'read', do: 'hang' });
    const two = rig.begin(RequestType.IN, 0, 512);
    await rig.change([{ ready: rig.ready({ definition: fault, options: { rules: [{ do: 'hang' }] } }) }]);
    assert.equal(two.status, IOERR);
    const three = rig.begin(RequestType.IN, 0, 512);
    rig.pass(31e9);
    assert.equal((await rig.end(three)).status, IOERR);
    assert.match(rig.filters.opened[0]!.memory.faultNote.look()!, /kept a request for more than 30 s/);
  });

  it('loses writes and flushes and says that all is well', async (test) => {
    const { rig, stored } = start(test, [
      { on: 'write', sectors: [8, 8], do: 'lie' },
      { on: 'flush', do: 'lie' },
      { on: 'discard', do: 'lie' },
    ]);
    await rig.write(0, Buffer.alloc(8192, 3), { cuts: [700] });
    assert.deepEqual(stored(0, 8192), Buffer.alloc(8192));
    await rig.write(9, Buffer.alloc(512, 4));
    assert.equal(await rig.flush(), OK);
    assert.equal(await rig.clear(RequestType.DISCARD, 9, 1), OK);
    assert.deepEqual(stored(9, 512), Buffer.alloc(512, 4));
    assert.equal(rig.counters()['lies'], 3);
  });

  it(`stores so many bytes of a write and no more (seed ${SEED})`, async (test) => {
    const random = new Random(SEED);
    for (let round = 0; round < 30; round++) {
      const torn = random.chance(0.2) ? random.below(3) * SECTOR_BYTES : random.below(200_000);
      const lie = random.chance(0.5);
      const { rig, stored } = start(test, [{ on: 'write', after: 1, do: { torn, lie } }]);
      const bytes = SECTOR_BYTES * (1 + random.below(400));
      const before = Buffer.alloc(DISK_BYTES / 4, 'before');
      assert.equal(await rig.write(0, before), OK);
      const after = Buffer.alloc(bytes, `after ${round} `);
      const sector = random.below(100);
      // Two at once, the second elsewhere.
      const [first, second] = [sector, 1000].map((at) => rig.begin(RequestType.OUT, at, after, { cuts: [100, 5000] }));
      for (const request of [first!, second!]) assert.equal((await rig.end(request)).status, lie ? OK : IOERR);
      assert.deepEqual(first!.data, after, 'the guest’s memory stays');
      after.copy(before, sector * SECTOR_BYTES, 0, torn);
      assert.ok(stored(0, before.length).equals(before), `${torn} of ${bytes} bytes at ${sector}`);
      const other = Buffer.alloc(bytes);
      after.copy(other, 0, 0, torn);
      assert.ok(stored(1000, bytes).equals(other));
      assert.equal(rig.filters.opened[0]!.memory.faults, 0);
    }
  });

  it('turns one bit of what is read or written', async (test) => {
    const { rig, stored } = start(test, [
      { on: 'write', sectors: [0, 199], do: { corrupt: 8 * 70_000 + 3 } },
      { on: 'read', sectors: [300, 600], do: { corrupt: 8 * 1000 + 7 } },
      { on: 'read', sectors: [700, 900], do: { corrupt: 'random' } },
    ]);
    const data = Buffer.alloc(80_384, 0x55);
    assert.equal(await rig.write(0, data, { cuts: [99, 10_000] }), OK);
    const wrong = Buffer.from(data);
    wrong[70_000] = 0x55 ^ 8;
    assert.ok(stored(0, data.length).equals(wrong));
    await rig.write(300, data);
    const read = await rig.read(300, 4096, { cuts: [999, 2] });
    assert.deepEqual([read[999], read[1000], read[1001]], [0x55, 0x55 ^ 0x80, 0x55]);
    assert.ok(stored(300, data.length).equals(data));
    // Somewhere else each time.
    const places = new Set<number>();
    for (let i = 0; i < 10; i++) {
      const bad = await rig.read(700, 4096);
      const at = bad.findIndex((byte) => byte !== 0);
      const bits = bad.reduce((sum, byte) => sum + byte.toString(2).split('1').length - 1, 0);
      assert.equal(bits, 1);
      places.add(at);
    }
    assert.ok(places.size > 5);
  });
});

it('says what is wrong with its options', () => {
  const faults = (...rules: object[]) => {
    const read = readOptions(fault, { rules });
    return 'faults' in read ? read.faults.map(({ keys, text }) => `${keys.join('.')}: ${text}`).join('; ') : '';
  };
  assert.equal(faults({ on: 'write', every: 5, do: { torn: 100 } }, { do: { delay: 0.5 } }), '');
  assert.match(faults({ on: 'read' }), /rules.0.do: /);
  assert.match(faults({ do: 'explode' }), /is error, unsupported, hang, lie/);
  assert.match(faults({ do: 'error', probability: 2 }), /probability/);
  assert.match(faults({ do: 'error', sectors: [5, 2] }), /the first is after the last/);
  assert.match(faults({ on: 'any', do: 'lie' }), /nothing to lie about/);
});
