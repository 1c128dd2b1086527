import assert from 'node:assert/strict';
import { it } from 'node:test';
import { chainOf, TestHost, testFilter } from '../../test/support/filter-chain.js';
import { type BlockBackend, PENDING } from '../block/backends/backend.js';
import { Status } from '../block/features.js';
import { type BlockRequest, RequestPool } from '../block/request.js';
import { Target } from './operations.js';

const REQUESTS = 16;

it('operations of one filter leave the other queues of their sidecore the requests that are kept for them', () => {
  const host = Object.assign(new TestHost(), { pool: new RequestPool(REQUESTS) });
  const begun: BlockRequest[] = [];
  const flush = (request: BlockRequest) => {
    begun.push(request);
    return PENDING;
  };
  const backend = { flush } as unknown as BlockBackend;
  const ended: number[] = [];
  const filter = testFilter({ submit: (request, next) => next(request), done: (tag) => void ended.push(tag) });
  const chain = chainOf([filter], backend, undefined, host);
  const target = new Target(chain.filters[0]!, backend, 2 ** 20, true, chain.walk.operations);
  for (let tag = 0; tag < 2 * REQUESTS; tag++) target.flush(tag);
  assert.equal(begun.length, REQUESTS / 2);
  const others = Array.from({ length: REQUESTS / 2 }, () => host.pool.take(0));
  assert.ok(others.every((request) => request !== undefined));
  for (const request of others) host.pool.giveBack(request!);
  // Those that wait are not forgotten.
  for (let i = 0; i < 2 * REQUESTS; i++) {
    begun[i]!.queue!.complete(begun[i]!, Status.OK);
    host.filterDesk.turn();
  }
  assert.deepEqual(
    ended,
    Array.from({ length: 2 * REQUESTS }, (_, tag) => tag),
  );
});
