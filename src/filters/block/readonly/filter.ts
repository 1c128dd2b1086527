import { defineBlockFilter, RequestType, Status } from '../../../filter/index.js';

/** Nothing changes the disk: everything but reads and flushes fails. VIRTIO 1.3, 5.2.6.2 */
export const readonly = defineBlockFilter({
  name: 'readonly',
  counters: ['refused'],
  offers: () => ({ readOnly: true }),
  create(context) {
    const refused = context.counter('refused');
    return {
      submit(request, next) {
        const { type } = request;
        if (type === RequestType.IN || type === RequestType.FLUSH) return next(request);
        refused.add(1);
        request.complete(Status.IOERR);
      },
    };
  },
});
