import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { ERROR_CODES } from '../errors.js';
import { POP_FAULTS, Pop } from './virtqueue.js';

describe('ring faults', () => {
  it('have a code each, of their own name, that stops the queue and no more', () => {
    for (const [name, fault] of Object.entries(Pop)) {
      assert.ok(fault < 0);
      if (fault === Pop.EMPTY) assert.equal(POP_FAULTS[fault], undefined);
      else assert.equal(POP_FAULTS[fault], name);
    }
    for (const code of Object.values(POP_FAULTS)) assert.equal(ERROR_CODES[code], 'queue');
    assert.equal(new Set(Object.values(Pop)).size, Object.values(Pop).length);
  });
});
