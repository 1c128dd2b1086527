import { isAbsolute, join } from 'node:path';
import type { BackendOptions } from '../../../block/backends/index.js';
import { defineBlockFilter } from '../../../filter/contract.js';
import { backendOption, bytesOption } from '../parts/sizes.js';
import { checkMirror, manageMirror } from './manager.js';
import { MirrorQueue } from './queue.js';
import { regionBytesOf } from './regions.js';
import { mirrorSharedBytes } from './state.js';

/** What is written goes to a second back end too, and the guest is answered when both have it. */
export const mirror = defineBlockFilter({
  name: 'mirror',
  defers: true,
  options: (z) =>
    z.strictObject({
      to: backendOption(z),
      bitmap: z.string().min(1).optional(),
      resync_rate: bytesOption(z).default(64 * 2 ** 20),
      read_failover: z.boolean().default(false),
    }),
  counters: ['mirrored_writes', 'single_writes', 'second_errors', 'failed_over_reads', 'resynced_bytes'],
  sharedBytes: ({ below: { sizeBytes } }) => mirrorSharedBytes(sizeBytes, regionBytesOf(sizeBytes)),
  disks({ to }, { base, below }): { to: BackendOptions } {
    const size = to.size ?? below.sizeBytes;
    if (to.type === 'memory') return { to: { ...to, size } };
    return { to: { ...to, size, path: isAbsolute(to.path) ? to.path : join(base, to.path) } };
  },
  check: checkMirror,
  manage: manageMirror,
  offers: (below, _options, prepared) => ({
    discard: below.discard && prepared.discard,
    writeZeroes: below.writeZeroes && prepared.writeZeroes,
    secureErase: false,
  }),
  create: (context) => new MirrorQueue(context),
});
