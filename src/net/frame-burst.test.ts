import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { makeFrame, withTag } from '../../test/support/frames.js';
import { FRAME_BYTES_MAX } from '../limits.js';
import { NET_HEADER_BYTES } from './features.js';
import { Frame, HEAD_BYTES } from './frame.js';
import { BURST_FRAMES, FrameBurst, Way } from './frame-burst.js';
import { NetHeaderFlag } from './net-header.js';
import { StagedBurst } from './staged-burst.js';
import { StagingMemory } from './staging-memory.js';

const FROM = Buffer.from('525400000001', 'hex');
const TO = Buffer.from('525400000002', 'hex');

/** Puts a header and a frame into memory, and the place into the burst. */
function put(
  burst: FrameBurst,
  memory: StagingMemory,
  index: number,
  at: number,
  frame: Buffer,
  header?: Buffer,
): void {
  const { chains } = burst;
  (header ?? Buffer.alloc(NET_HEADER_BYTES)).copy(memory.buffer, at);
  frame.copy(memory.buffer, at + NET_HEADER_BYTES);
  chains.window[index] = 0;
  chains.offset[index] = at;
  chains.length[index] = NET_HEADER_BYTES + frame.length;
}

/** What `read` finds out about one frame at an address. */
function wayOf(frame: Buffer, options: { at?: number; header?: Buffer; memoryBytes?: number } = {}): number {
  const { at = 0, memoryBytes = 4096 } = options;
  const memory = new StagingMemory(memoryBytes);
  const burst = new FrameBurst(memory, 0);
  put(burst, memory, 0, at, frame, options.header);
  burst.read(1);
  assert.equal(burst.chains.offset[0], at + NET_HEADER_BYTES);
  if (burst.way[0] === Way.READ) {
    const words = Array.from({ length: 4 }, (_, i) => frame.readUInt32LE(4 * i));
    assert.deepEqual([...burst.head.subarray(0, 4)], words);
    assert.equal(burst.chains.length[0], frame.length);
  }
  return burst.way[0]!;
}

