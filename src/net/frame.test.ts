import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { withoutTag, withTag } from '../../test/support/frames.js';
import { check } from '../../test/support/seed.js';
import { Segments } from '../guest-memory/segments.js';
import { macHigh, macLow, UNTAGGED } from './ethernet.js';
import { Frame, type FrameMemory, TAGGED_HEAD_BYTES } from './frame.js';
import { NetHeader, NetHeaderFlag } from './net-header.js';

/** Memory in which pieces lie, each in a window of its own. */
function memoryOf(pieces: readonly Buffer[]): FrameMemory {
  const memories = pieces.map((piece) => new ArrayBuffer((piece.length + 7) & ~7));
  const bytes = memories.map((memory, i) => {
    const window = Buffer.from(memory);
    pieces[i]!.copy(window);
    return window;
  });
  return {
    bytes,
    words: memories.map((memory) => new Uint32Array(memory)),
    longs: memories.map((memory) => new BigUint64Array(memory)),
    hostAddress: new Float64Array(pieces.length),
  };
}

/** Cuts bytes into pieces of those lengths; the last one has the rest. */
function cut(bytes: Buffer, lengths: readonly number[]): Buffer[] {
  const pieces: Buffer[] = [];
  let from = 0;
  for (const wanted of [...lengths, bytes.length]) {
    const length = Math.min(wanted, bytes.length - from);
    pieces.push(bytes.subarray(from, from + length));
    from += length;
  }
  return pieces;
}

/** Makes a frame of bytes that lie in pieces behind others of their sender's. */
function setFrame(frame: Frame, bytes: Buffer, lengths: readonly number[], skip: number): void {
  const gap = 5;
  const pieces = cut(Buffer.concat([Buffer.alloc(skip, 0xee), bytes]), lengths);
  const segments = new Segments(pieces.length);
  const memory = memoryOf(pieces.map((piece) => Buffer.concat([Buffer.alloc(gap, 0xdd), piece])));
  for (const [window, { length }] of pieces.entries()) segments.push(window, gap, length);
  const head = Buffer.concat([Buffer.alloc(3), bytes.subarray(0, TAGGED_HEAD_BYTES)]);
  frame.set(memory, segments, pieces.length, skip, bytes.length, head, 3);
  // What the sender does now to the first bytes is not seen.
  let left = skip + Math.min(privateBytes(bytes), bytes.length);
  for (const [window, { length }] of pieces.entries()) {
    memory.bytes[window]!.fill(0xaa, gap, gap + Math.min(length, left));
    left -= Math.min(length, left);
  }
}

/** How many of a frame's first bytes are read once: those that say what VLAN it is in, with and without its tag. */
const isTagged = (bytes: Buffer) => bytes.length >= 18 && bytes.readUInt16BE(12) === 0x8100;
const privateBytes = (bytes: Buffer) => (isTagged(bytes) ? TAGGED_HEAD_BYTES : 16);

/** The same for a frame in one piece. */
function setPiece(frame: Frame, bytes: Buffer, offset: number): void {
  const window = Buffer.alloc(offset + bytes.length + 9, 0xdd);
  bytes.copy(window, offset);
  const words = Array.from({ length: 4 }, (_, i) => window.readUInt32LE(offset + 4 * i));
  const memory = memoryOf([window]);
  frame.setPiece(memory, 0, offset, bytes.length, words[0]!, words[1]!, words[2]!, words[3]!);
  memory.bytes[0]!.fill(0xaa, offset, offset + Math.min(privateBytes(bytes), bytes.length));
}

/** All of a frame as it leaves. */
function bytesOf(frame: Frame): Buffer {
  const into = Buffer.alloc(frame.byteLength + 20, 0x77);
  assert.equal(frame.copyTo(into, 10), frame.byteLength);
  assert.ok(into.subarray(0, 10).every((byte) => byte === 0x77));
  assert.ok(into.subarray(10 + frame.byteLength).every((byte) => byte === 0x77));
  return into.subarray(10, 10 + frame.byteLength);
}

/** Fails unless the frame says of itself what its bytes say. */
function expectFields(frame: Frame, bytes: Buffer): void {
  assert.deepEqual(
    [frame.destinationHigh, frame.destinationLow | 0, frame.sourceHigh, frame.sourceLow | 0],
    [macHigh(bytes, 0), macLow(bytes, 0), macHigh(bytes, 6), macLow(bytes, 6)],
  );
  const tagged = isTagged(bytes);
  const control = tagged ? bytes.readUInt16BE(14) : 0;
  const tag = tagged ? control & 0xfff : UNTAGGED;
  assert.deepEqual([frame.tag, frame.tagNow, frame.priority], [tag, tag, control >>> 12]);
  assert.equal(frame.etherType, bytes.readUInt16BE(12));
  assert.equal(frame.hidesTag, tagged && bytes.readUInt16BE(16) === 0x8100);
}

