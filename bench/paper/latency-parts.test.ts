import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { latencyParts } from './latency-parts.js';
import { stampsOf } from './stand.js';

describe('what a latency is made of', () => {
  it('adds up: served, in the guests’ thread, and waiting', () => {
    // Four guests, one request each, a million a second: each is 4 us in flight.
    const parts = latencyParts({ perSecond: 1e6, serviceNs: 600, loadBusy: 0.4 }, 4);
    assert.deepEqual(parts, { latencyNs: 4000, serviceNs: 600, guestNs: 400, waitingNs: 3000 });
  });

  it('has no waiting that is less than none', () => {
    assert.equal(latencyParts({ perSecond: 1e6, serviceNs: 600, loadBusy: 0.5 }, 1).waitingNs, 0);
  });
});

describe('the back end’s stamps', () => {
  const queue = (index: number, time_ns: number, requests: number, wait_max_ns = 0) => ({
    index,
    time_ns,
    requests,
    wait_max_ns,
  });

  it('count requests of disks as they are', () => {
    const disks = {
      g0: { disk0: { queues: [queue(0, 100, 2, 70), queue(1, 50, 1)] } },
      g1: { disk0: { queues: [queue(0, 30, 3, 90)] } },
    };
    assert.deepEqual(stampsOf(disks, {}), { timeNs: 180, requests: 6, waitMaxNs: 90 });
  });

  it('count what guests send, and the time of all that comes of it', () => {
    const cards = {
      g0: { net0: { queues: [queue(0, 10, 5), queue(1, 20, 5, 40)] } },
      p0: { net0: { queues: [queue(0, 30, 5), queue(1, 40, 5, 60)] } },
    };
    assert.deepEqual(stampsOf({}, cards), { timeNs: 100, requests: 5, waitMaxNs: 60 });
  });
});
