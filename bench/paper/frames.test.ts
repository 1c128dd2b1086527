import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { NET_HEADER_BYTES } from '../../src/net/features.js';
import { LARGE_FRAME_BYTES, SEGMENT_BYTES, writeFrame, writeLargeFrame } from './frames.js';

const from = Buffer.from('52540000000a', 'hex');
const to = Buffer.from('52540000000b', 'hex');

/** The sum over a header with its checksum is all ones. RFC 1071 */
function sumOf(ip: Buffer): number {
  let sum = 0;
  for (let at = 0; at < 20; at += 2) sum += ip.readUInt16BE(at);
  return (sum & 0xffff) + (sum >>> 16);
}

describe('frames of the evaluation', () => {
  it('sends packets of 64 KiB that IPv4 can be', () => {
    assert.equal(LARGE_FRAME_BYTES, 14 + 20 + 32 + 45 * 1448);
    const buffer = Buffer.alloc(NET_HEADER_BYTES + LARGE_FRAME_BYTES, 0xee);
    writeLargeFrame(buffer, from, to);
    const ip = buffer.subarray(NET_HEADER_BYTES + 14);
    assert.equal(ip.readUInt16BE(2), ip.length);
    assert.equal(sumOf(ip), 0xffff);
    assert.equal(buffer.readUInt16LE(4), SEGMENT_BYTES);
    assert.deepEqual(buffer.subarray(NET_HEADER_BYTES, NET_HEADER_BYTES + 12), Buffer.concat([to, from]));
  });

  it('asks for nothing in plain frames', () => {
    const buffer = Buffer.alloc(NET_HEADER_BYTES + 64, 0xee);
    writeFrame(buffer, from, to, 64);
    assert.ok(buffer.subarray(0, NET_HEADER_BYTES).every((byte) => byte === 0));
    const ip = buffer.subarray(NET_HEADER_BYTES + 14, NET_HEADER_BYTES + 64);
    assert.equal(ip.readUInt16BE(2), ip.length);
    assert.equal(sumOf(ip), 0xffff);
    // UDP, of which the answer goes from where the question went to.
    assert.deepEqual(
      [ip[9], ip.readUInt16BE(20), ip.readUInt16BE(22), ip.readUInt16BE(24)],
      [17, 9, 9, ip.length - 20],
    );
    assert.deepEqual([ip.readUInt32BE(12), ip.readUInt32BE(16)], [0x0a00000a, 0x0a00000b]);
  });
});
