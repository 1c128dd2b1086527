import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { check, Random, SEED } from '../../../test/support/seed.js';
import { Segments } from '../../guest-memory/segments.js';
import { EtherType } from '../ethernet.js';
import { Frame, type FrameMemory } from '../frame.js';
import { StagingMemory } from '../staging-memory.js';
import { CaptureReader } from './capture-reader.js';
import { CapturePosition, CaptureRingView, createCaptureRing, Direction } from './capture-ring.js';
import { FrameCapture } from './frame-capture.js';

const RECORD_BYTES = 24;
const EVERYTHING = 2 ** 18;

const staging = new StagingMemory();

function frameOf(bytes: Buffer): Frame {
  bytes.copy(staging.buffer);
  const frame = new Frame();
  staging.describe(0, bytes.length, frame);
  return frame;
}

/** Bytes of a frame of no other kind than its length and number. */
function bytesOf(length: number, number = 0): Buffer {
  const bytes = Buffer.alloc(length);
  for (let i = 0; i < length; i++) bytes[i] = i * 7 + number * 13;
  bytes.writeUInt16BE(0x88b5, 12);
  return bytes;
}

/** @param start - where both ends stand at first, as if that many units had passed */
function create(byteLength: number, snapBytes = EVERYTHING, start = 0) {
  const ring = createCaptureRing(byteLength);
  const { positions } = new CaptureRingView(ring);
  positions[CapturePosition.HEAD] = positions[CapturePosition.TAIL] = start;
  return { ring, capture: new FrameCapture(ring, snapBytes), reader: new CaptureReader(ring) };
}

/** The next record, its bytes as a copy. */
function take(reader: CaptureReader) {
  const frame = reader.next();
  if (frame === undefined) return undefined;
  const { bytes, at, keptBytes, byteLength, direction } = frame;
  const kept = Buffer.from(bytes.subarray(at, at + keptBytes));
  return { kept, byteLength, direction };
}

