import { FILTER_BLOCK_BYTES } from '../../limits.js';

const WORDS = FILTER_BLOCK_BYTES / 4;
// xxHash, 32 bits: doc/xxhash_spec.md, XXH32.
const PRIME_1 = 0x9e3779b1 | 0;
const PRIME_2 = 0x85ebca77 | 0;
const PRIME_3 = 0xc2b2ae3d | 0;

/** Entries that are no checksums: nothing is known; what was there had been damaged before a part of it was written. */
export const UNKNOWN = 0;
export const BAD = 1;

/**
 * Checksum of a block of 4 KiB, never `UNKNOWN` or `BAD`: XXH32 with seed zero. As fast as the CRC of Node's zlib, for which each
 * block would have to be an object, and whose results may be.
 */
export function checksum(words: Int32Array, at: number): number {
  let a = (PRIME_1 + PRIME_2) | 0;
  let b = PRIME_2;
  let c = 0;
  let d = -PRIME_1 | 0;
  for (let i = at; i < at + WORDS; i += 4) {
    a = (a + Math.imul(words[i]!, PRIME_2)) | 0;
    b = (b + Math.imul(words[i + 1]!, PRIME_2)) | 0;
    c = (c + Math.imul(words[i + 2]!, PRIME_2)) | 0;
    d = (d + Math.imul(words[i + 3]!, PRIME_2)) | 0;
    a = Math.imul((a << 13) | (a >>> 19), PRIME_1);
    b = Math.imul((b << 13) | (b >>> 19), PRIME_1);
    c = Math.imul((c << 13) | (c >>> 19), PRIME_1);
    d = Math.imul((d << 13) | (d >>> 19), PRIME_1);
  }
  const lanes = turn(a, 1) + turn(b, 7) + turn(c, 12) + turn(d, 18);
  let sum = (lanes + FILTER_BLOCK_BYTES) | 0;
  sum = Math.imul(sum ^ (sum >>> 15), PRIME_2);
  sum = Math.imul(sum ^ (sum >>> 13), PRIME_3);
  sum ^= sum >>> 16;
  return sum >>> 1 === 0 ? 2 : sum;
}

const turn = (word: number, bits: number): number => (word << bits) | (word >>> (32 - bits));
