import { SidecoreError } from '../../../errors.js';
import { defineFrameFilter, type FilterFrame, type NextFrame } from '../../../filter/index.js';
import { TRACE_BYTES_MAX, TRACE_FRAMES_MAX } from '../../../limits.js';
import { traceLine } from './line.js';
import { TraceReader, TraceRing, traceBytes } from './ring.js';

/** Keeps the headers of the last frames, both ways. `dump` gives them as JSON lines, oldest first. */
export const trace = defineFrameFilter({
  name: 'trace',
  options: (z) =>
    z.strictObject({
      frames: z.int().min(1).max(TRACE_FRAMES_MAX).default(4096),
      bytes: z.int().min(14).max(TRACE_BYTES_MAX).default(96),
    }),
  counters: ['frames'],
  sharedBytes: (options) => traceBytes(options),
  manage({ options, shared }) {
    const reader = new TraceReader(shared, options);
    return {
      commands: {
        dump: ({ last }) => {
          const records = reader.read();
          const wanted = last === undefined ? records : records.slice(-requireCount(last));
          return wanted.map((record) => `${JSON.stringify(traceLine(record))}\n`).join('');
        },
      },
    };
  },
  create(context) {
    const ring = new TraceRing(context.shared, context.options, context.readWallClock);
    const frames = context.counter('frames');
    const note = (frame: FilterFrame, next: NextFrame) => {
      ring.add(frame);
      frames.add(1);
      next(frame);
    };
    return {
      outbound: (frame, next) => note(frame, next),
      inbound: (frame, next) => note(frame, next),
    };
  },
});

function requireCount(text: string): number {
  const count = Number(text);
  if (Number.isInteger(count) && count >= 1) return count;
  throw new SidecoreError('CONFIG_INVALID', `last: expects a whole number from 1, not ${text}`);
}
