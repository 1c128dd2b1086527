import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { chainOf, testFilter } from '../../../../test/support/filter-chain.js';
import { PENDING, StubBackend } from '../../../../test/support/stub-backend.js';
import { RequestType, Status } from '../../../block/features.js';
import { BlockRequest } from '../../../block/request.js';
import type { BlockFilterContext } from '../../../filter/contract.js';
import { readOptions } from '../../../filter/load.js';
import { FilterMemory } from '../../../filter/memory.js';
import { meter } from './filter.js';

const { counters = [], histograms = [] } = meter;

function start(latency: boolean) {
  const memory = new FilterMemory({ counters, histograms, queues: 2 });
  const clock = { ns: 1e15 };
  const context = {
    options: { latency },
    slots: 8,
    counter: (name: string) => memory.counter(1, name),
    histogram: (name: string) => memory.histogram(1, name),
    readNowNs(into: Float64Array, slot: number) {
      into[slot] = clock.ns;
    },
  };
  const backend = new StubBackend();
  const hooks = meter.create(context as unknown as BlockFilterContext<{ latency: boolean }>);
  const chain = chainOf([testFilter(hooks)], backend);
  return { memory, clock, backend, chain };
}

function newRequest(slot: number, type: number, bytes = 0): BlockRequest {
  const request = new BlockRequest(slot);
  request.type = type;
  request.dataBytes = bytes;
  request.queue = { backend: new StubBackend(), complete() {} };
  return request;
}

describe('the meter', () => {
  it('counts by kind, bytes of what was done, and errors', () => {
    const { memory, backend, chain } = start(true);
    chain.read(newRequest(0, RequestType.IN, 4096));
    chain.write(newRequest(1, RequestType.OUT, 512));
    chain.flush(newRequest(2, RequestType.FLUSH));
    chain.discard(newRequest(3, RequestType.DISCARD, 16));
    backend.answer = Status.IOERR;
    chain.read(newRequest(4, RequestType.IN, 1024));
    assert.deepEqual(memory.readCounters(), {
      reads: 2,
      writes: 1,
      flushes: 1,
      others: 1,
      bytes_read: 4096,
      bytes_written: 512,
      errors: 1,
    });
    assert.equal(memory.readHistograms()['latency_ns']!.total, 5);
  });

  it('takes the time of each request by itself, however they overlap', () => {
    const { memory, clock, backend, chain } = start(true);
    backend.answer = PENDING;
    const requests = [0, 1, 2].map((slot) => newRequest(slot, RequestType.IN, 512));
    for (const request of requests) {
      chain.read(request);
      clock.ns += 1000;
    }
    for (const at of [2, 0, 1]) {
      requests[at]!.queue!.complete(requests[at]!, Status.OK);
      clock.ns += 100_000;
    }
    const latency = memory.readHistograms()['latency_ns']!;
    const near = (share: number, ns: number) =>
      assert.ok(Math.abs(latency.quantile(share) - ns) <= ns / 32, `${latency.quantile(share)} for ${ns}`);
    assert.equal(latency.total, 3);
    near(0, 1000);
    near(0.5, 103_000);
    near(1, 202_000);
  });

  it('leaves times out if it is told to', () => {
    const { memory, chain } = start(false);
    chain.read(newRequest(0, RequestType.IN, 512));
    assert.equal(memory.readCounters()['reads'], 1);
    assert.equal(memory.readHistograms()['latency_ns']!.total, 0);
    assert.deepEqual(readOptions(meter, {}), { options: { latency: true } });
    assert.ok('faults' in readOptions(meter, { latency: 3 }));
  });
});
