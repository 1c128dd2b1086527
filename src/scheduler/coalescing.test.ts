import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { CALL_WAITS_SPARED_MAX } from '../limits.js';
import { Coalescing } from './coalescing.js';

/** Of so many calls, those that waited, when each wait ends as told. */
function waited(coalescing: Coalescing, calls: number, gathers: (wait: number) => boolean): number {
  let waits = 0;
  for (let call = 0; call < calls; call++) if (coalescing.waits()) coalescing.ended(gathers(waits++));
  return waits;
}

describe('the coalescing of calls', () => {
  it('waits each time where that brings more completions', () => {
    assert.equal(
      waited(new Coalescing(), 1000, () => true),
      1000,
    );
  });

  it('tries more and more seldom where it brings none', () => {
    const coalescing = new Coalescing();
    waited(coalescing, 10_000, () => false);
    const more = 100 * (CALL_WAITS_SPARED_MAX + 1);
    assert.equal(
      waited(coalescing, more, () => false),
      100,
    );
  });

  it('goes on waiting as soon as one wait has brought more', () => {
    const coalescing = new Coalescing();
    waited(coalescing, 10_000, () => false);
    const untilTry = waited(coalescing, CALL_WAITS_SPARED_MAX + 1, () => true);
    assert.ok(untilTry >= 1);
    assert.equal(
      waited(coalescing, 100, () => true),
      100,
    );
  });

  it('never has more calls in a row go at once than the limit says, whatever comes of its waits', () => {
    fc.assert(
      fc.property(fc.array(fc.boolean(), { minLength: 1, maxLength: 200 }), (outcomes) => {
        const coalescing = new Coalescing();
        for (const outcome of outcomes) {
          let atOnce = 0;
          while (!coalescing.waits()) atOnce++;
          assert.ok(atOnce <= CALL_WAITS_SPARED_MAX, `${atOnce} calls without a wait`);
          coalescing.ended(outcome);
        }
      }),
    );
  });
});
