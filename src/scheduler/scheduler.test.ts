import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { STUCK_LOOKS_MAX } from '../limits.js';
import { Account } from './account.js';
import { ScheduleCounter } from './counters.js';
import { POLICIES } from './policy.js';
import { TestMachine, type TestQueue } from './test-machine.js';

const SMALL = { bytes: 4096, ns: 800 };
const LARGE = { bytes: 2 ** 20, ns: 100_000 };
const QUANTUM_NS = 20_000;
/** A piece of a large request takes so long. */
const PIECE_NS = (LARGE.ns * 65_536) / LARGE.bytes;

/** How long a queue's items wait that is given one at a time, each 2 us after the one before was done: the longest, ns. */
function waitsOf(machine: TestMachine, queue: TestQueue, runNs: number): number[] {
  const waits: number[] = [];
  let since = 0;
  const ask = () => {
    since = machine.now;
    queue.waiting = 1;
  };
  queue.onDone = () => {
    // Its own time is still to pass.
    waits.push(machine.now - since);
    machine.after(queue.itemNs + 2000, ask);
  };
  ask();
  machine.runFor(runNs);
  return waits.sort((a, b) => a - b);
}

/** Jain's index of equal shares: one if all are equal, 1/n if one has everything. */
function jain(values: readonly number[]): number {
  const sum = values.reduce((a, b) => a + b, 0);
  return sum ** 2 / (values.length * values.reduce((a, b) => a + b * b, 0));
}

for (const policy of POLICIES) {
  describe(`a scheduler, policy ${policy}`, () => {
    it('has nothing to do where nothing waits', () => {
      const machine = new TestMachine({ policy });
      for (let i = 0; i < 3; i++) machine.add(SMALL);
      assert.equal(machine.scheduler.next(), undefined);
      assert.equal(machine.scheduler.next(), undefined);
      assert.equal(machine.scheduler.rounds, 2);
    });

    it('serves all that wait, in their order, and counts it', () => {
      const machine = new TestMachine({ policy });
      const queues = [3, 1, 2].map((waiting) => Object.assign(machine.add(SMALL), { waiting }));
      machine.round();
      assert.deepEqual(machine.turns, queues);
      assert.deepEqual(
        queues.map(({ done }) => done),
        [3, 1, 2],
      );
      machine.round();
      machine.scheduler.countPolls();
      for (const { counters, done } of queues) {
        assert.equal(counters[ScheduleCounter.POLLS], 2);
        assert.equal(counters[ScheduleCounter.BATCHES], 1);
        assert.equal(counters[ScheduleCounter.BYTES], done * SMALL.bytes);
      }
    });

    it('starves nobody, whatever the mix', () => {
      const kind = fc.record({
        bytes: fc.integer({ min: 0, max: 2 ** 21 }),
        depth: fc.integer({ min: 1, max: 200 }),
        weight: fc.integer({ min: 1, max: 20 }),
      });
      fc.assert(
        fc.property(fc.array(kind, { minLength: 2, maxLength: 20 }), (kinds) => {
          const machine = new TestMachine({ policy });
          const queues = kinds.map(({ bytes, depth, weight }) =>
            machine.keepBusy(machine.add({ bytes, ns: 300 + bytes / 10 }, new Account(weight)), depth),
          );
          machine.runFor(100_000_000);
          for (const [i, queue] of queues.entries()) {
            const share = queue.ns / 100_000_000;
            const weights = kinds.reduce((sum, { weight }) => sum + weight, 0);
            const least = policy === 'fair' ? (0.6 * kinds[i]!.weight) / weights : 1e-6;
            assert.ok(share > least, `${i} of ${JSON.stringify(kinds)}: ${share}`);
          }
        }),
        { numRuns: 40 },
      );
    });

    it('ends the turn of a queue whose items have no bytes', () => {
      const machine = new TestMachine({ policy });
      const queues = [0, 1].map(() => machine.keepBusy(machine.add({ bytes: 0, ns: 300 }), 50));
      machine.runFor(10_000_000);
      for (const { ns } of queues) assert.ok(ns > 4_000_000, `${ns}`);
    });

    it('ends a round though some cannot take what waits for them', () => {
      const machine = new TestMachine({ policy, stuckNs: 0 });
      const blocked = [0, 1, 2].map(() => Object.assign(machine.add(SMALL), { waiting: 1, blocked: true }));
      const bulk = machine.keepBusy(machine.add(LARGE), 4);
      machine.runFor(10_000_000);
      assert.ok(bulk.ns > 9_000_000 && machine.scheduler.rounds > 10);
      for (const queue of blocked) queue.blocked = false;
      machine.runFor(1_000_000);
      for (const { done } of blocked) assert.equal(done, 1);
    });

    it('loses no turn and gives none twice when queues come and go within rounds', () => {
      fc.assert(
        fc.property(fc.array(fc.nat(5), { minLength: 1, maxLength: 60 }), (steps) => {
          const machine = new TestMachine({ policy });
          const { scheduler } = machine;
          const there = Array.from({ length: 4 }, () => machine.keepBusy(machine.add(SMALL), 3));
          for (const step of steps) {
            const queue = scheduler.next();
            if (queue === undefined) continue;
            assert.ok(there.includes(queue), 'one that has left has its turn');
            const { items, bytes } = queue.serve();
            scheduler.goOn(queue, items, bytes);
            if (step === 0 && there.length > 1) {
              const [left] = there.splice(step % there.length, 1);
              scheduler.remove(left!);
            } else if (step === 1) there.push(machine.keepBusy(machine.add(SMALL), 3));
          }
          machine.turns.length = 0;
          machine.runFor(5_000_000);
          assert.deepEqual(new Set(machine.turns), new Set(there));
        }),
      );
    });
  });
}

