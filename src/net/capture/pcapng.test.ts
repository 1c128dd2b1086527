/** Captures as Wireshark reads them, and as `BlockCutter` cuts them. */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { scratchDirectory } from '../../../test/support/daemon.js';
import { check } from '../../../test/support/seed.js';
import { noTshark, readPackets, readStatistics } from '../../../test/support/tshark.js';
import { BlockCutter } from './block-cutter.js';
import { Direction } from './capture-ring.js';
import {
  interfaceDescription,
  interfaceStatistics,
  PACKET_BLOCK_BYTES,
  sectionHeader,
  writePacket,
  writeTimestamp,
} from './pcapng.js';

const BEGAN = { seconds: 1_700_000_000, nanoseconds: 999_999_999 };
const ENDED = { seconds: 1_700_000_010, nanoseconds: 1 };

/** A packet block around some bytes; the packet has `cut` bytes more than were kept. */
function packet(data: Buffer, direction: number, nanoseconds: number, cut = 0): Buffer {
  // Not at the start: what comes before and behind must not be written.
  const target = Buffer.alloc(PACKET_BLOCK_BYTES + data.length + 16, 0xee);
  const bytes = Buffer.concat([Buffer.alloc(5, 0xdd), data, Buffer.alloc(5, 0xdd)]);
  const { length } = data;
  const frame = { bytes, at: 5, keptBytes: length, byteLength: length + cut, direction, ...BEGAN, nanoseconds };
  const end = writePacket(target, 8, frame);
  assert.ok(
    target.subarray(0, 8).every((byte) => byte === 0xee) && target.subarray(end).every((byte) => byte === 0xee),
  );
  assert.ok(end - 8 <= PACKET_BLOCK_BYTES + length + 3);
  return target.subarray(8, end);
}

const ethernet = (length: number, seed: number) =>
  Buffer.from(Array.from({ length }, (_, i) => (i === 12 ? 0x88 : i === 13 ? 0xb5 : (i * 31 + seed) & 0xff)));

describe('pcapng', () => {
  it('has timestamps exact to the nanosecond', () => {
    const target = Buffer.alloc(8);
    check(
      fc.property(
        fc.integer({ min: 0, max: 2 ** 34 - 1 }),
        fc.integer({ min: 0, max: 999_999_999 }),
        (seconds, nanoseconds) => {
          writeTimestamp(target, 0, { seconds, nanoseconds });
          const written = (BigInt(target.readUInt32LE(0)) << 32n) | BigInt(target.readUInt32LE(4));
          assert.equal(written, BigInt(seconds) * 1_000_000_000n + BigInt(nanoseconds));
        },
      ),
      2000,
    );
  });

  it('is read by tshark: packets, directions, times, lengths, counts', { skip: noTshark }, (test) => {
    const file = join(scratchDirectory(test), 'a.pcapng');
    const sent = [60, 61, 62, 63, 64, 1514].map((length, i) => ethernet(length, i));
    const counts = { received: 2 ** 33, dropped: 2 ** 32 + 1, written: 7 };
    writeFileSync(
      file,
      Buffer.concat([
        sectionHeader('test'),
        interfaceDescription('wëb1/net0', 262_144),
        ...sent.map((bytes, i) => packet(bytes, i % 2 === 0 ? Direction.INBOUND : Direction.OUTBOUND, i)),
        packet(ethernet(20, 9), Direction.INBOUND, 6, 1000),
        interfaceStatistics({ began: BEGAN, ended: ENDED, ...counts, comment: 'for a reason' }),
      ]),
    );
    const read = readPackets(file);
    const time = (i: number) => BigInt(BEGAN.seconds) * 1_000_000_000n + BigInt(i);
    assert.deepEqual(read, [
      ...sent.map((bytes, i) => ({
        time: time(i),
        byteLength: bytes.length,
        bytes,
        interfaceName: 'wëb1/net0',
        direction: i % 2 === 0 ? 'inbound' : 'outbound',
      })),
      { time: time(6), byteLength: 1020, bytes: ethernet(20, 9), interfaceName: 'wëb1/net0', direction: 'inbound' },
    ]);
    assert.deepEqual(readStatistics(file), { ...counts, comment: 'for a reason' });
  });

  it('is cut into whole blocks, wherever the stream is broken', () => {
    const statistics = interfaceStatistics({
      began: BEGAN,
      ended: ENDED,
      received: 9,
      dropped: 4,
      written: 5,
      comment: 'odd',
    });
    check(
      fc.property(
        fc.array(fc.integer({ min: 14, max: 200 }), { maxLength: 10 }),
        fc.array(fc.integer({ min: 1, max: 300 }), { minLength: 1 }),
        (lengths, cuts) => {
          const packets = lengths.map((length, i) => packet(ethernet(length, i), Direction.INBOUND, i));
          const blocks = [sectionHeader('test'), interfaceDescription('a/b', 100), ...packets, statistics];
          const ends = new Set<number>([0]);
          const whole = Buffer.concat(blocks);
          blocks.reduce((at, { length }) => (ends.add(at + length), at + length), 0);
          const cutter = new BlockCutter();
          const out: Buffer[] = [];
          let outBytes = 0;
          for (let at = 0, i = 0; at < whole.length; i++) {
            const next = at + cuts[i % cuts.length]!;
            out.push(Buffer.from(cutter.push(whole.subarray(at, next))));
            outBytes += out.at(-1)!.length;
            at = Math.min(next, whole.length);
            const furthest = Math.max(...[...ends].filter((end) => end <= at));
            assert.equal(outBytes, furthest, 'all that is whole, and no more');
          }
          assert.deepEqual(Buffer.concat(out), whole);
          assert.equal(cutter.packets, lengths.length);
          assert.deepEqual(cutter.statistics, { dropped: 4, comment: 'odd' });
        },
      ),
      100,
    );
  });
});
