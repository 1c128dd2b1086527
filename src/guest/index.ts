/**
 * A vhost-user client in TypeScript: a front end, guest memory, and drivers of disks (virtio-blk) and network cards (virtio-net),
 * for demonstrations, benchmarks and tests of any back end.
 *
 * @example
 * ```ts
 * import { BlockDriver, RequestType } from 'sidecore/guest';
 *
 * const disk = await BlockDriver.connect({ socket: '/run/sidecore/vm.disk0.sock', depth: 1, requestBytes: 4096 });
 * const queue = disk.queues[0]!;
 * queue.submit(0, RequestType.IN, 0, 4096);
 * queue.publish();
 * while (queue.take() < 0);
 * console.log(disk.ram.bytes.subarray(queue.dataAddress(0), queue.dataAddress(0) + 64));
 * disk.close();
 * ```
 */
export { RequestType, SECTOR_BYTES, Status } from '../block/features.js';
export { Histogram } from '../filter/histogram.js';
export { BlockDriver, type BlockDriverOptions, BlockDriverQueue } from './block-driver.js';
export { FrontEnd } from './front-end.js';
export { Load, type LoadPattern, type LoadResult } from './load.js';
export { NetDriver, type NetDriverOptions, NetRing } from './net-driver.js';
export { PackedDriver } from './packed-driver.js';
export { GuestRam } from './ram.js';
export { SplitDriver } from './split-driver.js';
