import { resolve } from 'node:path';
import { defineFrameFilter } from '../../../filter/index.js';
import { requireWritable } from '../../../host/file-faults.js';
import { CAPTURE_RING_BYTES, CAPTURE_SNAP_BYTES_MAX } from '../../../limits.js';
import { captureRingBytes, Direction } from '../../../net/capture/capture-ring.js';
import { FrameCapture } from '../../../net/capture/frame-capture.js';
import { CaptureFile } from './capture-file.js';

/**
 * Copies what passes to a capture file, as pcapng: all of it, whatever becomes of the frames behind this filter, until the file has its
 * size. It never makes a frame wait: what the file's writer is too slow for is counted.
 */
export const mirror = defineFrameFilter({
  name: 'mirror',
  options: (z) =>
    z.strictObject({
      file: z.string().min(1),
      direction: z.enum(['both', 'outbound', 'inbound']).default('both'),
      snap_bytes: z.int().min(14).max(CAPTURE_SNAP_BYTES_MAX).default(CAPTURE_SNAP_BYTES_MAX),
      max_bytes: z
        .int()
        .min(2 ** 16)
        .max(2 ** 40)
        .default(2 ** 30),
    }),
  counters: ['frames'],
  sharedBytes: captureRingBytes(CAPTURE_RING_BYTES),
  check: ({ options, base }) => requireWritable(resolve(base, options.file)),
  manage({ options, vm, device, base, shared, log }) {
    const { snap_bytes: snapBytes, max_bytes: bytesMax } = options;
    const label = `${vm}/${device}`;
    const file = new CaptureFile(resolve(base, options.file), shared, { label, snapBytes, bytesMax, log });
    return {
      status: () => file.status(),
      commands: {
        flush: () => {
          file.write();
          return file.status();
        },
      },
      close: () => file.close(),
    };
  },
  create(context) {
    const { direction, snap_bytes: snapBytes } = context.options;
    const capture = new FrameCapture(context.shared, snapBytes);
    const frames = context.counter('frames');
    const [outbound, inbound] = [direction !== 'inbound', direction !== 'outbound'];
    return {
      outbound(frame, next) {
        if (outbound) {
          capture.add(frame, Direction.OUTBOUND);
          frames.add(1);
        }
        next(frame);
      },
      inbound(frame, next) {
        if (inbound) {
          capture.add(frame, Direction.INBOUND);
          frames.add(1);
        }
        next(frame);
      },
    };
  },
});
