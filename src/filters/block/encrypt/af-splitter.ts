import { createHash, randomBytes } from 'node:crypto';
import { assert } from '../../../errors.js';

/**
 * LUKS' anti-forensic splitter: a key is spread over many stripes, all of which it takes to have it back, so that one that cannot
 * be overwritten any more is enough to lose it. LUKS1 On-Disk Format 1.2.3, 2.4
 */

/** Spreads a key over `stripes` times its bytes. */
export function afSplit(key: Uint8Array, stripes: number, hash: string, random = randomBytes): Buffer {
  assert(stripes >= 1, 'stripes');
  const { length } = key;
  const split = Buffer.concat([random((stripes - 1) * length), Buffer.alloc(length)]);
  const mixed = mix(split, length, stripes, hash);
  for (let i = 0; i < length; i++) split[split.length - length + i] = mixed[i]! ^ key[i]!;
  mixed.fill(0);
  return split;
}

/** Has the key back from all stripes. */
export function afMerge(split: Uint8Array, keyBytes: number, stripes: number, hash: string): Buffer {
  assert(split.length === keyBytes * stripes && stripes >= 1, 'all stripes');
  const key = mix(split, keyBytes, stripes, hash);
  for (let i = 0; i < keyBytes; i++) key[i] = key[i]! ^ split[split.length - keyBytes + i]!;
  return key;
}

/** What comes of all stripes but the last. */
function mix(split: Uint8Array, length: number, stripes: number, hash: string): Buffer {
  const mixed = Buffer.alloc(length);
  for (let stripe = 0; stripe < stripes - 1; stripe++) {
    const from = stripe * length;
    for (let i = 0; i < length; i++) mixed[i] = mixed[i]! ^ split[from + i]!;
    diffuse(mixed, hash);
  }
  return mixed;
}

/** Replaces each piece of a digest's length by its digest with its number in front of it; the last may be shorter. */
function diffuse(block: Buffer, hash: string): void {
  const number = Buffer.alloc(4);
  const digestBytes = createHash(hash).digest().length;
  for (let at = 0, i = 0; at < block.length; at += digestBytes, i++) {
    number.writeUInt32BE(i);
    const piece = block.subarray(at, at + digestBytes);
    createHash(hash).update(number).update(piece).digest().copy(piece);
  }
}
