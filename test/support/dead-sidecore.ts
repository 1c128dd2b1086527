/** A sidecore that dies, as its queue's successor sees it: what filters knew there is gone, and what was in flight comes again. */
import { createBackend } from '../../src/block/backends/index.js';
import { createChain } from '../../src/filter/create.js';
import type { BuiltIns } from '../../src/filter/load.js';
import type { FilterRig } from './filter-rig.js';

/** Has the sidecore of a queue die now, and another take its place. What its kernel had in flight ends first. */
export function die(rig: FilterRig, index: number, builtIns: BuiltIns): void {
  const queue = rig.queues[index]!;
  const ring = queue.uring();
  while (ring !== undefined && ring.inFlight > 0) {
    ring.submit();
    ring.reap();
  }
  queue.filterDesk.remove(queue.chain);
  queue.filterMark[0] = 0;
  queue.chain = createChain(rig.filters.spec!, index, createBackend(rig.disk.spec, queue), builtIns, queue);
  for (const request of [...queue.inFlight.values()]) {
    Object.assign(request.request, { queue, progress: 0, step: 0 });
    Object.assign(request.request.view!, { operation: undefined, floor: 0 });
    queue.start(request);
  }
}
