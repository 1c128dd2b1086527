/** A capture's ring with both ends at work at once, each in a thread. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { it } from 'node:test';
import { Worker } from 'node:worker_threads';
import { CaptureReader } from '../../src/net/capture/capture-reader.js';
import { createCaptureRing, Direction } from '../../src/net/capture/capture-ring.js';
import { FrameCapture } from '../../src/net/capture/frame-capture.js';
import { Frame } from '../../src/net/frame.js';
import { StagingMemory } from '../../src/net/staging-memory.js';
import { Random, SEED } from '../support/seed.js';
import { byteOf, type CaptureThreadReport, type CaptureThreadSetup, FRAME_HEAD_BYTES } from './capture-thread.js';

const FRAMES = 200_000;

it('a reader in another thread gets whole frames, in order, and all that was recorded', async () => {
  const ring = createCaptureRing(2 ** 14);
  const workerData: CaptureThreadSetup = { ring, frames: FRAMES };
  const thread = new Worker(new URL('./capture-thread.js', import.meta.url), { workerData });
  const report = once(thread, 'message') as Promise<[CaptureThreadReport]>;
  await once(thread, 'online');
  const capture = new FrameCapture(ring, 2 ** 18);
  const counts = new CaptureReader(ring);
  const random = new Random(SEED);
  const memory = new StagingMemory();
  const frame = new Frame();
  for (let number = 0; number < FRAMES; number++) {
    const length = FRAME_HEAD_BYTES + random.below(300);
    for (let i = FRAME_HEAD_BYTES; i < length; i++) memory.buffer[i] = byteOf(number, i);
    memory.buffer.writeUInt32LE(number, FRAME_HEAD_BYTES - 4);
    memory.describe(0, length, frame);
    capture.add(frame, Direction.INBOUND);
  }
  const [{ read, faults }] = await report;
  assert.deepEqual(faults, []);
  assert.equal(read, counts.recorded);
  assert.ok(read > 0);
  assert.equal(counts.recorded + counts.dropped, FRAMES);
});