const anyFrame = fc
  .record({
    bytes: fc.uint8Array({ minLength: 14, maxLength: 200, size: 'max' }),
    type: fc.constantFrom(0x8100, 0x8100, 0x88a8, 0x0800, 0x88b5),
    next: fc.constantFrom(0x8100, 0x0800),
  })
  .map(({ bytes, type, next }) => {
    const frame = Buffer.from(bytes);
    frame.writeUInt16BE(type, 12);
    if (frame.length >= 18) frame.writeUInt16BE(next, 16);
    return frame;
  });
const anyTag = fc.oneof(fc.constant(UNTAGGED), fc.integer({ min: 0, max: 4094 }));

describe('a frame', () => {
  it('in any pieces is what was sent, as its first bytes were when they were read', () => {
    const frame = new Frame();
    check(
      fc.property(anyFrame, fc.array(fc.nat(30), { maxLength: 12 }), fc.nat(40), (bytes, lengths, skip) => {
        setFrame(frame, bytes, lengths, skip);
        assert.ok(bytesOf(frame).equals(bytes));
        expectFields(frame, bytes);
      }),
      2000,
    );
  });

  it('in one piece is the same', () => {
    const frame = new Frame();
    check(
      fc.property(anyFrame, fc.nat(7), (bytes, offset) => {
        if (bytes.length < 18) return;
        setPiece(frame, bytes, offset);
        assert.ok(bytesOf(frame).equals(bytes));
        expectFields(frame, bytes);
      }),
      1000,
    );
  });

  it('leaves with the tag that was said last, or none, and its header follows', () => {
    const frame = new Frame();
    const asking = fc.constantFrom(0, NetHeaderFlag.NEEDS_CSUM);
    check(
      fc.property(
        anyFrame,
        fc.array(anyTag, { maxLength: 6 }),
        asking,
        fc.constantFrom(0, 1),
        (bytes, tags, flags, gso) => {
          setFrame(frame, bytes, [20, 3], 12);
          const before = new NetHeader();
          Object.assign(before, {
            flags,
            gsoType: gso,
            csumStart: 34,
            csumOffset: 16,
            hdrLen: gso * 54,
            gsoSize: gso * 9,
          });
          frame.header.copyFrom(before);
          const tagged = frame.tag !== UNTAGGED;
          const control = tagged ? bytes.readUInt16BE(14) : 0;
          const bare = tagged ? withoutTag(bytes) : bytes;
          for (const tag of tags) {
            frame.leaveAs(tag);
            const expected = tag === UNTAGGED ? bare : withTag(bare, (control & 0xf000) | tag);
            assert.ok(bytesOf(frame).equals(expected), `${tag}`);
            assert.equal(frame.byteLength, expected.length);
            const moved = flags === 0 ? 0 : expected.length - bytes.length;
            const after = { ...before, csumStart: 34 + moved, hdrLen: gso === 0 ? 0 : 54 + moved };
            assert.deepEqual({ ...frame.header }, after);
            assert.equal(frame.tagNow, tag);
          }
          assert.equal(frame.tag, tagged ? control & 0xfff : UNTAGGED, 'it is remembered with what tag it came');
        },
      ),
      1500,
    );
  });

  it('is copied up to any number of bytes', () => {
    const frame = new Frame();
    const bytes = Buffer.from(Array.from({ length: 100 }, (_, i) => i));
    for (const lengths of [[], [1, 1, 1], [30, 0, 30]]) {
      setFrame(frame, bytes, lengths, 2);
      for (const tag of [UNTAGGED, 7]) {
        frame.leaveAs(tag);
        const whole = Buffer.from(bytesOf(frame));
        for (let limit = 0; limit <= whole.length; limit++) {
          const into = Buffer.alloc(whole.length, 0x77);
          assert.equal(frame.copyTo(into, 0, limit), limit);
          assert.ok(into.subarray(0, limit).equals(whole.subarray(0, limit)));
          assert.ok(into.subarray(limit).every((byte) => byte === 0x77));
        }
      }
    }
  });

  it('leaves the list of pieces alone that it was given before', () => {
    const bytes = Buffer.alloc(60, 1);
    const frame = new Frame();
    const segments = new Segments(2);
    segments.push(0, 10, 50);
    segments.push(0, 70, 10);
    frame.set(memoryOf([Buffer.alloc(100)]), segments, 2, 0, 60, bytes, 0);
    setPiece(frame, bytes, 0);
    assert.deepEqual([segments.count, segments.offset[0], segments.length[0]], [2, 10, 50]);
  });
});
