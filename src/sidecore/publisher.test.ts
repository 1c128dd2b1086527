import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { PUBLISH_BYTES, PUBLISH_LARGE_REQUESTS } from '../limits.js';
import type { DeviceQueue } from '../virtio/device-queue.js';
import { Publisher } from './publisher.js';

const LARGE_BYTES = 65_536;

/** A queue with so much waiting, what it was told, and a publisher that knows it. */
function queueOf(waiting: number) {
  const told: string[] = [];
  const queue = { pending: () => waiting, publish: () => told.push('publish') } as unknown as DeviceQueue;
  const publisher = new Publisher((published) => {
    assert.equal(published, queue);
    told.push('published');
  });
  const piece = (requests: number, bytes: number) => {
    publisher.mark(queue);
    publisher.pace(queue, requests, bytes);
    const count = told.length;
    told.length = 0;
    return count > 0;
  };
  return { queue, publisher, piece, told };
}

describe('publications', () => {
  it('of small requests follow each piece', () => {
    const { piece } = queueOf(9);
    assert.deepEqual([piece(1, 4096), piece(3, 12_288), piece(32, 16_384)], [true, true, true]);
  });

  it('of large requests come several at a time while more are there, and at once when none is', () => {
    const busy = queueOf(9);
    for (let round = 0; round < 3; round++)
      for (let i = 1; i <= PUBLISH_LARGE_REQUESTS; i++)
        assert.equal(busy.piece(1, LARGE_BYTES / 2), i === PUBLISH_LARGE_REQUESTS);
    const last = queueOf(0);
    assert.equal(last.piece(1, LARGE_BYTES), true);
  });

  it('of very large requests come as soon as that many bytes are moved', () => {
    const { piece } = queueOf(9);
    assert.deepEqual(
      [piece(1, PUBLISH_BYTES / 2), piece(1, PUBLISH_BYTES / 2), piece(1, PUBLISH_BYTES)],
      [false, true, true],
    );
  });

  it('at the end of a turn have all that waits, once', () => {
    const { publisher, piece, told } = queueOf(9);
    assert.equal(piece(1, LARGE_BYTES), false);
    publisher.publish();
    publisher.publish();
    assert.deepEqual(told.splice(0), ['publish', 'published']);
    assert.equal(piece(PUBLISH_LARGE_REQUESTS - 1, LARGE_BYTES * 3), false, 'the count begins anew');
  });
});
