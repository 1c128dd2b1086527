import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { LOCKS_FAILED_MAX } from '../../limits.js';
import { LentBuffers } from './lent-buffers.js';

describe('requests that wait for locks', () => {
  it('are asked in turn, though the first of them find none each time', () => {
    const lent = new LentBuffers({ buffers: () => ({ take: () => undefined, giveBack() {} }) as never });
    const locks = { failed: 0 };
    const asked: number[] = [];
    const [first, second, holder] = [1, 2, 3];
    for (const slot of [first, second, holder]) lent.wait(slot);
    const goOn = (slot: number) => {
      asked.push(slot);
      if (slot === holder) return true;
      locks.failed += LOCKS_FAILED_MAX / 2;
      return false;
    };
    lent.turn(goOn, locks);
    assert.deepEqual(asked, [first, second], 'a turn asks for no more');
    lent.turn(goOn, locks);
    assert.deepEqual(asked.slice(2), [holder, first, second]);
  });
});
