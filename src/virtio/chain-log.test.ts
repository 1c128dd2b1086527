import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { ChainLog } from './chain-log.js';
import { packedBase } from './packed-format.js';

describe('ChainLog', () => {
  it('keeps its parts apart, in rings of every size', () => {
    for (const size of [1, 2, 7, 256, 32_768]) {
      const words = new Int32Array(ChainLog.wordsFor(size));
      const log = new ChainLog(words, size);
      log.reset(0, 0);
      const last = size - 1;
      for (const cell of new Set([0, last])) log.setCell(cell, 0xffffffff, 0xfffffffe, 0xfffffffd, (0xfffe << 16) | 7);
      for (const index of new Set([0, last])) log.setReturn(index, last, 0xffffffff);
      log.intend(2 * size - 1);
      assert.equal(log.settled, 0);
      assert.deepEqual(log.inFlight(), []);
      assert.equal(log.takeChain(last, last, size), true);
      assert.equal(log.takeChain(last, 0, 1), false, 'the id is in flight');
      const other = new ChainLog(words, size);
      assert.deepEqual(other.inFlight(), [last]);
      assert.equal(other.firstCell(last), last);
      assert.equal(other.chainLength(last), size);
      assert.equal(other.inFlightDescriptors(), size);
      assert.equal(other.returnedHead(last), last);
      assert.equal(other.returnedBytes(last), 0xffffffff);
      assert.equal(other.intended, 2 * size - 1);
      assert.deepEqual(
        [other.cellLow(last), other.cellHigh(last), other.cellLength(last)],
        [0xffffffff, 0xfffffffe, 0xfffffffd],
      );
      assert.equal(other.cellFlagsNext(last) >>> 16, 0xfffe);
      assert.equal(other.cellFlagsNext(last) & 0xffff, 7);
      assert.equal(other.base(), packedBase(size, 0, size), 'a whole ring ahead: the same slot in the other lap');
    }
  });

  it('knows its size from its memory', () => {
    for (const size of [1, 3, 1000]) {
      const log = new ChainLog(new Int32Array(ChainLog.wordsFor(size)));
      log.setReturn(size - 1, 5, 6);
      assert.equal(log.returnedHead(size - 1), 5);
      log.takeChain(size - 1, 0, 1);
      assert.deepEqual(log.inFlight(), [size - 1]);
    }
  });
});
