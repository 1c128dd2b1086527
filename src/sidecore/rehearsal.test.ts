import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { it } from 'node:test';
import { REHEARSED_REQUESTS, rehearse } from './rehearsal.js';

it('a thread in reserve serves requests in its rehearsal, and keeps no descriptor of it', () => {
  const descriptors = () => readdirSync('/proc/self/fd').length;
  const before = descriptors();
  assert.equal(rehearse(), REHEARSED_REQUESTS);
  assert.equal(descriptors(), before);
});
