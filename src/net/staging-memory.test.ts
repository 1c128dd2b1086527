import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { makeFrame } from '../../test/support/frames.js';
import { FRAME_BYTES_MAX } from '../limits.js';
import { VLAN_TAG_BYTES } from './ethernet.js';
import { Frame } from './frame.js';
import { StagingMemory } from './staging-memory.js';

const FROM = Buffer.from('525400000001', 'hex');
const TO = Buffer.from('525400000002', 'hex');

describe('memory in which frames are put together', () => {
  it('describes what was put there', () => {
    const memory = new StagingMemory();
    const frame = new Frame();
    frame.owner = { hold: () => 0, release: () => {} };
    for (const length of [14, 15, 16, 17, 18, 60, 1514, FRAME_BYTES_MAX, FRAME_BYTES_MAX + VLAN_TAG_BYTES]) {
      for (const at of [0, 1, 7].filter((at) => at + length <= memory.buffer.length)) {
        const sent = makeFrame(TO, FROM, length, length);
        sent.copy(memory.buffer, at);
        memory.describe(at, length, frame);
        const bytes = Buffer.alloc(length);
        assert.equal(frame.copyTo(bytes, 0), length);
        assert.ok(bytes.equals(sent), `${length} at ${at}`);
        assert.equal(frame.owner, undefined, 'nobody has to wait for it');
      }
    }
  });

  it('is the same memory as bytes, words and longs', () => {
    for (const byteLength of [1, 8, 63, 64, 65]) {
      const { buffer, bytes, words, longs } = new StagingMemory(byteLength);
      assert.ok(buffer.length >= byteLength);
      assert.equal(bytes[0], buffer);
      assert.equal(words[0]!.byteLength, buffer.length);
      assert.equal(longs[0]!.byteLength, buffer.length);
      words[0]![0] = 0x04030201;
      assert.equal(buffer.readUInt32LE(0), 0x04030201);
      assert.equal(longs[0]![0], 0x04030201n);
    }
  });
});