for (const policy of ['fair', 'elvis'] as const) {
  describe(`a scheduler with an eye on those who wait, policy ${policy}`, () => {
    it('breaks a round off for what was notified, and goes on where it was', () => {
      const machine = new TestMachine({ policy });
      const queues = Array.from({ length: 3 }, () => machine.keepBusy(machine.add(LARGE), 100));
      machine.notified = true;
      machine.round();
      // A turn ends when the notified have waited for 20 us; others have theirs after the notified.
      assert.ok(machine.turns.length < 3);
      machine.notified = false;
      while (machine.scheduler.rounds === 0) machine.round();
      assert.deepEqual(new Set(machine.turns), new Set(queues));
    });

    it('looks at a bounded number of others after each piece', () => {
      const machine = new TestMachine({ policy });
      let looks = 0;
      for (let i = 0; i < 256; i++) {
        const idle = machine.add(SMALL);
        idle.pending = () => {
          looks++;
          return 0;
        };
      }
      const busy = machine.keepBusy(machine.add(LARGE), 4);
      assert.equal(machine.scheduler.next(), busy);
      looks = 0;
      for (let pieces = 1; machine.scheduler.goOn(busy, 1, 65_536); pieces++) {
        machine.now += 1000;
        assert.ok(looks <= pieces * STUCK_LOOKS_MAX, `${looks} after ${pieces}`);
      }
      assert.ok(looks > 0);
    });
  });
}

describe('policy fair', () => {
  it('serves a guest of small requests beside large ones after at most a quantum', () => {
    const machine = new TestMachine();
    for (let i = 0; i < 15; i++) machine.keepBusy(machine.add(LARGE), 4);
    const waits = waitsOf(machine, machine.add(SMALL), 500_000_000);
    assert.ok(waits.length > 20_000, `${waits.length}`);
    assert.ok(waits[Math.floor(waits.length * 0.99)]! <= QUANTUM_NS, `${waits[Math.floor(waits.length * 0.99)]}`);
  });

  it('gives equal guests equal time, whatever the size of their requests', () => {
    const machine = new TestMachine();
    const kinds = [SMALL, LARGE, { bytes: 65_536, ns: 7000 }, { bytes: 512, ns: 400 }];
    const queues = [...kinds, ...kinds].map((item) => machine.keepBusy(machine.add(item), 64));
    machine.runFor(500_000_000);
    const index = jain(queues.map(({ ns }) => ns));
    assert.ok(index >= 0.99, `${index}`);
  });

  it('gives unequal guests time by their weights', () => {
    const machine = new TestMachine();
    const weights = [1, 2, 4, 8];
    const queues = weights.map((weight) => machine.keepBusy(machine.add(SMALL, new Account(weight)), 64));
    machine.runFor(500_000_000);
    const all = queues.reduce((sum, { ns }) => sum + ns, 0);
    for (const [i, { ns }] of queues.entries()) {
      const wanted = weights[i]! / 15;
      assert.ok(Math.abs(ns / all / wanted - 1) < 0.02, `weight ${weights[i]}: ${ns / all}, not ${wanted}`);
    }
  });

  it('charges what work takes, though the host takes the CPU away in one of fifty pieces', () => {
    const machine = new TestMachine();
    let pieces = 0;
    machine.stolen = () => (++pieces % 50 === 0 ? 500_000 : 0);
    const kinds = [SMALL, LARGE, { bytes: 512, ns: 400 }, { bytes: 65_536, ns: 7000 }];
    for (const queue of kinds.map((item) => machine.keepBusy(machine.add(item), 8))) {
      machine.runFor(200_000_000);
      const charged = queue.counters[ScheduleCounter.TIME_NS]! / queue.ns;
      assert.ok(charged > 0.9 && charged < 1.15, `${queue.itemBytes} bytes: ${charged} of what it took`);
    }
  });

  it('serves all queues of a guest alike', () => {
    const machine = new TestMachine();
    const [one, other] = [new Account(1), new Account(1)];
    const queues = Array.from({ length: 7 }, (_, i) =>
      machine.keepBusy(machine.add(SMALL, i % 3 === 0 ? one : other), 64),
    );
    machine.runFor(500_000_000);
    for (const account of [one, other]) {
      const index = jain(queues.filter((queue) => queue.account === account).map(({ ns }) => ns));
      assert.ok(index >= 0.99, `${queues.map(({ ns }) => ns)}`);
    }
  });

  it('counts a guest with many queues once', () => {
    const machine = new TestMachine();
    const one = new Account(1);
    const many = Array.from({ length: 7 }, () => machine.keepBusy(machine.add(SMALL, one), 64));
    const other = machine.keepBusy(machine.add(SMALL), 64);
    machine.runFor(200_000_000);
    const all = many.reduce((sum, { ns }) => sum + ns, 0);
    assert.ok(Math.abs(all / other.ns - 1) < 0.03, `${all} and ${other.ns}`);
  });

  it('lets nobody take more than a quarter of a core beyond his share by asking for little at a time', () => {
    const machine = new TestMachine();
    const bulk = Array.from({ length: 7 }, () => machine.keepBusy(machine.add(LARGE), 4));
    // Takes 4 us, is always urgent, and never waits before it asks again.
    const greedy = machine.keepBusy(machine.add({ bytes: 4096, ns: 4000 }), 1);
    machine.runFor(500_000_000);
    const all = bulk.reduce((sum, { ns }) => sum + ns, greedy.ns);
    assert.ok(greedy.ns / all <= 1 / 8 + 1 / 4, `${greedy.ns / all}`);
    assert.ok(greedy.ns / all >= 1 / 8, `${greedy.ns / all}`);
  });

  it('forgives no debt with an empty queue', () => {
    const machine = new TestMachine();
    const account = new Account(1);
    const queue = machine.add({ bytes: 0, ns: QUANTUM_NS }, account);
    const other = machine.keepBusy(machine.add(SMALL, new Account(10)), 64);
    // The first round does not know yet what weights there are.
    machine.round();
    queue.waiting = 1;
    machine.round();
    const before = other.ns;
    queue.waiting = 1;
    for (const turns = queue.begun.length; queue.begun.length === turns; ) machine.round();
    // A tenth of a quantum is its share of each round, and it owes nearly a whole one.
    assert.ok(other.ns - before >= 8 * QUANTUM_NS, `${other.ns - before}`);
  });
});