describe('a capture of frames', () => {
  it('records what a frame is, which way it went, and when', () => {
    const { capture, reader } = create(4096);
    const before = Date.now();
    capture.add(frameOf(bytesOf(61, 1)), Direction.OUTBOUND);
    capture.add(frameOf(bytesOf(1514, 2)), Direction.INBOUND);
    const { seconds, nanoseconds } = reader.next()!;
    const ms = seconds * 1000 + nanoseconds / 1e6;
    assert.ok(ms >= before - 1 && ms <= Date.now() + 1, `${ms}`);
    assert.deepEqual(take(reader), { kept: bytesOf(1514, 2), byteLength: 1514, direction: Direction.INBOUND });
    assert.equal(take(reader), undefined);
    assert.deepEqual([reader.recorded, reader.dropped], [2, 0]);
  });

  it('takes a frame as it leaves, from however many pieces', () => {
    const { capture, reader } = create(4096);
    const bytes = bytesOf(300);
    const memory: FrameMemory = { bytes: [bytes, bytes], words: [], longs: [], hostAddress: new Float64Array(2) };
    const segments = new Segments(4);
    segments.push(0, 0, 20);
    segments.push(1, 20, 1);
    segments.push(0, 21, 200);
    segments.push(1, 221, 79);
    const frame = new Frame();
    frame.set(memory, segments, 4, 0, 300, bytes, 0);
    capture.add(frame, Direction.OUTBOUND);
    assert.deepEqual(take(reader)!.kept, bytes);
    frame.leaveAs(42);
    capture.add(frame, Direction.INBOUND);
    const tag = Buffer.from([EtherType.VLAN >> 8, EtherType.VLAN & 0xff, 0, 42]);
    const tagged = Buffer.concat([bytes.subarray(0, 12), tag, bytes.subarray(12)]);
    assert.deepEqual(take(reader), { kept: tagged, byteLength: 304, direction: Direction.INBOUND });
  });

  it('keeps the first bytes only, as many as were asked for', () => {
    for (const snapBytes of [1, 7, 8, 13, 14, 16, 17, 59, 60, 61]) {
      const { capture, reader } = create(4096, snapBytes);
      capture.add(frameOf(bytesOf(60)), Direction.INBOUND);
      const kept = bytesOf(60).subarray(0, Math.min(60, snapBytes));
      assert.deepEqual(take(reader), { kept, byteLength: 60, direction: Direction.INBOUND }, `${snapBytes}`);
    }
  });

  it('drops and counts what has no room, and goes on when there is some', () => {
    const { capture, reader } = create(1024);
    const each = RECORD_BYTES + 64;
    for (let i = 0; i < 20; i++) capture.add(frameOf(bytesOf(64, i)), Direction.INBOUND);
    const room = Math.floor(1024 / each);
    assert.deepEqual([reader.recorded, reader.dropped], [room, 20 - room]);
    for (let i = 0; i < room; i++) assert.deepEqual(take(reader)!.kept, bytesOf(64, i));
    assert.equal(take(reader), undefined);
    capture.add(frameOf(bytesOf(64, 98)), Direction.INBOUND);
    assert.equal(reader.dropped, 21 - room, 'what was read is not yet given back');
    reader.release();
    capture.add(frameOf(bytesOf(64, 99)), Direction.INBOUND);
    assert.deepEqual(take(reader)!.kept, bytesOf(64, 99));
  });

  it('drops what no ring of its size could hold', () => {
    const { capture, reader } = create(1024);
    capture.add(frameOf(bytesOf(1025)), Direction.INBOUND);
    assert.deepEqual([take(reader), reader.dropped], [undefined, 1]);
  });

  it('goes on where another stopped, wherever that was', () => {
    const { ring, capture, reader } = create(1024);
    capture.add(frameOf(bytesOf(400, 1)), Direction.INBOUND);
    take(reader);
    reader.release();
    capture.add(frameOf(bytesOf(300, 2)), Direction.INBOUND);
    const successor = new FrameCapture(ring, EVERYTHING);
    successor.add(frameOf(bytesOf(400, 3)), Direction.INBOUND);
    assert.deepEqual(take(reader)!.kept, bytesOf(300, 2));
    assert.deepEqual(take(reader)!.kept, bytesOf(400, 3));
    assert.equal(reader.recorded, 3);
  });

  it('gives every frame back once and in order, or counts it, however reader and writer take turns', () => {
    const step = fc.record({
      frames: fc.array(fc.integer({ min: 14, max: 700 }), { maxLength: 6 }),
      reads: fc.integer({ min: 0, max: 6 }),
    });
    check(
      fc.property(
        fc.array(step, { maxLength: 60 }),
        fc.integer({ min: 1, max: 800 }),
        fc.constantFrom(1024, 2048, 4096),
        fc.constantFrom(0, 2 ** 31 - 100, -100),
        (steps, snapBytes, ringBytes, start) => {
          const { capture, reader } = create(ringBytes, snapBytes, start);
          const expected: { kept: Buffer; byteLength: number; direction: number }[] = [];
          let number = 0;
          let dropped = 0;
          for (const { frames, reads } of steps) {
            for (const byteLength of frames) {
              const direction = (number & 1) + 1;
              const bytes = bytesOf(byteLength, ++number);
              capture.add(frameOf(bytes), direction as Direction);
              const kept = bytes.subarray(0, Math.min(byteLength, snapBytes));
              if (reader.dropped > dropped) dropped++;
              else expected.push({ kept, byteLength, direction });
            }
            for (let i = 0; i < reads; i++) assert.deepEqual(take(reader), expected.shift());
            reader.release();
          }
          for (const record of expected) assert.deepEqual(take(reader), record);
          assert.equal(take(reader), undefined);
          assert.equal(reader.recorded + reader.dropped, number);
        },
      ),
      200,
    );
  });

  it('uses its ring to the end: a frame is dropped only if it would not fit what is free', () => {
    const random = new Random(SEED);
    const { capture, reader } = create(4096);
    const waiting: number[] = [];
    for (let i = 0; i < 20_000; i++) {
      const length = 14 + random.below(200);
      const before = reader.dropped;
      capture.add(frameOf(bytesOf(length, i)), Direction.INBOUND);
      const used = waiting.reduce((sum, bytes) => sum + RECORD_BYTES + ((bytes + 7) & ~7), 0);
      if (reader.dropped === before) waiting.push(length);
      // At most one record's worth is lost at the end of the ring.
      else assert.ok(used + 2 * (RECORD_BYTES + 216) > 4096, `${used} bytes used`);
      if (!random.chance(0.48)) continue;
      assert.equal(take(reader)?.byteLength, waiting.shift());
      reader.release();
    }
  });
});
