/** The thread of helpers: whose job is done when. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { FILTER_JOBS_MAX } from '../limits.js';
import type { BlockFilter, FilterHelper } from './contract.js';
import { HelperBell, HelperChannel } from './helper-channel.js';
import { FilterHelpers, type HelperSetup } from './helpers.js';
import { FilterMemory } from './memory.js';
import type { FilterSpec } from './spec.js';

const NOW = new Float64Array(1);

function start(handle: FilterHelper['handle'] = ({ a }) => a) {
  const done: string[] = [];
  const noter = {
    name: 'noter',
    helper: ({ vm, queue }) => ({
      handle(job) {
        done.push(`${vm}${queue} ${job.a}`);
        return handle(job);
      },
      close: () => void done.push(`${vm}${queue} closed`),
    }),
  } as BlockFilter;
  const bell = new HelperBell();
  const helpers = new FilterHelpers(bell.buffer, { noter });
  /** Has a helper made for a queue. Returns how it is asked. */
  const add = (vm: string, queue: number) => {
    const memory = new FilterMemory({ counters: [], histograms: [], queues: 2 }).buffer;
    const filter = { module: { kind: 'built-in', name: 'noter' }, counters: [], histograms: [], memory };
    const channel = new HelperChannel();
    const place = { vm, device: 'd', queue, queues: 2, channel: channel.buffer };
    helpers.add({ ...place, filter: filter as unknown as FilterSpec } satisfies HelperSetup);
    const ask = (from: number, count: number) => {
      for (let i = from; i < from + count; i++) channel.ask(0, 0, 0, i, 0, i, NOW);
      bell.ring();
    };
    return { channel, ask };
  };
  return { done, bell, helpers, add };
}

describe('the thread of helpers', () => {
  it('begins one job of each device, then the next of each; queues of a device take turns', () => {
    const { done, helpers, add } = start();
    const [a0, a1] = [add('a', 0), add('a', 1)];
    a0.ask(0, 5);
    a1.ask(100, 2);
    const b = add('b', 0);
    b.ask(0, 1);
    assert.equal(helpers.look(), true);
    assert.deepEqual(done.splice(0), ['a0 0', 'b0 0']);
    // One that comes late waits for one job of each other device.
    const c = add('c', 0);
    c.ask(0, 2);
    assert.equal(helpers.look(), true);
    assert.deepEqual(done.splice(0), ['a1 100', 'c0 0']);
    b.ask(1, 1);
    while (helpers.look());
    assert.deepEqual(done, ['a0 1', 'b0 1', 'c0 1', 'a1 101', 'a0 2', 'a0 3', 'a0 4']);
  });

  it('does what one asks in its order, however often its places come round', async () => {
    const { done, helpers, add } = start();
    const { channel, ask } = add('a', 0);
    const answer = { tag: 0, result: 0 };
    const tags: number[] = [];
    const count = 3 * FILTER_JOBS_MAX;
    for (let asked = 0; asked < count; asked += FILTER_JOBS_MAX / 2) {
      ask(asked, FILTER_JOBS_MAX / 2);
      while (helpers.look());
      // What is answered is so in a later turn.
      await new Promise(setImmediate);
      while (channel.hasAnswers) {
        channel.takeAnswer(answer);
        tags.push(answer.tag);
      }
    }
    const expected = Array.from({ length: count }, (_, i) => i);
    assert.deepEqual(tags, expected);
    assert.deepEqual(
      done,
      expected.map((i) => `a0 ${i}`),
    );
  });

  it('lets what waits get on while one device asks without end', async () => {
    let asked = FILTER_JOBS_MAX / 2;
    const { done, helpers, bell, add } = start(({ a }) => {
      // Its sidecore asks for more whenever one is done.
      if (asked < 10_000) busy.ask(asked++, 1);
      return a;
    });
    const busy = add('a', 0);
    busy.ask(0, asked);
    void helpers.run();
    await new Promise(setImmediate);
    // A helper that is made meanwhile is asked next.
    const late = add('b', 0);
    late.ask(0, 1);
    const before = done.length;
    assert.ok(before < 10, `${before} jobs`);
    await new Promise(setImmediate);
    assert.ok(done.slice(before, before + 3).includes('b0 0'));
    // It ends, and sleeps.
    asked = 10_000;
    late.channel.close();
    busy.channel.close();
    bell.ring();
    while (done.filter((what) => what.endsWith('closed')).length < 2) await new Promise(setImmediate);
    const jobs = done.filter((what) => /^a0 \d/.test(what)).length;
    assert.ok(jobs < FILTER_JOBS_MAX, 'what nobody has begun of one that is gone is not done');
  });
});
