import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { ERROR_CODES } from '../errors.js';
import { CoreFault, faultCode, REQUEST_MALFORMED } from './queue-faults.js';
import { POP_FAULTS } from './virtqueue.js';

describe('faults of a queue', () => {
  const faults = [...Object.keys(POP_FAULTS).map(Number), REQUEST_MALFORMED, ...Object.values(CoreFault)];

  it('have numbers and codes of their own', () => {
    const codes = faults.map(faultCode);
    assert.equal(new Set(faults).size, faults.length);
    assert.equal(new Set(codes).size, faults.length);
    for (const code of codes) assert.ok(code in ERROR_CODES);
    assert.ok(faults.every((fault) => fault < 0));
  });

  it('are no others', () => {
    for (const fault of [0, 1, -1, -19, -1000]) assert.throws(() => faultCode(fault), /assertion failed/);
  });
});
