import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { IDLE_LOOKS_MAX, KICK_LOOK_NS } from '../limits.js';
import { Account } from './account.js';
import { SCHEDULER_DEFAULTS } from './policy.js';
import { PolledQueue, PolledQueues } from './polled-queues.js';
import { POLLING_RULES, type PollingRule } from './polling.js';
import { Scheduler } from './scheduler.js';

const IDLE_NS = POLLING_RULES.sidecore.idleNs;

class TestQueue extends PolledQueue {
  override closed = false;
  override readonly passive = false;
  work = 0;

  constructor(rule: PollingRule, kickable = true) {
    super(new Account(1), undefined, rule, kickable, true);
  }

  pending(): number {
    return this.work;
  }

  override watch(): boolean {
    this.polled = this.work > 0;
    return !this.polled;
  }
}

/** Some queues of a core in a mode, all polled from time 0 on. */
function core(mode: keyof typeof POLLING_RULES, count: number, kickable = true) {
  const rule = POLLING_RULES[mode];
  const queues = Array.from({ length: count }, () => new TestQueue(rule, kickable));
  const scheduler = new Scheduler<TestQueue>(SCHEDULER_DEFAULTS, (into, slot) => {
    into[slot] = 0;
  });
  const told: [number, number][] = [];
  const list = new PolledQueues(rule, { all: () => queues }, scheduler, (...counts) => told.push(counts));
  for (const queue of queues) list.start(queue);
  return { queues, list, told };
}

function at(list: PolledQueues<TestQueue>, nowNs: number) {
  list.now[0] = nowNs;
  return list;
}

describe('polled and watched queues', () => {
  it('leave when they were idle for long enough, a bounded number at a look, and whoever wants to know is told', () => {
    const { list, told } = core('sidecore', IDLE_LOOKS_MAX + 3);
    at(list, IDLE_NS - 1).watchIdle();
    assert.equal(list.polledCount, IDLE_LOOKS_MAX + 3);
    at(list, IDLE_NS).watchIdle();
    assert.deepEqual([list.polledCount, list.watchedCount], [3, IDLE_LOOKS_MAX]);
    assert.deepEqual(told.at(-1), [3, IDLE_LOOKS_MAX]);
    at(list, IDLE_NS).watchIdle();
    assert.equal(list.polledCount, 0);
  });

  it('stay while they have work, had some lately, or cannot be kicked', () => {
    const { queues, list } = core('sidecore', 2);
    queues[0]!.work = 1;
    queues[1]!.worked = true;
    at(list, IDLE_NS).watchIdle();
    assert.equal(list.polledCount, 2);
    queues[0]!.work = 0;
    at(list, IDLE_NS + 1).watchIdle();
    assert.deepEqual(
      queues.map(({ polled }) => polled),
      [false, true],
    );
    const mute = core('sidecore', 1, false).list;
    at(mute, 10 * IDLE_NS).watchIdle();
    assert.equal(mute.polledCount, 1);
  });

  it('come back when they are kicked, unless nothing is taken from them', () => {
    const { queues, list } = core('sidecore', 2);
    at(list, IDLE_NS).watchIdle();
    queues[1]!.closed = true;
    assert.deepEqual(
      queues.map((queue) => at(list, 2 * IDLE_NS).take(queue)),
      [true, false],
    );
    assert.equal(at(list, 2 * IDLE_NS).take(queues[0]!), false, 'it is polled already');
    list.count();
    assert.deepEqual([list.polledCount, list.watchedCount], [1, 0]);
  });

  it('have their kicks looked for at once while nothing is polled, and otherwise now and then', () => {
    const { queues, list } = core('sidecore', 2);
    assert.equal(at(list, IDLE_NS).looksForKicks(false), false, 'nobody waits for a kick');
    queues[0]!.worked = true;
    at(list, IDLE_NS).watchIdle();
    at(list, IDLE_NS).looked();
    assert.equal(at(list, IDLE_NS + KICK_LOOK_NS - 1).looksForKicks(false), false);
    assert.equal(at(list, list.kicksDueNs).looksForKicks(false), true);
    at(list, 2 * IDLE_NS).watchIdle();
    at(list, 2 * IDLE_NS).looked();
    assert.equal(at(list, 2 * IDLE_NS + 1).looksForKicks(false), true);
    assert.equal(at(list, 2 * IDLE_NS + 1).looksForKicks(true), false, 'it has other work');
  });

  it('let a core rest if none is polled and it is one that sleeps', () => {
    const rests = (mode: keyof typeof POLLING_RULES) => {
      const { list } = core(mode, 1);
      const before = list.mayRest;
      at(list, 1e9).watchIdle();
      return [before, list.mayRest];
    };
    assert.deepEqual(
      [rests('sidecore'), rests('adaptive'), rests('baseline')],
      [
        [false, false],
        [false, true],
        [false, true],
      ],
    );
  });
});
