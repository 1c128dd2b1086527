/** A thread that sends back whatever crosses to it, in the same order, until it is told to stop. */
import { workerData } from 'node:worker_threads';
import { CrossingRing } from '../../src/net/crossing-ring.js';
import { Frame } from '../../src/net/frame.js';
import { BURST_FRAMES, FrameBurst, Way } from '../../src/net/frame-burst.js';
import { StagingMemory } from '../../src/net/staging-memory.js';

export interface CrossingThreadSetup {
  readonly arrivals: SharedArrayBuffer;
  readonly departures: SharedArrayBuffer;
  /** One word: not zero when the thread shall end. */
  readonly stop: SharedArrayBuffer;
}

function sendBack({ arrivals, departures, stop }: CrossingThreadSetup): void {
  const reader = new CrossingRing(arrivals, 'reader');
  const writer = new CrossingRing(departures, 'writer');
  const burst = new FrameBurst(reader, 0);
  const ended = new Int32Array(stop);
  const staging = new StagingMemory();
  const frame = new Frame();
  while (Atomics.load(ended, 0) === 0) {
    const count = reader.take(burst, BURST_FRAMES);
    if (count === 0) continue;
    burst.read(count);
    for (let i = 0; i < count; i++) {
      const at = burst.chains.offset[i]!;
      const length = burst.chains.length[i]!;
      const put = () => {
        if (burst.way[i] === Way.READ) return writer.putOf(burst, i, reader.from);
        reader.bytes[0]!.copy(staging.buffer, 0, at, at + length);
        staging.describe(0, length, frame);
        return writer.put(frame, reader.from);
      };
      while (!put()) {
        writer.publish();
        if (Atomics.load(ended, 0) !== 0) return;
      }
    }
    reader.release();
    writer.publish();
  }
}

sendBack(workerData as CrossingThreadSetup);
