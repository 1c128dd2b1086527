import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { Random } from '../../test/support/seed.js';
import { Elastic, type ElasticDecision, type ElasticSample } from './elastic.js';

const SEED = Number(process.env.SEED ?? 1);

/** A host under load: what its cores do of what is offered. */
class Host {
  cores: number;
  /** What is offered, requests a second. */
  offered = 0;
  /** What one core can do. On the shared thread a request takes several times as long. */
  readonly perCore = 1000;
  sharedCost = 4;
  /** Requests a second that all together can do, however many cores there are: something else is the bottleneck. */
  bottleneck = Number.POSITIVE_INFINITY;
  /** By how much a rate differs, as a share of it. */
  noise: () => number = () => 0;
  readonly changes: ElasticDecision[] = [];
  readonly #elastic: Elastic;

  constructor(min: number, max: number, cores = min) {
    this.#elastic = new Elastic(min, max);
    this.cores = cores;
  }

  get sample(): ElasticSample {
    const { cores } = this;
    const cost = cores === 0 ? this.sharedCost : 1;
    const capacity = (Math.max(1, cores) * this.perCore) / cost;
    const rate = Math.min(this.offered * (1 + this.noise()), capacity, this.bottleneck);
    // Where something else is the bottleneck, cores are busy with waiting for it.
    const work = this.bottleneck < Math.min(this.offered, capacity) ? Math.max(1, cores) : (rate * cost) / this.perCore;
    return { cores, work, cpu: cores === 0 ? work : cores, rate };
  }

  run(windows: number): ElasticDecision[] {
    const before = this.changes.length;
    for (let i = 0; i < windows; i++) {
      const decision = this.#elastic.decide(this.sample);
      if (decision === undefined) continue;
      this.changes.push(decision);
      this.cores = decision.cores;
    }
    return this.changes.slice(before);
  }
}

describe('the number of sidecores', () => {
  it('grows one by one with what is offered, and shrinks again', () => {
    const host = new Host(1, 4);
    host.run(40);
    assert.equal(host.cores, 1);
    host.offered = 10_000;
    const grown = host.run(60);
    assert.deepEqual(
      grown.map(({ cores, reason }) => [cores, reason]),
      [2, 3, 4].map((cores) => [cores, 'saturated']),
    );
    host.offered = 1200;
    const shrunk = host.run(100);
    assert.deepEqual(
      shrunk.map(({ cores, reason }) => [cores, reason]),
      [3, 2].map((cores) => [cores, 'idle']),
    );
    host.offered = 0;
    host.run(100);
    assert.equal(host.cores, 1);
  });

  it('falls to none where that may be, and rises again under load', () => {
    const host = new Host(0, 2, 1);
    host.offered = 10;
    host.run(40);
    assert.equal(host.cores, 0);
    host.offered = 700;
    host.run(40);
    assert.equal(host.cores, 1);
    host.offered = 5000;
    host.run(40);
    assert.equal(host.cores, 2);
  });

  it('takes more than a moment to change', () => {
    const host = new Host(1, 2);
    for (let i = 0; i < 50; i++) {
      host.offered = 10_000;
      assert.deepEqual(host.run(2), []);
      host.offered = 100;
      assert.deepEqual(host.run(2), []);
    }
  });

  it('is what it was where one more core did not help, and that is not tried again for longer and longer', () => {
    const host = new Host(1, 2);
    host.offered = 10_000;
    host.bottleneck = 900;
    const tries: number[] = [];
    for (let window = 0; window < 20_000; window++) {
      const decisions = host.run(1);
      if (decisions[0]?.reason === 'saturated') tries.push(window);
    }
    assert.ok(host.changes.every(({ cores, reason }) => (reason === 'regret' ? cores === 1 : cores === 2)));
    const gaps = tries.slice(1).map((window, i) => window - tries[i]!);
    assert.ok(gaps[0]! >= 40 && gaps.every((gap, i) => i === 0 || gap >= gaps[i - 1]!), `${gaps}`);
    assert.ok(gaps.at(-1)! >= 2560 && gaps.at(-1)! < 2 * 2560, 'up to a bound');
    // Once it helps, the next try is kept.
    host.bottleneck = Number.POSITIVE_INFINITY;
    host.run(2600);
    assert.equal(host.cores, 2);
  });

  it('comes back from the shared thread if that takes more than it saves', () => {
    const host = new Host(0, 1, 1);
    host.offered = 40;
    host.sharedCost = 30;
    host.run(13);
    assert.equal(host.cores, 0);
    host.run(10);
    assert.equal(host.cores, 1);
    assert.equal(host.changes.at(-1)!.reason, 'regret');
  });

  it('keeps to its limits at once', () => {
    const host = new Host(1, 3, 5);
    assert.deepEqual(host.run(1), [{ cores: 3, reason: 'limits' }]);
    const none = new Host(2, 3, 0);
    assert.deepEqual(none.run(1), [{ cores: 2, reason: 'limits' }]);
  });

  it('is never below the minimum or above the maximum, and changes by one, whatever is measured', () => {
    const share = fc.double({ min: 0, max: 6, noNaN: true });
    const samples = fc.array(
      fc.record({
        work: share,
        cpu: share,
        rate: fc.double({ min: 0, max: 1e7, noNaN: true }),
        times: fc.integer({ min: 1, max: 20 }),
      }),
      {
        maxLength: 100,
      },
    );
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 3 }), fc.integer({ min: 0, max: 3 }), samples, (min, more, all) => {
        const max = Math.max(1, min + more);
        const elastic = new Elastic(min, max);
        let cores = min;
        for (const { times, ...sample } of all) {
          for (let i = 0; i < times; i++) {
            const decision = elastic.decide({ cores, ...sample });
            if (decision === undefined) continue;
            assert.equal(Math.abs(decision.cores - cores), 1);
            cores = decision.cores;
            assert.ok(cores >= min && cores <= max);
          }
        }
      }),
      { seed: SEED, numRuns: 300 },
    );
  });

  it('does not go up and down under a constant load with noise', () => {
    const host = fc.record({
      min: fc.integer({ min: 0, max: 2 }),
      more: fc.integer({ min: 0, max: 6 }),
      offered: fc.double({ min: 0, max: 9000, noNaN: true }),
      sharedCost: fc.double({ min: 1, max: 10, noNaN: true }),
    });
    fc.assert(
      fc.property(host, fc.integer(), ({ min, more, offered, sharedCost }, seed) => {
        const host = new Host(min, Math.max(1, min + more));
        host.offered = offered;
        host.sharedCost = sharedCost;
        const random = new Random(seed);
        host.noise = () => 0.1 * (random.below(2001) / 1000 - 1);
        host.run(400);
        // An hour at four windows a second. What is tried and undone comes ever less often, at most every ten minutes in the end.
        const changes = host.run(14_400);
        assert.ok(changes.length <= 2 * 10, `${changes.length} changes: ${JSON.stringify(changes.slice(-4))}`);
      }),
      { seed: SEED, numRuns: 60 },
    );
  });
});
