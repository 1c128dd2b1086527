import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { check } from '../../test/support/seed.js';
import { type Actor, EventQueue } from './event-queue.js';

const nobody: Actor = { id: 0, act() {} };

describe('the queue of events', () => {
  it('gives the earliest first, and of those at the same time the one that was planned first', () => {
    const times = fc.array(fc.integer({ min: 0, max: 20 }), { maxLength: 200 });
    check(
      fc.property(times, fc.integer({ min: 1, max: 5 }), (list, every) => {
        const queue = new EventQueue();
        const expected: { time: number; index: number }[] = [];
        const taken: { time: number; index: number }[] = [];
        const take = () => queue.pop() && taken.push({ time: queue.time, index: queue.argument });
        let floor = 0;
        for (const [index, ahead] of list.entries()) {
          // As in a simulation, nothing is planned before what was taken last.
          const time = floor + ahead;
          queue.push(time, nobody, 0, index);
          expected.push({ time, index });
          if (index % every === 0 && take()) floor = queue.time;
        }
        while (take());
        expected.sort((a, b) => a.time - b.time || a.index - b.index);
        assert.deepEqual(taken, expected);
        assert.equal(queue.size, 0);
        assert.equal(queue.nextTime, Number.POSITIVE_INFINITY);
      }),
      100,
    );
  });
});
