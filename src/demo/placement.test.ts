import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { chooseLoadCpu, parseCpuList } from './placement.js';

describe('the CPU of the load', () => {
  it('is near the sidecore’s, and not the other half of its core', () => {
    assert.equal(chooseLoadCpu([0, 1], 1, [1]), 0);
    assert.equal(chooseLoadCpu([0, 1, 2, 3], 3, [2, 3]), 1);
    assert.equal(chooseLoadCpu([0, 1, 2, 3, 4, 5, 6, 7], 7, [3, 7]), 6);
  });

  it('is the other half where there is nothing else, and the same where there is nothing at all', () => {
    assert.equal(chooseLoadCpu([0, 1], 1, [0, 1]), 0);
    assert.equal(chooseLoadCpu([5], 5, [5]), 5);
  });
});

it('lists of CPUs are read as the kernel writes them', () => {
  assert.deepEqual(parseCpuList('0,4\n'), [0, 4]);
  assert.deepEqual(parseCpuList('0-2,8'), [0, 1, 2, 8]);
});
