/** Queues that are held: who waits for them is told once, also when that is given up. */
import assert from 'node:assert/strict';
import { it } from 'node:test';
import { BlockQueue } from '../../src/block/queue.js';
import type { DeviceHost } from '../../src/sidecore/create-queue.js';
import { HeldQueues } from '../../src/sidecore/held-queues.js';
import type { QueueTable } from '../../src/sidecore/queue-table.js';

it('a hold that is given up leaves the queue alone, whenever it settles', () => {
  const state = { settled: false, quiet: 0, resumed: 0 };
  const queue = Object.create(BlockQueue.prototype, {
    settled: { get: () => state.settled },
    held: { value: false, writable: true },
    closed: { value: false, writable: true },
    hurry: { value: () => {} },
    quiesce: { value: () => ++state.quiet > 0 },
    backend: { value: { resume: () => state.resumed++ } },
  }) as BlockQueue;
  const answered: number[] = [];
  const queues = { get: (key: number) => (key === 5 ? { queue } : undefined) } as unknown as QueueTable;
  const held = new HeldQueues(queues, {} as DeviceHost, (id) => answered.push(id));
  held.hold(1, 5);
  held.look();
  assert.deepEqual([queue.held, held.waiting, answered, state.quiet], [true, true, [], 0]);
  held.release(5);
  assert.deepEqual([queue.held, held.waiting, answered, state.resumed], [false, false, [1], 1]);
  state.settled = true;
  held.look();
  assert.deepEqual([answered, state.quiet], [[1], 0]);
  held.hold(2, 5);
  assert.deepEqual([answered, state.quiet, held.waiting], [[1, 2], 1, false]);
  // One that is not here has nothing in flight.
  held.hold(3, 6);
  assert.deepEqual(answered, [1, 2, 3]);
  // One that is let go of meanwhile begins nothing any more.
  queue.closed = true;
  held.release(5);
  assert.deepEqual([queue.held, state.resumed], [false, 1]);
});
