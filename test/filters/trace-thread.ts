/** A thread that records frames and requests as fast as it can, in rings that hold few of them. All of each follows from its number. */
import { isMainThread, workerData } from 'node:worker_threads';
import { type FilterFrame, FrameDirection } from '../../src/filter/frame-contract.js';
import type { FilterRequest } from '../../src/filter/index.js';
import { TraceMemory, TraceWriter } from '../../src/filters/block/trace/memory.js';
import { TraceRing } from '../../src/filters/net/trace/ring.js';

export interface TraceThreadSetup {
  readonly frames: SharedArrayBuffer;
  readonly requests: SharedArrayBuffer;
  /** One word: one once it is to end. */
  readonly stop: SharedArrayBuffer;
}

export const FRAME_RING = { frames: 16, bytes: 96 } as const;
export const REQUEST_RING = 256;

/** What a frame is. */
export const frameOf = (number: number) => ({
  seconds: number,
  nanoseconds: number % 1e9,
  direction: number % 2 === 0 ? FrameDirection.OUTBOUND : FrameDirection.INBOUND,
  byteLength: 60 + (number % 200),
  vlan: 1 + (number % 4000),
  byte: number & 0xff,
});

/** What a request is. Its number is its sector. */
export const requestOf = (number: number) => ({
  type: number & 1,
  bytes: 512 * (1 + (number % 64)),
  durable: number % 3 === 0,
  downNs: 1e9 + 1000 * number,
  upNs: 1e9 + 1000 * number + (number % 500),
});

function write({ frames, requests, stop }: TraceThreadSetup): void {
  const stopped = new Int32Array(stop);
  let number = 0;
  /** Now and then it takes a while in the middle of a record. */
  const dawdle = () => {
    for (let i = 0; number % 8 === 0 && i < 200; i++) Atomics.load(stopped, 0);
  };
  const ring = new TraceRing(frames, FRAME_RING, (into, slot) => {
    const { seconds, nanoseconds } = frameOf(number);
    into.set([seconds, 0, nanoseconds], slot);
    dawdle();
  });
  const clock = { ns: 0 };
  const memory = new TraceMemory(requests, 1, REQUEST_RING);
  const writer = new TraceWriter(memory, 0, 1, (into, slot) => {
    into[slot] = clock.ns;
    dawdle();
  });
  for (; Atomics.load(stopped, 0) === 0; number++) {
    const { byte, ...frame } = frameOf(number);
    const copyTo = (target: Uint8Array, offset: number, length: number) => {
      const kept = Math.min(length, frame.byteLength);
      target.fill(byte, offset, offset + kept);
      return kept;
    };
    ring.add({ ...frame, copyTo } as unknown as FilterFrame);
    const { downNs, upNs, ...request } = requestOf(number);
    const view = { slot: 0, sector: number, rangeCount: 0, ...request } as unknown as FilterRequest;
    clock.ns = downNs;
    writer.down(view);
    clock.ns = upNs;
    writer.up(view, 0);
  }
}

if (!isMainThread) write(workerData as TraceThreadSetup);
