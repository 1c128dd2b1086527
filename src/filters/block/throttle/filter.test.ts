import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import { FilterRig, type RigRequest } from '../../../../test/support/filter-rig.js';
import { Random, SEED } from '../../../../test/support/seed.js';
import { RequestType, Status } from '../../../block/features.js';
import { FilterGroups } from '../../../filter/filter-groups.js';
import { readOptions } from '../../../filter/load.js';
import { throttle } from './filter.js';

const S = 1e9;
const MS = 1e6;
const DATA_BYTES_MAX = 2 ** 17;

type Options = Readonly<Record<string, unknown>>;

const start = (test: TestContext, options: Options, queues = 1, groups = new FilterGroups()) =>
  new FilterRig(test, {
    filters: [{ definition: throttle, options }],
    queues,
    groups,
    dataBytesMax: DATA_BYTES_MAX,
    backend: { type: 'memory', size: 2 ** 20 },
  });

/** What was let pass, and when. */
interface Passed {
  readonly timeNs: number;
  readonly read: boolean;
  readonly bytes: number;
}

/** A guest that always has so many requests of a kind under way in a queue. */
class Demand {
  readonly passed: Passed[] = [];
  readonly #rig: FilterRig;
  readonly #queue: number;
  readonly #depth: number;
  readonly #next: () => { read: boolean; bytes: number };
  readonly #inFlight: RigRequest[] = [];

  constructor(rig: FilterRig, queue: number, depth: number, next: () => { read: boolean; bytes: number }) {
    this.#rig = rig;
    this.#queue = queue;
    this.#depth = depth;
    this.#next = next;
  }

  turn(): void {
    const queue = this.#rig.queues[this.#queue]!;
    queue.turn();
    const [timeNs] = queue.clock as unknown as [number];
    for (let i = this.#inFlight.length - 1; i >= 0; i--) {
      const { status, request } = this.#inFlight[i]!;
      if (status === undefined) continue;
      assert.equal(status, Status.OK);
      this.#inFlight.splice(i, 1);
      this.passed.push({ timeNs, read: request.type === RequestType.IN, bytes: request.dataBytes });
    }
    // As many at most as a guest could begin meanwhile.
    for (let i = 0; this.#inFlight.length < this.#depth && i < this.#depth; i++) {
      const { read, bytes } = this.#next();
      const request = this.#rig.begin(read ? RequestType.IN : RequestType.OUT, 0, bytes, { queue: this.#queue });
      if (request.status === undefined) this.#inFlight.push(request);
      else this.passed.push({ timeNs, read, bytes });
    }
  }
}

/** Turns of all queues of disks, each so far after the one before as `stepNs` says. */
function run(rigs: readonly FilterRig[], demands: readonly Demand[], durationNs: number, stepNs: () => number): void {
  for (let spent = 0; spent < durationNs; ) {
    const step = stepNs();
    spent += step;
    for (const rig of rigs) rig.pass(step);
    for (const demand of demands) demand.turn();
  }
}

/** The most that passed in any window beyond what its length allows. */
function mostAtOnce(passed: readonly Passed[], rate: number, costOf: (one: Passed) => number): number {
  let [sum, least, most] = [0, Number.POSITIVE_INFINITY, 0];
  for (const one of passed) {
    const allowed = (rate * one.timeNs) / S;
    least = Math.min(least, sum - allowed);
    sum += costOf(one);
    most = Math.max(most, sum - allowed - least);
  }
  return most;
}

const total = (passed: readonly Passed[], costOf: (one: Passed) => number) =>
  passed.reduce((sum, one) => sum + costOf(one), 0);

