import { defineBlockFilter, RequestType, Status } from 'sidecore/filter';

/** The first sectors of a disk, where the boot loader is, stay as they are. */
export default defineBlockFilter({
  name: 'guard',
  options: (z) => z.strictObject({ sectors: z.int().min(1) }),
  counters: ['refused'],
  offers: () => ({ discard: false, writeZeroes: false, secureErase: false }),
  create({ options, counter }) {
    const refused = counter('refused');
    return {
      submit(request, next) {
        if (request.type !== RequestType.OUT || request.sector >= options.sectors) return next(request);
        refused.add(1);
        request.complete(Status.IOERR);
      },
    };
  },
});
