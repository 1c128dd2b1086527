import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { RING_FEATURES } from './features.js';

describe('ring feature bits', () => {
  it('are those of the standard and of vhost-user', () => {
    assert.deepEqual(RING_FEATURES, {
      ANY_LAYOUT: 2n ** 27n,
      INDIRECT_DESC: 2n ** 28n,
      EVENT_IDX: 2n ** 29n,
      VHOST_USER_PROTOCOL_FEATURES: 2n ** 30n,
      VERSION_1: 2n ** 32n,
      RING_PACKED: 2n ** 34n,
      IN_ORDER: 2n ** 35n,
    });
  });
});
