import assert from 'node:assert/strict';
import { it } from 'node:test';
import type { QueueSpec } from '../virtio/queue-spec.js';
import { culpritLast } from './filter-blame.js';

it('queues of the device whose filter is to blame are taken over last, the others in their order', () => {
  const [bad, good] = [1, 2].map((id) => ({
    kind: 'block',
    account: { id, weight: 1 },
    shared: new SharedArrayBuffer(4),
  }));
  const queue = (key: number, device = good!) => ({ key, spec: { key, device } as QueueSpec });
  const queues = [queue(1), queue(2, bad), queue(3), queue(4, bad), queue(5)];
  const keys = (culprit?: typeof bad) =>
    culpritLast(queues, culprit && { text: '', device: culprit }).map(({ key }) => key);
  assert.deepEqual(keys(bad), [1, 3, 5, 2, 4]);
  assert.deepEqual(keys(), [1, 2, 3, 4, 5]);
});