describe('policy elvis', () => {
  it('goes on below its minimum, whoever is stuck, and ends above its maximum', () => {
    const machine = new TestMachine({ policy: 'elvis', minBytes: 300_000, maxBytes: 400_000, stuckNs: 0 });
    const bulk = machine.keepBusy(machine.add({ bytes: 65_536, ns: 7000 }), 100);
    const stuck = machine.add(SMALL);
    stuck.waiting = 1;
    assert.equal(machine.scheduler.next(), bulk);
    let bytes = 0;
    do {
      bytes += bulk.serve().bytes;
    } while (machine.scheduler.goOn(bulk, 1, 65_536));
    assert.equal(bytes, 5 * 65_536, 'the minimum is passed, then it ends for the stuck one');
    assert.equal(machine.scheduler.next(), stuck);
    stuck.waiting = 0;
    machine.scheduler.goOn(stuck, 1, 4096);
    // It had used more than half of its maximum: its turn is over.
    assert.equal(machine.scheduler.next(), undefined);
    machine.round();
    assert.equal(bulk.counters[ScheduleCounter.LIMITED], 1);
    assert.equal(stuck.counters[ScheduleCounter.STUCK], 1);
  });

  it('goes on with who had used less than half of his maximum, and counts that against it', () => {
    const machine = new TestMachine({ policy: 'elvis', stuckNs: 0 });
    const bulk = machine.keepBusy(machine.add({ bytes: 65_536, ns: 7000 }), 100);
    const after = machine.keepBusy(machine.add({ bytes: 65_536, ns: 7000 }), 100);
    const stuck = machine.add(SMALL);
    machine.after(1000, () => {
      stuck.waiting = 1;
    });
    machine.round();
    assert.deepEqual(machine.turns, [bulk, stuck, bulk, after]);
    assert.equal(bulk.counters[ScheduleCounter.BYTES], 524_288 + 65_536);
  });

  it('takes a queue for stuck only if it has few items, and these have not become more for a while', () => {
    const stuckTurns = (items: number, grows: boolean): number => {
      const machine = new TestMachine({ policy: 'elvis', stuckNs: 30_000 });
      machine.keepBusy(machine.add({ bytes: 65_536, ns: 7000 }), 100);
      const other = machine.add(SMALL);
      machine.after(1000, () => {
        other.waiting = items;
      });
      if (grows) for (let i = 1; i < 8; i++) machine.after(1000 + 7000 * i, () => other.waiting++);
      machine.round();
      return other.counters[ScheduleCounter.STUCK]!;
    };
    assert.equal(stuckTurns(1, false), 1);
    assert.equal(stuckTurns(50, false), 1);
    assert.equal(stuckTurns(51, false), 0);
    assert.equal(stuckTurns(1, true), 0);
  });
});

describe('policy round-robin', () => {
  it('has the small wait for a batch of each of the large: this is why there are others', () => {
    const machine = new TestMachine({ policy: 'round-robin' });
    for (let i = 0; i < 7; i++) machine.keepBusy(machine.add(LARGE), 4);
    const waits = waitsOf(machine, machine.add(SMALL), 500_000_000);
    const median = waits[waits.length >> 1]!;
    assert.ok(median > 3 * 8 * PIECE_NS, `${median}`);
  });
});
