import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { check } from '../../../../test/support/seed.js';
import { afMerge, afSplit } from './af-splitter.js';

const bytes = (minLength: number, maxLength = minLength) => fc.uint8Array({ minLength, maxLength });
const hashes = fc.constantFrom('sha1', 'sha256', 'sha512');

describe('the anti-forensic splitter', () => {
  it('gives back what it was given, from all stripes', () => {
    check(
      fc.property(bytes(1, 100), fc.integer({ min: 1, max: 12 }), hashes, (key, stripes, hash) => {
        const split = afSplit(key, stripes, hash);
        assert.equal(split.length, key.length * stripes);
        assert.deepEqual(afMerge(split, key.length, stripes, hash), Buffer.from(key));
      }),
      200,
    );
  });

  it('loses all of the key with a single bit of any stripe but the last', () => {
    check(
      fc.property(bytes(64), fc.nat(11 * 64 - 1), fc.nat(7), hashes, (key, at, bit, hash) => {
        const split = afSplit(key, 12, hash);
        split[at] = split[at]! ^ (1 << bit);
        const other = afMerge(split, 64, 12, hash);
        // A digest's piece is mixed only within itself: a half, a third or all of the key, by the hash.
        const piece = createHash(hash).digest().length;
        const from = Math.floor((at % 64) / piece) * piece;
        const bitsApart = [...other.subarray(from, from + piece)]
          .map((byte, i) => (byte ^ key[from + i]!).toString(2).replaceAll('0', '').length)
          .reduce((sum, bits) => sum + bits, 0);
        const bits = Math.min(piece, 64 - from) * 8;
        // Of the four bytes that are left over with SHA-1, hardly any may differ by chance.
        assert.ok(bitsApart > (bits < 96 ? 0 : bits / 8), `${bitsApart} of ${bits} bits are others`);
      }),
      100,
    );
  });

  it('is random but for what the key makes of it', () => {
    const key = Buffer.alloc(64, 1);
    assert.notDeepEqual(afSplit(key, 4, 'sha256'), afSplit(key, 4, 'sha256'));
    assert.deepEqual(afSplit(key, 1, 'sha256'), key, 'a single stripe is the key: nothing was mixed in');
  });
});
