import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { check } from '../../test/support/seed.js';
import { type BlockRequest, RequestPool } from './request.js';

describe('RequestPool', () => {
  it('lends each request to one at a time, as many as there are', () => {
    check(
      fc.property(
        fc.integer({ min: 1, max: 20 }),
        fc.array(fc.nat(30), { maxLength: 200, size: 'max' }),
        (capacity, steps) => {
          const pool = new RequestPool(capacity);
          const lent: BlockRequest[] = [];
          for (const step of steps) {
            if (step < 15) {
              const request = pool.take(0);
              assert.equal(request === undefined, lent.length === capacity);
              if (request === undefined) continue;
              assert.ok(!lent.includes(request), 'a request is lent twice');
              assert.ok(request.slot >= 0 && request.slot < capacity);
              assert.equal(pool.requests[request.slot], request);
              lent.push(request);
            } else if (lent.length > 0) {
              pool.giveBack(lent.splice(step % lent.length, 1)[0]!);
            }
          }
        },
      ),
      500,
    );
  });

  it('uses again what it has built', () => {
    const pool = new RequestPool(1000);
    for (let i = 0; i < 5000; i++) {
      const request = pool.take(0)!;
      assert.equal(request.slot, 0);
      pool.giveBack(request);
    }
    assert.equal(pool.requests.length, 1);
  });
});