describe('a burst of frames', () => {
  it('reads the first bytes of frames that begin anywhere', () => {
    for (let at = 0; at < 40; at++) {
      for (const length of [18, 19, 60, 1514]) {
        assert.equal(wayOf(makeFrame(TO, FROM, length, at), { at }), Way.READ, `${length} at ${at}`);
      }
    }
  });

  it('keeps each apart, as many as there can be', () => {
    const memory = new StagingMemory(2 ** 16);
    const burst = new FrameBurst(memory, 3);
    const frames = Array.from({ length: BURST_FRAMES }, (_, i) => makeFrame(TO, FROM, 18 + 7 * i, i));
    for (let i = 0; i < BURST_FRAMES; i++) put(burst, memory, i, 1501 * i, frames[i]!);
    burst.firstSlot = 40;
    burst.read(BURST_FRAMES);
    const frame = new Frame();
    for (const [i, expected] of frames.entries()) {
      assert.equal(burst.way[i], Way.READ);
      frame.header.flags = 1;
      assert.equal(burst.frame(i, frame), frame);
      const bytes = Buffer.alloc(expected.length);
      assert.equal(frame.copyTo(bytes, 0), expected.length);
      assert.ok(bytes.equals(expected));
      assert.deepEqual([frame.pair, frame.slot, frame.header.flags, frame.owner], [3, 40 + i, 0, undefined]);
      assert.equal(frame.sourceLow, FROM.readUInt32BE(2));
    }
  });

  it('has read a frame’s first bytes, whatever becomes of them', () => {
    const memory = new StagingMemory(4096);
    const burst = new FrameBurst(memory, 0);
    const sent = withTag(makeFrame(TO, FROM, 60, 1), 0x2007);
    put(burst, memory, 0, 4, sent);
    burst.read(1);
    memory.buffer.fill(0xff, 0, 4 + NET_HEADER_BYTES + HEAD_BYTES);
    const frame = burst.frame(0, new Frame());
    const bytes = Buffer.alloc(sent.length);
    frame.copyTo(bytes, 0);
    assert.ok(bytes.equals(sent));
    assert.equal(frame.tag, 7);
  });

  it('is copied to private memory, as far as its frames are short enough, and frames can be moved in it', () => {
    const memory = new StagingMemory(16_384);
    const burst = new FrameBurst(memory, 3);
    burst.port = 5;
    const sent = [60, 1514, 64, 2041, 60].map((bytes, i) => makeFrame(TO, FROM, bytes, i));
    // Wherever it begins in eight bytes.
    for (const [i, bytes] of sent.entries()) put(burst, memory, i, 3000 * i + i, bytes);
    burst.read(sent.length);
    const staged = new StagedBurst();
    const own = staged.burst;
    const bytesAt = (index: number, length: number) => {
      const bytes = Buffer.alloc(length);
      assert.equal(own.frame(index, new Frame()).copyTo(bytes, 0), length);
      return bytes;
    };
    assert.equal(staged.fill(burst, 1, 5), 3);
    memory.buffer.fill(0);
    assert.deepEqual([own.port, own.pair, own.owner, own.isPrivate], [5, 3, undefined, true]);
    assert.deepEqual(bytesAt(0, 1514), sent[1]);
    assert.deepEqual(bytesAt(1, 64), sent[2]);
    own.move(1, 0);
    assert.deepEqual(bytesAt(0, 64), sent[2]);
    assert.equal(staged.fill(burst, 3, 5), 3);
  });

  it('leaves a frame that asks for something to its sender', () => {
    const frame = makeFrame(TO, FROM, 60, 1);
    for (let at = 0; at < 8; at++) {
      for (let flags = 0; flags < 256; flags++) {
        const header = Buffer.alloc(NET_HEADER_BYTES);
        header[0] = flags;
        const asks = (flags & NetHeaderFlag.NEEDS_CSUM) !== 0;
        assert.equal(wayOf(frame, { at, header }), asks ? Way.UNREAD : Way.READ);
        header[0] = 0;
        header[1] = flags;
        assert.equal(wayOf(frame, { at, header }), flags === 0 ? Way.READ : Way.UNREAD);
      }
      // All that does not matter then.
      const header = Buffer.alloc(NET_HEADER_BYTES, 0xff);
      header[0] = 0xfe;
      header[1] = 0;
      assert.equal(wayOf(frame, { at, header }), Way.READ);
    }
  });

  it('leaves what has no length of a frame to its sender', () => {
    const memory = new StagingMemory(2 ** 17);
    const burst = new FrameBurst(memory, 0);
    for (const [length, way] of [
      [-12, Way.UNREAD],
      [-1, Way.UNREAD],
      [0, Way.UNREAD],
      [13, Way.UNREAD],
      [15, Way.UNREAD],
      // One that says "tag" has all of it, and a type.
      [17, Way.UNREAD],
      [18, Way.READ],
      [FRAME_BYTES_MAX, Way.READ],
      [FRAME_BYTES_MAX + 1, Way.UNREAD],
      [2 ** 31, Way.UNREAD],
      [2 ** 32 - 13, Way.UNREAD],
    ] as const) {
      burst.chains.offset[0] = 8;
      burst.chains.length[0] = NET_HEADER_BYTES + length;
      burst.read(1);
      assert.equal(burst.way[0], way, `${length} bytes`);
      // Its sender finds out how long it was.
      assert.equal((burst.chains.length[0]! + NET_HEADER_BYTES) >>> 0, (NET_HEADER_BYTES + length) >>> 0);
    }
  });

  it('reads no word that is not there', () => {
    const frame = makeFrame(TO, FROM, 18, 1);
    // So many are read, in whole words.
    const bytes = NET_HEADER_BYTES + HEAD_BYTES;
    for (let at = 0; at <= 34; at++) {
      const way = wayOf(frame, { at, memoryBytes: 64 });
      // Whole words up to the one behind it.
      assert.equal(way, (at >>> 2) + bytes / 4 < 16 ? Way.READ : Way.UNREAD, `at ${at}`);
    }
    // The last bytes of a window that is no whole number of words.
    const memory = new StagingMemory(64);
    const short = { ...memory, words: [memory.words[0]!.subarray(0, 10)] };
    const burst = new FrameBurst(short as unknown as StagingMemory, 0);
    put(burst, memory, 0, 12, frame);
    burst.read(1);
    assert.equal(burst.way[0], Way.UNREAD);
  });
});
