import { type BlockFilterManager, type BlockFilterSetup, defineBlockFilter } from '../../../filter/contract.js';
import { forgetPages, type MemoryMap, mapAnonymous, unmap } from '../../../host/memory-map.js';
import { CACHE_BYTES_MAX, FILTER_BLOCK_BYTES, NUMBERED_DISK_BYTES_MAX } from '../../limits.js';
import { bytesOption } from '../parts/sizes.js';
import { CacheBlocks, type CachePlace, cacheSharedBytes, dataBytesOf, setsOf } from './blocks.js';
import { type CacheOptions, CacheQueue } from './queue.js';

interface SetupOptions extends CacheOptions {
  readonly size: number;
}

/** Data by what describes them: a cache that takes another's place, with the same description, has them too. */
const kept = new WeakMap<SharedArrayBuffer, { readonly map: MemoryMap; users: number }>();

function manageCache(setup: BlockFilterSetup<SetupOptions>): BlockFilterManager<CachePlace> {
  const { options, shared, hold, below } = setup;
  if (below.sizeBytes > NUMBERED_DISK_BYTES_MAX) throw new Error('the disk is larger than 16 TiB');
  const sets = setsOf(options.size);
  let memory = kept.get(shared);
  if (memory === undefined) {
    memory = { map: mapAnonymous(dataBytesOf(sets)), users: 0 };
    kept.set(shared, memory);
  }
  const own = memory;
  own.users++;
  const place = { address: own.map.address, sets };
  const blocks = new CacheBlocks(shared, place, 0);
  const status = () => ({ size_bytes: own.map.length, cached_bytes: blocks.count() * FILTER_BLOCK_BYTES });
  return {
    prepared: place,
    status,
    commands: {
      status,
      async drop() {
        // Nobody reads or fills meanwhile: the memory is given back.
        await hold(() => {
          blocks.changeAll();
          forgetPages(own.map.address, own.map.length);
        });
        return status();
      },
    },
    close() {
      if (--own.users > 0) return;
      kept.delete(shared);
      unmap(own.map);
    },
  };
}

/** Blocks that were read or written lately, in memory: reads of them do not reach the back end. */
export const cache = defineBlockFilter({
  name: 'cache',
  defers: true,
  options: (z) =>
    z.strictObject({
      size: bytesOption(z)
        .default(256 * 2 ** 20)
        .refine((bytes) => bytes >= 2 ** 20 && bytes <= CACHE_BYTES_MAX, 'a cache has 1MiB to 16GiB'),
      writes: z.enum(['through', 'around']).default('through'),
    }),
  counters: ['hits', 'misses', 'evictions'],
  sharedBytes: ({ options }) => cacheSharedBytes(setsOf(options.size)),
  manage: manageCache,
  // Old data stay in memory for a while.
  offers: () => ({ secureErase: false }),
  create: (context) => new CacheQueue(context),
});
