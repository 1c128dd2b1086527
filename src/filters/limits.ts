/** Limits of filters of ours, with their units and reasons; those of all filters are in `src/limits.ts`. */

/** Blocks of the filters `mirror`, `cache` and `verify`, bytes: what they lock, keep and have a checksum of. */
export const FILTER_BLOCK_BYTES = 4096;
/** Locks of such blocks for one disk, which far apart blocks share: a power of two, as many as the longest range that a guest may name has blocks, times sixteen. */
export const BLOCK_LOCKS = 2 ** 16;
/**
 * Locks that are asked for in vain in one turn by what waits for them, about 20 us: a guest can have hundreds of requests wait for the
 * last of a thousand locks each. The rest waits for another turn.
 */
export const LOCKS_FAILED_MAX = 2048;
/** Pieces in which the data of writes are copied by `mirror`, `cache` and `verify`: bytes of each, and how many of one queue at once. */
export const COPY_PIECE_BYTES = 2 ** 16;
export const COPY_PIECES = 128;
/** Such pieces that are begun, and sectors of a range that are done, in one call of a hook: both take some tens of microseconds at most. */
export const COPY_PIECES_AT_ONCE = 2;
export const COPY_RANGE_SECTORS = 2 ** 12;
/** Flushes and requests with ranges that such a filter has under way at once, for one queue; its operations are counted. */
export const COPY_OTHERS = 64;
/** Regions of a mirror that its bitmap tells apart, and bytes of one: larger disks have larger ones. 16 MiB of memory at most. */
export const MIRROR_REGIONS_MAX = 2 ** 26;
export const MIRROR_REGION_BYTES = 2 ** 16;
/** Pause before a mirror's second half is tried again, ms: the first time, and at most; each time twice as long. */
export const MIRROR_RETRY_MS = 1000;
export const MIRROR_RETRY_MS_MAX = 60_000;
/** A request with more data than this passes the cache by, bytes: a guest that reads its disk once does not empty it. */
export const CACHE_REQUEST_BYTES_MAX = 2 ** 18;
/** Reads of one queue that are on their way into the cache at once, each in a buffer of that size; others pass it by. */
export const CACHE_READS = 128;
/** Memory of a cache, bytes: what its shared memory has room to describe. */
export const CACHE_BYTES_MAX = 2 ** 34;
/** Largest disk whose blocks are kept or have checksums, bytes: their numbers have 32 bits. */
export const NUMBERED_DISK_BYTES_MAX = 2 ** 44 - FILTER_BLOCK_BYTES;
/** How often a read that a write has overtaken is read again to be checked. */
export const VERIFY_READS_MAX = 8;
/** Data of a read that are checked when it comes back, bytes: checking takes 0.2 ns a byte. Longer ones are done by pieces. */
export const VERIFY_READ_BYTES_MAX = 2 ** 17;
/** Places of damage that `status` lists. */
export const VERIFY_PLACES_MAX = 32;
