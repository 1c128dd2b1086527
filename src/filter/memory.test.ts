import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { FilterMemory } from './memory.js';

const newMemory = (timeNsMax: number) => new FilterMemory({ counters: [], histograms: [], queues: 1, timeNsMax });

describe('the time that calls of a filter take', () => {
  it('does not condemn it for one that was slow, at first or later', () => {
    for (const slowAt of [0, 15, 40]) {
      const memory = newMemory(100_000);
      for (let i = 0; i < 100; i++) assert.equal(memory.noteTime(i === slowAt ? 50e6 : 10_000), false, `call ${i}`);
      assert.equal(memory.out, false);
    }
  });

  it('condemns it for several, and says by how much', () => {
    const memory = newMemory(100_000);
    for (let i = 0; i < 40; i++) assert.equal(memory.noteTime(1000), false);
    let slow = 1;
    while (!memory.noteTime(2e6)) slow++;
    assert.ok(slow >= 3 && slow <= 8, `${slow}`);
    assert.equal(memory.out, true);
    assert.match(memory.faultNote.look()!, /more than its time_limit of 100 us/);
  });
});
