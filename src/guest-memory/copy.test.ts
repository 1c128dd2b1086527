import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { PAGE_BYTES } from '../host/memory-map.js';
import { copyBytes, copyLong, copyPiece } from './copy.js';

const BYTES = 512;

/** Two windows of memory, the second of which holds numbers or nothing. */
function createWindows(fill: boolean) {
  const memories = [0, 1].map(() => new ArrayBuffer(BYTES));
  const bytes = memories.map((memory) => Buffer.from(memory));
  if (fill) for (let i = 0; i < BYTES; i++) bytes[1]![i] = (i * 37 + (i >>> 3)) & 0xff;
  const words = memories.map((memory) => new Uint32Array(memory));
  const longs = memories.map((memory) => new BigUint64Array(memory));
  return { bytes, words, longs };
}

describe('copies between windows', () => {
  it('of any length, between any positions, are exact', () => {
    const source = createWindows(true);
    for (let from = 0; from < 17; from++) {
      for (let to = 0; to < 17; to++) {
        for (let length = 0; length < 300; length = length < 90 ? length + 1 : length + 13) {
          for (const copy of [copyPiece, undefined]) {
            const target = createWindows(false);
            if (copy !== undefined) copy(source, 1, from, target, 0, to, length);
            else copyBytes(source.bytes[1]!, from, target.bytes[0]!, to, length);
            const expected = Buffer.alloc(BYTES);
            source.bytes[1]!.copy(expected, to, from, from + length);
            assert.ok(target.bytes[0]!.equals(expected), `${length} bytes from ${from} to ${to}`);
          }
        }
      }
    }
  });

  it('are exact where the target is a little further within its page, which is done in parts', () => {
    const bytes = 4 * PAGE_BYTES;
    const source = Buffer.from(Array.from({ length: bytes }, (_, i) => (i * 37 + (i >>> 8)) & 0xff));
    for (let further = 0; further < 20; further++) {
      for (const length of [2047, 2048, 2049, 4096, 4097, 6144, 10_000]) {
        const target = Buffer.alloc(bytes);
        copyLong(source, 100, target, 100 + further, length);
        const expected = Buffer.alloc(bytes);
        source.copy(expected, 100 + further, 100, 100 + length);
        assert.ok(target.equals(expected), `${length} bytes, ${further} further`);
      }
    }
  });

  it('reach the last byte of a window', () => {
    const source = createWindows(true);
    for (let length = 1; length < 300; length++) {
      const target = createWindows(false);
      copyPiece(source, 1, BYTES - length, target, 1, BYTES - length, length);
      assert.ok(target.bytes[1]!.subarray(BYTES - length).equals(source.bytes[1]!.subarray(BYTES - length)));
      assert.ok(target.bytes[1]!.subarray(0, BYTES - length).every((byte) => byte === 0));
    }
  });
});