describe('the throttle', () => {
  const random = new Random(SEED);
  const operations = () => 1;
  const bytes = (one: Passed) => one.bytes;
  const each = 8192;
  const ofSize = (one: Passed) => Math.max(1, Math.ceil(one.bytes / each));
  const only = (read: boolean, costOf: (one: Passed) => number) => (one: Passed) =>
    one.read === read ? costOf(one) : 0;
  const cases: readonly { options: Options; rate: number; burst: number; costOf: (one: Passed) => number }[] = [
    { options: { iops: 1000 }, rate: 1000, burst: 100, costOf: operations },
    { options: { iops: 20_000, burst: '2ms' }, rate: 20_000, burst: 40, costOf: operations },
    { options: { iops: 300, burst_requests: 1 }, rate: 300, burst: 1, costOf: operations },
    { options: { iops: 5000, iops_size: '8KiB' }, rate: 5000, burst: 500, costOf: ofSize },
    { options: { iops_write: 700 }, rate: 700, burst: 70, costOf: only(false, operations) },
    { options: { bps: '10MB' }, rate: 10e6, burst: 1e6, costOf: bytes },
    { options: { bps_read: '4MiB', burst_bytes: '128KiB' }, rate: 2 ** 22, burst: 2 ** 17, costOf: only(true, bytes) },
    { options: { iops: 1e6, bps_write: '3MB', burst: 1 }, rate: 3e6, burst: 3e6, costOf: only(false, bytes) },
  ];
  for (const { options, rate, burst, costOf } of cases)
    it(`lets pass at most its burst and its rate in any window, and no less if there is demand: ${JSON.stringify(options)} (seed ${SEED})`, (test) => {
      const queues = 1 + random.below(3);
      const rig = start(test, options, queues);
      const next = () => ({ read: random.chance(0.5), bytes: 512 * (1 + random.below(32)) });
      const demands = rig.queues.map((_, queue) => new Demand(rig, queue, 1 + random.below(16), next));
      run([rig], demands, 3 * S, () => 50e3 + random.below(200e3));
      const passed = demands.flatMap((demand) => demand.passed).sort((a, b) => a.timeNs - b.timeNs);
      const most = mostAtOnce(passed, rate, costOf);
      assert.ok(most <= burst * 1.000001, `${most} at once`);
      const share = total(passed, costOf) / (3 * rate + burst);
      // A bucket of one is as exact as the turns are.
      assert.ok(share > (burst === 1 ? 0.9 : 0.95), `${share} of what there was`);
      const { passed: counted, deferred } = rig.counters();
      assert.ok(counted === passed.length && deferred! > 0);
      assert.equal(rig.filters.opened[0]!.memory.readHistograms()['waited_ns']!.total <= deferred!, true);
    });

  it('lets flushes pass, and requests that are larger than its bucket when that is full', async (test) => {
    const rig = start(test, { bps: '64KiB', burst_bytes: '1KiB' });
    const first = rig.begin(RequestType.OUT, 0, Buffer.alloc(65536));
    const second = rig.begin(RequestType.OUT, 0, Buffer.alloc(65536));
    assert.equal(first.status, Status.OK);
    assert.equal(await rig.flush(), Status.OK);
    rig.pass(0.98 * S);
    for (let i = 0; i < 5; i++) rig.queues[0]!.turn();
    assert.equal(second.status, undefined);
    rig.pass(0.03 * S);
    assert.equal((await rig.end(second)).status, Status.OK);
  });

  it('keeps the order of a queue, and for as long as it takes', async (test) => {
    const rig = start(test, { iops: 1, burst_requests: 1 });
    const requests = Array.from({ length: 100 }, (_, i) => rig.begin(RequestType.OUT, 0, Buffer.alloc(512, i)));
    for (let done = 1; done < 100; done++) {
      assert.deepEqual(
        requests.map(({ status }) => status),
        requests.map((_, i) => (i < done ? Status.OK : undefined)),
      );
      rig.pass(1.0001 * S);
      rig.queues[0]!.turn();
    }
    assert.equal(rig.filters.opened[0]!.memory.faults, 0);
    assert.deepEqual(rig.counters(), { passed: 100, deferred: 99 });
  });

  it('has reads wait for reads and writes for writes where each have limits', (test) => {
    const rig = start(test, { iops_write: 1, burst_requests: 1 });
    const writes = [0, 1].map(() => rig.begin(RequestType.OUT, 0, 512));
    const read = rig.begin(RequestType.IN, 0, 512);
    assert.deepEqual(
      [...writes, read].map(({ status }) => status),
      [Status.OK, undefined, Status.OK],
    );
  });

  it('asks for time when it is due, and for no turn before', async (test) => {
    const rig = start(test, { iops: 1, burst_requests: 1 });
    const [, waits] = [0, 1].map(() => rig.begin(RequestType.IN, 0, 512));
    const { chain, filterDesk } = rig.queues[0]!;
    rig.pass(5 * MS);
    rig.queues[0]!.turn();
    assert.ok(filterDesk.sleepMs > 5, `${filterDesk.sleepMs} ms`);
    assert.equal(chain.filters[0]!.wake[0], 1e12 + S);
    rig.pass(S);
    await rig.end(waits!);
    assert.ok(!filterDesk.busy || !chain.active);
  });
});

