import { resolve } from 'node:path';
import { defineFrameFilter, type FilterFrame, type FramePort } from '../../../filter/index.js';
import { requireWritable } from '../../../host/file-faults.js';
import { CAPTURE_RING_BYTES, CAPTURE_SNAP_BYTES_MAX, MIRROR_FILE_BYTES } from '../../../limits.js';
import { captureRingBytes, Direction } from '../../../net/capture/capture-ring.js';
import { FrameCapture } from '../../../net/capture/frame-capture.js';
import { CaptureFile } from './capture-file.js';

/** Where copies go: takes one, or says that it could not. */
interface Sink {
  add(frame: FilterFrame, direction: Direction): boolean;
}

/**
 * Copies what passes to a capture file, as pcapng, until that has its size; or to another port of the daemon, as a switch's SPAN port. It
 * copies all, whatever becomes of the frames behind this filter. It never makes a frame wait: what finds no room is counted.
 */
export const mirror = defineFrameFilter({
  name: 'mirror',
  options: (z) =>
    z
      .strictObject({
        file: z.string().min(1).optional(),
        to: z.string().min(1).optional(),
        direction: z.enum(['both', 'outbound', 'inbound']).default('both'),
        snap_bytes: z.int().min(14).max(CAPTURE_SNAP_BYTES_MAX).optional(),
        max_bytes: z
          .int()
          .min(2 ** 16)
          .max(2 ** 40)
          .optional(),
      })
      .superRefine(({ file, to, snap_bytes, max_bytes }, context) => {
        const complain = (path: string[], message: string) => context.addIssue({ code: 'custom', path, message });
        if ((file === undefined) === (to === undefined)) complain([], 'mirror has either `file` or `to`');
        if (file !== undefined) return;
        for (const [key, value] of Object.entries({ snap_bytes, max_bytes }))
          if (value !== undefined) complain([key], 'only with `file`: a port gets frames as they are');
      }),
  counters: ['frames', 'dropped'],
  sharedBytes: ({ file }) => (file === undefined ? 0 : captureRingBytes(CAPTURE_RING_BYTES)),
  ports: ({ to }) => (to === undefined ? {} : { to }),
  check({ options: { file }, base }) {
    if (file !== undefined) requireWritable(resolve(base, file));
  },
  manage({ options, vm, device, base, shared, log }) {
    if (options.file === undefined) return { status: () => ({ to: options.to }) };
    const { snap_bytes: snapBytes = CAPTURE_SNAP_BYTES_MAX, max_bytes: bytesMax = MIRROR_FILE_BYTES } = options;
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
    const { direction, file, snap_bytes: snapBytes = CAPTURE_SNAP_BYTES_MAX } = context.options;
    const sink = file === undefined ? toPort(context.port('to')) : new FrameCapture(context.shared, snapBytes);
    const frames = context.counter('frames');
    const dropped = context.counter('dropped');
    const copy = (frame: FilterFrame, way: Direction) => (sink.add(frame, way) ? frames : dropped).add(1);
    const [outbound, inbound] = [direction !== 'inbound', direction !== 'outbound'];
    return {
      outbound(frame, next) {
        if (outbound) copy(frame, Direction.OUTBOUND);
        next(frame);
      },
      inbound(frame, next) {
        if (inbound) copy(frame, Direction.INBOUND);
        next(frame);
      },
    };
  },
});

const toPort = (port: FramePort): Sink => ({ add: (frame) => port.deliver(frame) });
