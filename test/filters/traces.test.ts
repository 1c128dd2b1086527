/** Traces that are read while they are written, and come round again and again meanwhile: what is shown is whole. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { it } from 'node:test';
import { Worker } from 'node:worker_threads';
import { FrameDirection, type FrameFilterSetup } from '../../src/filter/frame-contract.js';
import { TraceMemory } from '../../src/filters/block/trace/memory.js';
import { TraceReader } from '../../src/filters/block/trace/reader.js';
import { trace as frameTrace } from '../../src/filters/net/trace/filter.js';
import { traceBytes } from '../../src/filters/net/trace/ring.js';
import { NEEDS_TWO_CPUS } from '../vhost-user/test-daemon.js';
import { FRAME_RING, frameOf, REQUEST_RING, requestOf, type TraceThreadSetup } from './trace-thread.js';

/** Frames and requests that were overwritten while they were read, at least. */
const LOST_MIN = 200;
const DUMPS_MIN = 200;

function isWholeFrame(line: Record<string, unknown>): void {
  const { seconds, nanoseconds, direction, byteLength, vlan, byte } = frameOf(line['number'] as number);
  const time = `${new Date(seconds * 1000).toISOString().slice(0, 19)}.${String(nanoseconds).padStart(9, '0')}Z`;
  const head = Buffer.alloc(Math.min(byteLength, FRAME_RING.bytes), byte).toString('hex');
  const expected = [time, direction === FrameDirection.OUTBOUND ? 'outbound' : 'inbound', byteLength, vlan, head];
  const { time: shown, direction: way, bytes, vlan: tag, head: kept } = line;
  assert.deepEqual([shown, way, bytes, tag, kept], expected);
}

it('traces of frames and of requests are whole', { skip: NEEDS_TWO_CPUS, timeout: 30_000 }, async () => {
  const frames = new SharedArrayBuffer(traceBytes(FRAME_RING));
  const requests = new SharedArrayBuffer(TraceMemory.bytesFor(1, REQUEST_RING));
  const stop = new SharedArrayBuffer(4);
  const workerData = { frames, requests, stop } satisfies TraceThreadSetup;
  const thread = new Worker(new URL('./trace-thread.js', import.meta.url), { workerData });
  const ended = once(thread, 'exit');
  const setup = { options: FRAME_RING, shared: frames } as unknown as FrameFilterSetup<never>;
  const { dump } = frameTrace.manage!(setup).commands!;
  const memory = new TraceMemory(requests, 1, REQUEST_RING);
  const reader = new TraceReader(memory);
  let dumps = 0;
  let missing = 0;
  let lastFrame = -1;
  let lastRequest = -1;
  const lookAtFrames = () => {
    const lines = (dump!({}) as string).split('\n').filter(Boolean);
    if (lines.length === 0) return;
    dumps++;
    missing += FRAME_RING.frames - lines.length;
    let before = -1;
    for (const text of lines) {
      const line = JSON.parse(text) as Record<string, unknown>;
      isWholeFrame(line);
      const number = line['number'] as number;
      assert.ok(number > before);
      before = number;
    }
    lastFrame = Math.max(lastFrame, before);
  };
  const lookAtRequests = () =>
    reader.read(1e6, Number.POSITIVE_INFINITY, true, ({ sector, type, bytes, durable, downNs, upNs, status }) => {
      const expected = requestOf(sector);
      assert.deepEqual({ type, bytes, durable, downNs, upNs: status === undefined ? expected.upNs : upNs }, expected);
      assert.ok(sector > lastRequest);
      assert.ok(status === undefined || status === 0);
      lastRequest = sector;
    });
  try {
    while (dumps < DUMPS_MIN || missing < LOST_MIN || reader.lost < LOST_MIN) {
      lookAtFrames();
      lookAtRequests();
      await new Promise(setImmediate);
    }
  } finally {
    Atomics.store(new Int32Array(stop), 0, 1);
    await ended;
  }
  lookAtFrames();
  lookAtRequests();
  assert.equal(lastFrame, lastRequest, 'all that was written is there in the end');
  assert.equal(reader.records + reader.lost, lastRequest + 1);
});
