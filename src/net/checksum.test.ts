import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { check } from '../../test/support/seed.js';
import { addSums, checksumNotZero, checksumOf, completeChecksum, sumBytes } from './checksum.js';
import { buildPacket, dissect, plans, slowSum } from './packets.test.js';

/** Bytes of any length, often all ones or zeros. */
const stretches = fc.oneof(
  fc.uint8Array({ maxLength: 3000, size: 'max' }),
  fc.uint8Array({ maxLength: 100 }),
  fc.integer({ min: 0, max: 3000 }).map((length) => new Uint8Array(length).fill(0xff)),
  fc.integer({ min: 0, max: 3000 }).map((length) => new Uint8Array(length)),
);

describe('sumBytes', () => {
  it('is that of a slow sum, wherever it begins and ends', () => {
    check(
      fc.property(stretches, fc.nat(40), fc.nat(40), (bytes, before, after) => {
        const buffer = Buffer.alloc(before + bytes.length + after, 0xa5);
        buffer.set(bytes, before);
        assert.equal(sumBytes(buffer, before, before + bytes.length), slowSum(bytes));
      }),
      2000,
    );
  });

  it('is right at every length and start around the sizes of its loops', () => {
    const bytes = Buffer.from(Array.from({ length: 300 }, (_, i) => (i * 149 + 11) & 0xff));
    for (let from = 0; from < 9; from++) {
      for (let to = from; to < 300; to++) assert.equal(sumBytes(bytes, from, to), slowSum(bytes.subarray(from, to)));
    }
  });

  it('is exact for megabytes of ones', () => {
    const bytes = Buffer.alloc(4 * 2 ** 20, 0xff);
    assert.equal(sumBytes(bytes, 0, bytes.length), 0xffff);
    bytes[2 ** 20] = 0xfe;
    assert.equal(sumBytes(bytes, 0, bytes.length), slowSum(bytes));
  });

  it('keeps several buffers apart, and a buffer within another', () => {
    const memory = Buffer.alloc(512, 1);
    const others = [memory.subarray(3, 203), Buffer.alloc(200, 2), memory.subarray(4, 204), Buffer.alloc(200, 3)];
    for (let round = 0; round < 3; round++) {
      for (const bytes of others) assert.equal(sumBytes(bytes, 0, 200), slowSum(bytes));
      memory[50]!++;
    }
  });

  it('refuses what lies outside', () => {
    assert.throws(() => sumBytes(Buffer.alloc(10), 0, 11), /assertion failed/);
    assert.throws(() => sumBytes(Buffer.alloc(10), -1, 4), /assertion failed/);
  });
});

describe('sums', () => {
  it('stay within 16 bits', () => {
    for (const a of [0, 1, 0x7fff, 0xfffe, 0xffff]) {
      for (const b of [0, 1, 0x8000, 0xfffe, 0xffff]) {
        assert.equal(addSums(a, b), a + b === 0 ? 0 : ((a + b - 1) % 65535) + 1);
      }
    }
    assert.equal(checksumOf(0xffff), 0);
    assert.equal(checksumNotZero(0xffff), 0xffff);
    assert.equal(checksumNotZero(0), 0xffff);
    assert.equal(checksumNotZero(0x1234), 0xedcb);
  });
});

describe('completeChecksum', () => {
  it('finishes what a driver has begun', () => {
    check(
      fc.property(plans(2000), (random) => {
        const plan = { ...random, lengthUnsaid: false };
        const { frame, l4, checksumOffset } = buildPacket(plan);
        completeChecksum(frame, frame.length, l4, checksumOffset);
        dissect(frame, plan);
      }),
      1000,
    );
  });

  it('writes all ones where UDP would say that there is none', () => {
    const frame = Buffer.alloc(30);
    frame.fill(0xff, 20, 22);
    completeChecksum(frame, 30, 20, 6);
    assert.equal(frame.readUInt16BE(26), 0xffff);
  });

  it('sums no byte behind the frame', () => {
    const frame = Buffer.alloc(100, 0xa5);
    frame.fill(0, 0, 61);
    frame[60] = 0x12;
    completeChecksum(frame, 61, 20, 6);
    assert.equal(frame.readUInt16BE(26), 0xffff - 0x1200);
    assert.ok(frame.subarray(61).every((byte) => byte === 0xa5));
  });

  it('refuses to write outside of the frame', () => {
    assert.throws(() => completeChecksum(Buffer.alloc(100), 27, 20, 6), /assertion failed/);
    completeChecksum(Buffer.alloc(100), 28, 20, 6);
  });
});