describe('a throttle for a group', () => {
  it(`is fair among disks, however many queues they have and however large their requests are (seed ${SEED})`, (test) => {
    const random = new Random(SEED);
    for (const options of [
      { bps: '20MB' },
      { iops: 3000, burst: '5ms' },
      { iops_write: 900, iops: 2000, bps: '1GB' },
    ]) {
      const groups = new FilterGroups();
      const rigs = [1, 2, 4].map((queues) => start(test, { ...options, group: 'g' }, queues, groups));
      const sizes = [512, 16_384, 65_536];
      const all = rigs.map((rig, disk) =>
        rig.queues.map(
          (_, queue) => new Demand(rig, queue, 4 + random.below(28), () => ({ read: false, bytes: sizes[disk]! })),
        ),
      );
      // What is in the bucket at first is for whoever comes first.
      run(rigs, all.flat(), 0.5 * S, () => 50e3 + random.below(100e3));
      for (const { passed } of all.flat()) passed.length = 0;
      run(rigs, all.flat(), 6 * S, () => 50e3 + random.below(100e3));
      const rate = 'bps' in options && !('iops' in options) ? 20e6 : 'iops_write' in options ? 900 : 3000;
      const costOf = (one: Passed) => (rate === 20e6 ? one.bytes : 1);
      const costs = all.map((demands) =>
        total(
          demands.flatMap(({ passed }) => passed),
          costOf,
        ),
      );
      const sum = costs.reduce((one, other) => one + other, 0);
      assert.ok(sum > 0.95 * 6 * rate, `${sum} of ${6 * rate}`);
      for (const cost of costs) assert.ok(Math.abs(cost / (sum / 3) - 1) < 0.05, `${costs}`);
      // Queues of one disk, too.
      const ofQueues = all[2]!.map(({ passed }) => total(passed, costOf));
      for (const cost of ofQueues) assert.ok(Math.abs(cost / (costs[2]! / 4) - 1) < 0.1, `${ofQueues}`);
    }
  });

  it('gives what one does not want to the others, and its share to one that comes', (test) => {
    const groups = new FilterGroups();
    const rigs = [start(test, { iops: 2000, group: 'g' }, 1, groups), start(test, { group: 'g' }, 1, groups)];
    const demands = rigs.map((rig) => new Demand(rig, 0, 16, () => ({ read: true, bytes: 512 })));
    run(rigs, demands.slice(0, 1), 2 * S, () => 100e3);
    assert.ok(demands[0]!.passed.length > 0.95 * 4000);
    const before = demands[0]!.passed.length;
    run(rigs, demands, 2 * S, () => 100e3);
    const [one, other] = [demands[0]!.passed.length - before, demands[1]!.passed.length];
    assert.ok(Math.abs(one - other) < 100 && one + other > 3800 && one + other < 4200, `${one} and ${other}`);
  });

  it('does not wait for a disk whose sidecore does not come', (test) => {
    const groups = new FilterGroups();
    const rigs = [0, 1].map(() => start(test, { iops: 2000, burst: '1ms', group: 'g' }, 1, groups));
    const demands = rigs.map((rig) => new Demand(rig, 0, 16, () => ({ read: true, bytes: 512 })));
    run(rigs, demands, 0.5 * S, () => 100e3);
    const before = demands[0]!.passed.length;
    run(rigs, demands.slice(0, 1), S, () => 100e3);
    assert.ok(demands[0]!.passed.length - before > 1900, `${demands[0]!.passed.length - before}`);
  });
});

