import assert from 'node:assert/strict';
import { it } from 'node:test';
import { chainOf, testFilter } from '../../../../test/support/filter-chain.js';
import { StubBackend } from '../../../../test/support/stub-backend.js';
import { RequestType, Status } from '../../../block/features.js';
import { BlockRequest } from '../../../block/request.js';
import type { BlockFilterContext } from '../../../filter/contract.js';
import { readonly } from './filter.js';

it('lets reads and flushes pass, and refuses and counts all else', () => {
  let refused = 0;
  const counter = () => ({ add: (count: number) => (refused += count) });
  const backend = new StubBackend();
  const chain = chainOf([testFilter(readonly.create({ counter } as unknown as BlockFilterContext))], backend);
  const kinds = [
    ['read', RequestType.IN, Status.OK],
    ['flush', RequestType.FLUSH, Status.OK],
    ['write', RequestType.OUT, Status.IOERR],
    ['discard', RequestType.DISCARD, Status.IOERR],
    ['writeZeroes', RequestType.WRITE_ZEROES, Status.IOERR],
    ['secureErase', RequestType.SECURE_ERASE, Status.IOERR],
  ] as const;
  for (const [slot, [kind, type, status]] of kinds.entries()) {
    const request = new BlockRequest(slot);
    request.type = type;
    assert.equal(chain[kind](request), status, kind);
  }
  assert.deepEqual(
    backend.asked.map(({ what }) => what),
    ['read', 'flush'],
  );
  assert.equal(refused, 4);
  const below = { sizeBytes: 512, readOnly: false, discard: true, writeZeroes: true, secureErase: true, inOrder: true };
  assert.deepEqual(readonly.offers!(below, {}, undefined), { readOnly: true });
});
