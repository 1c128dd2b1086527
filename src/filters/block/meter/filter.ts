import { defineBlockFilter, RequestType, Status } from '../../../filter/index.js';

/**
 * Counts requests, bytes and errors, and how long requests take from here down and back. Two looks at the clock are most of
 * what it costs.
 */
export const meter = defineBlockFilter({
  name: 'meter',
  options: (z) => z.strictObject({ latency: z.boolean().default(true) }),
  counters: ['reads', 'writes', 'flushes', 'others', 'bytes_read', 'bytes_written', 'errors'],
  histograms: ['latency_ns'],
  create(context) {
    const [reads, writes, flushes, others] = ['reads', 'writes', 'flushes', 'others'].map(context.counter);
    const [bytesRead, bytesWritten, errors] = ['bytes_read', 'bytes_written', 'errors'].map(context.counter);
    const latency = context.histogram('latency_ns');
    const { readNowNs } = context;
    const timed = context.options.latency;
    const started = new Float64Array(timed ? context.slots : 0);
    const now = new Float64Array(1);
    return {
      submit(request, next) {
        if (timed) readNowNs(started, request.slot);
        next(request);
      },
      complete(request, status) {
        if (timed) {
          readNowNs(now, 0);
          latency.add(now[0]! - started[request.slot]!);
        }
        const { type } = request;
        if (type === RequestType.IN) reads!.add(1);
        else if (type === RequestType.OUT) writes!.add(1);
        else if (type === RequestType.FLUSH) flushes!.add(1);
        else others!.add(1);
        if (status !== Status.OK) errors!.add(1);
        else if (type === RequestType.IN) bytesRead!.add(request.bytes);
        else if (type === RequestType.OUT) bytesWritten!.add(request.bytes);
        return status;
      },
    };
  },
});
