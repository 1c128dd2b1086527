import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { check } from '../../test/support/seed.js';
import { InflightLog } from './inflight-log.js';

const SIZE = 8;

function fresh(): { words: Int32Array; log: InflightLog } {
  const words = new Int32Array(InflightLog.wordsFor(SIZE));
  return { words, log: new InflightLog(words) };
}

describe('InflightLog', () => {
  it('does what a list of heads does, whichever thread looks', () => {
    const step = fc.record({ head: fc.nat(SIZE - 1), take: fc.boolean(), otherThread: fc.boolean() });
    check(
      fc.property(fc.array(step, { maxLength: 100 }), (steps) => {
        const words = new Int32Array(InflightLog.wordsFor(SIZE));
        let log = new InflightLog(words);
        let model: number[] = [];
        for (const { head, take, otherThread } of steps) {
          if (otherThread) {
            log = new InflightLog(words);
            assert.deepEqual(log.inFlight(), model);
          }
          if (take) {
            assert.equal(log.take(head), !model.includes(head));
            if (!model.includes(head)) model.push(head);
          } else {
            log.finish(head);
            model = model.filter((other) => other !== head);
          }
        }
        assert.deepEqual(new InflightLog(words).inFlight(), model);
      }),
      1000,
    );
  });

  it('keeps the order when the running number wraps', () => {
    for (let before = 0; before < 2 * SIZE; before++) {
      const { words, log } = fresh();
      // As if 2^31 - before chains had been taken: a thread goes on from the newest that it finds.
      words[2] = 0x7fffffff - before;
      log.inFlight();
      log.finish(0);
      const heads = [3, 1, 7, 0, 2, 6, 5, 4];
      for (const head of heads) assert.equal(log.take(head), true);
      for (const head of heads) assert.equal(log.take(head), false);
      assert.deepEqual(new InflightLog(words).inFlight(), heads);
    }
  });

  it('says where a ring stands from its used index alone', () => {
    for (const used of [0, 1, 65_535]) {
      for (const lost of [0, 3]) {
        const { words, log } = fresh();
        log.reset((used + lost) & 0xffff, used);
        assert.equal(log.settled, used);
        for (let head = 0; head < 5; head++) log.take(head);
        for (const head of [4, 2]) log.finish(head);
        log.settle((used + 2) & 0xffff);
        const other = new InflightLog(words);
        assert.equal(other.settled, (used + 2) & 0xffff);
        assert.equal(other.nextAvail(other.settled, other.inFlight().length), (used + lost + 5) & 0xffff);
      }
    }
  });

  it('forgets everything when a ring is set up', () => {
    const { log } = fresh();
    for (let head = 0; head < SIZE; head++) log.take(head);
    log.reset(9, 9);
    assert.deepEqual(log.inFlight(), []);
    for (let head = 0; head < SIZE; head++) assert.equal(log.take(head), true);
  });
});