describe('limits that change', () => {
  const ask = (rig: FilterRig, command: string, given: Record<string, string> = {}) =>
    rig.filters.opened[0]!.commands[command]!(given) as Promise<{ limits: Record<string, unknown> }>;

  it('hold from then on, with the tokens that there are', async (test) => {
    const rig = start(test, { iops: 100, burst: 1 });
    const demand = new Demand(rig, 0, 8, () => ({ read: true, bytes: 512 }));
    run([rig], [demand], 0.01 * S, () => 100e3);
    // The bucket is not empty yet, and is not filled by a change.
    const before = demand.passed.length;
    assert.deepEqual((await ask(rig, 'set', { iops: '1000' })).limits, { iops: 1000, burst: '1s' });
    run([rig], [demand], S, () => 100e3);
    const passed = demand.passed.length - before;
    assert.ok(Math.abs(passed - 1000 - Math.max(0, 101 - before)) < 20, `${passed} after ${before}`);
    await ask(rig, 'set', { iops: 'none', bps: '1MiB' });
    assert.deepEqual((await ask(rig, 'show')).limits, { bps: 2 ** 20, burst: '1s' });
    await ask(rig, 'set', { bps: 'none' });
    const free = demand.passed.length;
    run([rig], [demand], 0.01 * S, () => 100e3);
    assert.ok(demand.passed.length - free >= 8 * 90);
    await assert.rejects(ask(rig, 'set', { iops: 'many' }), /iops: "many" is not what is expected/);
    await assert.rejects(ask(rig, 'set', { speed: '3' }), /[Uu]nrecognized key|speed/);
  });

  it('by another filter in its place take over the tokens; what waits goes on first', async (test) => {
    const rig = start(test, { iops: 2, burst_requests: 2 });
    const requests = [0, 1, 2, 3].map(() => rig.begin(RequestType.IN, 0, 512));
    const next = { ready: rig.ready({ definition: throttle, options: { iops: 4, burst_requests: 2 } }) };
    await rig.change([{ ...next, old: rig.filters.opened[0]! }]);
    assert.deepEqual(
      requests.map(({ status }) => status),
      [Status.OK, Status.OK, Status.OK, Status.OK],
    );
    // Two were owed: half a second for those, and a quarter for the next.
    const request = rig.begin(RequestType.IN, 0, 512);
    for (let i = 0; i < 7; i++) {
      assert.equal(request.status, undefined, `${i}`);
      rig.pass(0.1 * S);
      rig.queues[0]!.turn();
    }
    rig.pass(0.1 * S);
    await rig.end(request);
    assert.equal(request.status, Status.OK);
  });
});

it('a queue that is stopped again and again is owed no more than a second, and what is left every five seconds', async (test) => {
  const rig = start(test, { iops: 10, burst_requests: 1 });
  const [queue] = rig.queues;
  /** How many have gone when the queue has been hurried for so long. */
  const stopped = (requests: readonly RigRequest[], seconds: number) => {
    for (let i = 0; i <= 10 * seconds; i++) {
      queue!.chain.hurry();
      for (let turns = 0; turns < 8; turns++) queue!.turn();
      if (i < 10 * seconds) rig.pass(0.1 * S);
    }
    queue!.chain.quiesce();
    queue!.chain.resume();
    return requests.filter(({ status }) => status === Status.OK).length;
  };
  const fill = (length: number) => Array.from({ length }, () => rig.begin(RequestType.IN, 0, 512));
  const first = fill(30);
  assert.equal(stopped(first, 0), 11, 'the bucket, and what may be owed');
  assert.equal(stopped(first, 0), 11, 'the same second is not owed twice');
  assert.equal(stopped(first, 1), 21, 'it goes on at its rate');
  assert.equal(stopped(first, 1), 30);
  for (const queue of rig.queues) queue.turn();
  const second = fill(60);
  const before = stopped(second, 4.9);
  assert.ok(before <= 51, `${before}`);
  assert.equal(stopped(second, 0.1), 60, 'nobody waits for ever');
});

it('says what is wrong with its options', () => {
  const faults = (options: Options) => {
    const read = readOptions(throttle, options);
    return 'faults' in read ? read.faults.map(({ keys, text }) => `${keys.join('.')}: ${text}`).join('; ') : '';
  };
  assert.equal(faults({ iops: 1000, bps: '1.5MiB', burst: '2s' }), '');
  assert.match(faults({}), /says no limit/);
  assert.match(faults({ bps: 'fast' }), /bps: "fast" is not what is expected/);
  assert.match(faults({ iops: 0 }), /iops: 0 is not/);
  assert.match(faults({ iops: 5, burst: '1h' }), /burst: "1h" is not/);
  assert.match(faults({ group: 'a b' }), /group: has letters/);
});
