import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { exampleFigures } from '../../test/support/demo-runs.js';
import type { DaemonStatus } from '../daemon/daemon.js';
import { LoadCounters } from '../guest/load-counters.js';
import { OthersMeter } from './cpu-use.js';
import {
  callsPerRequest,
  countsBetween,
  countsOf,
  countsOfAll,
  figuresOf,
  problemsOf,
  total,
  workShare,
} from './figures.js';

type Core = Partial<DaemonStatus['cores'][number]>;

/** As much of a daemon's answer as is looked at: requests and calls by VM, and the cores. */
function status(vms: Record<string, [requests: number, calls: number]>, cores: readonly Core[] = []): DaemonStatus {
  return {
    cores: cores.map((core) => ({ cpus: [1], deaths: 0, busy_ns: 0, empty_ns: 0, asleep_ns: 0, ...core })),
    vms: Object.fromEntries(
      Object.entries(vms).map(([vm, [requests, calls]]) => [
        vm,
        { disk0: { last_fault: null, queues: [{ requests, calls }] } },
      ]),
    ),
  } as unknown as DaemonStatus;
}

describe('figures', () => {
  it('are of the time between two looks', () => {
    const counters = new LoadCounters();
    counters.countTurn(10, 10);
    counters.latency.add(1_000_000);
    const earlier = countsOf(counters);
    counters.countTurn(1000, 250);
    counters.countCheck(true);
    counters.latency.add(2000);
    const counts = countsBetween(earlier, countsOf(counters));
    const { iops, mb_per_s, p50_us, kicks_per_request, checked, mismatches, errors } = figuresOf(
      'a',
      counts,
      2,
      4096,
      0.5,
    );
    assert.deepEqual(
      { iops, mb_per_s, kicks_per_request, checked, mismatches, errors },
      { iops: 500, mb_per_s: 2.048, kicks_per_request: 0.25, checked: 1, mismatches: 0, errors: 0 },
    );
    assert.ok(Math.abs(p50_us - 2) < 0.1);
    assert.equal(countsOfAll([counts, counts]).requests, 2000);
    assert.equal(countsOfAll([counts, counts]).latency.total, 2);
  });

  it('are never negative, even if the counters were cleared between two looks', () => {
    const counters = new LoadCounters();
    counters.countTurn(1000, 100);
    const warm = countsOf(counters);
    counters.clear();
    counters.countTurn(0, 4);
    const started = countsOf(counters);
    counters.clear();
    const cleared = countsOf(counters);
    counters.countTurn(10, 2);
    const later = countsOf(counters);
    const between = (a: typeof warm, b: typeof warm) => {
      const { requests, kicks } = countsBetween(a, b);
      return [requests, kicks];
    };
    assert.deepEqual(between(warm, later), [10, 2]);
    assert.deepEqual(between(started, cleared), [0, 0]);
    assert.deepEqual(between(cleared, later), [10, 2]);
  });

  it('are nothing where nothing was done', () => {
    const figures = figuresOf('a', countsOfAll([]), 1, 4096, null);
    assert.deepEqual([figures.iops, figures.p999_us, figures.kicks_per_request], [0, 0, 0]);
  });
});

describe('what the daemon says', () => {
  const [earlier, later] = [status({ a: [100, 100], b: [0, 0] }), status({ a: [200, 110], b: [100, 30] })];

  it('gives calls for each request, of one VM and of all', () => {
    assert.equal(callsPerRequest(earlier, later, 'a'), 0.1);
    assert.equal(callsPerRequest(earlier, later), 0.2);
    assert.equal(callsPerRequest(later, later), null);
    assert.equal(
      total(later, (queue) => queue.requests),
      300,
    );
  });

  it('gives the share of a CPU that was work', () => {
    const share = (...cores: Core[]) =>
      workShare(
        status(
          {},
          cores.map(() => ({})),
        ),
        status({}, cores),
      );
    assert.equal(share({ busy_ns: 25, empty_ns: 70, asleep_ns: 5 }), 0.25);
    assert.equal(share({ busy_ns: 20, asleep_ns: 80 }, { busy_ns: 30, asleep_ns: 70 }), 0.5, 'two threads on one CPU');
    assert.equal(
      share({ busy_ns: 20, asleep_ns: 80 }, { cpus: [2], busy_ns: 30, asleep_ns: 70 }),
      0.25,
      'on a CPU each',
    );
    assert.equal(share({ busy_ns: 90, asleep_ns: 10 }, { busy_ns: 90, asleep_ns: 10 }), 1, 'while waiting for it too');
    assert.equal(share({}), null);
  });

  it('is a problem where it tells of faults and deaths, as wrong data are', () => {
    const good = [exampleFigures('guest1')];
    assert.deepEqual(problemsOf(good, later), []);
    const bad = [exampleFigures('guest1', { mismatches: 2, errors: 3 })];
    assert.equal(problemsOf(bad, later).length, 2);
    assert.deepEqual(problemsOf(good, status({}, [{ deaths: 1 }])), ['a sidecore died 1 times']);
    const faulty = status({ guest1: [1, 1] });
    const disk = faulty.vms['guest1']!['disk0'] as { last_fault: unknown };
    disk.last_fault = { code: 'CHAIN_TOO_LONG', text: 'guest1/disk0: a chain is too long' };
    assert.deepEqual(problemsOf(good, faulty), ['guest1: guest1/disk0: a chain is too long [CHAIN_TOO_LONG]']);
  });
});

it('what others had of a CPU is a share, and unknown of a CPU that is not there', () => {
  const meter = new OthersMeter([0], [process.pid]);
  const end = performance.now() + 50;
  while (performance.now() < end);
  for (const share of meter.read() ?? []) assert.ok(share >= 0 && share <= 1, String(share));
  assert.equal(new OthersMeter([1023], [process.pid]).read(), undefined);
});
