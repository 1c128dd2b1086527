/** The rings between two sidecores with a thread at each end: what crosses, and comes back, is whole and in order. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { it } from 'node:test';
import { Worker } from 'node:worker_threads';
import { CrossingRing } from '../../src/net/crossing-ring.js';
import { NET_HEADER_BYTES } from '../../src/net/features.js';
import { Frame } from '../../src/net/frame.js';
import { BURST_FRAMES, FrameBurst } from '../../src/net/frame-burst.js';
import { StagingMemory } from '../../src/net/staging-memory.js';
import { Random, SEED } from '../support/seed.js';
import type { CrossingThreadSetup } from './crossing-thread.js';

const FRAMES = 100_000;
const RING_BYTES = 2 ** 13;
/** Nothing takes this long. */
const STUCK_MS = 60_000;

it(`frames that cross to another thread and back are whole and in order (seed ${SEED})`, async () => {
  const there = CrossingRing.create(RING_BYTES);
  const back = CrossingRing.create(RING_BYTES);
  const stop = new SharedArrayBuffer(4);
  const workerData: CrossingThreadSetup = { arrivals: there, departures: back, stop };
  const thread = new Worker(new URL('./crossing-thread.js', import.meta.url), { workerData });
  await once(thread, 'online');
  try {
    sendAndReceive(new CrossingRing(there, 'writer'), new CrossingRing(back, 'reader'));
  } finally {
    Atomics.store(new Int32Array(stop), 0, 1);
    await once(thread, 'exit');
  }
});

const byteOf = (number: number, at: number): number => (number * 7 + at * 3) & 0xff;
const lengthOf = (number: number): number => 14 + ((number * 2_654_435_761) >>> 24) + (number % 97 === 0 ? 1400 : 0);
const fromOf = (number: number): number => (number >>> 3) & 3;

function sendAndReceive(writer: CrossingRing, reader: CrossingRing): void {
  const random = new Random(SEED);
  const memory = new StagingMemory();
  const frame = new Frame();
  const burst = new FrameBurst(reader, 0);
  const deadline = Date.now() + STUCK_MS;
  let sent = 0;
  let received = 0;
  while (received < FRAMES) {
    for (let left = random.below(64); left > 0 && sent < FRAMES; left--, sent++) {
      const length = lengthOf(sent);
      for (let i = 0; i < length; i++) memory.buffer[i] = byteOf(sent, i);
      memory.describe(0, length, frame);
      if (!writer.put(frame, fromOf(sent))) break;
    }
    writer.publish();
    const count = reader.take(burst, 1 + random.below(BURST_FRAMES));
    const { offset, length } = burst.chains;
    for (let i = 0; i < count; i++, received++) {
      const at = offset[i]! + NET_HEADER_BYTES;
      const bytes = length[i]! - NET_HEADER_BYTES;
      assert.equal(bytes, lengthOf(received), `length of frame ${received}`);
      assert.equal(reader.from, fromOf(received));
      const memory = reader.bytes[0]!;
      for (let j = 0; j < bytes; j++) {
        if (memory[at + j] !== byteOf(received, j)) assert.fail(`byte ${j} of frame ${received}`);
      }
    }
    if (count > 0) reader.release();
    else if (Date.now() > deadline) assert.fail(`${received} of ${sent} frames came back`);
  }
  assert.equal(reader.hasRecords, false);
}
