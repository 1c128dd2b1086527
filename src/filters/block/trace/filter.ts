import { defineBlockFilter } from '../../../filter/index.js';
import { TRACE_RECORDS_MAX } from '../../../limits.js';
import { TraceMemory, TraceWriter } from './memory.js';
import { TraceRecorder } from './recorder.js';

/** The next power of two. */
const sizeOf = (records: number): number => 2 ** Math.ceil(Math.log2(records));

/** Records every request, when it came and how it ended, in a ring in shared memory. */
export const trace = defineBlockFilter({
  name: 'trace',
  options: (z) =>
    z.strictObject({
      records: z.int().min(256).max(TRACE_RECORDS_MAX).default(16_384),
      recording: z.boolean().default(true),
    }),
  counters: ['recorded'],
  sharedBytes: ({ options, queues }) => TraceMemory.bytesFor(queues, sizeOf(options.records)),
  manage({ options, shared, queues, vm, device, base }) {
    const memory = new TraceMemory(shared, queues, sizeOf(options.records));
    memory.recording = options.recording;
    const recorder = new TraceRecorder(memory, { vm, device, base });
    return {
      commands: {
        start: () => recorder.start(),
        stop: () => recorder.stop(),
        export: (given) => recorder.export(given),
        follow: (given) => recorder.follow(given),
        read: (given) => recorder.read(given),
      },
      status: () => recorder.status(),
      close: () => recorder.close(),
    };
  },
  create(context) {
    const { options, shared, queue, queues, slots, readNowNs } = context;
    const writer = new TraceWriter(new TraceMemory(shared, queues, sizeOf(options.records)), queue, slots, readNowNs);
    const recorded = context.counter('recorded');
    return {
      submit(request, next) {
        if (writer.recording) {
          recorded.add(1);
          writer.down(request);
        }
        next(request);
      },
      complete(request, status) {
        writer.up(request, status);
        return status;
      },
    };
  },
});
