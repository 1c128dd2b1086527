import { assert } from '../errors.js';
import type { GuestMemory } from '../guest-memory/guest-memory.js';
import { ChainLog } from './chain-log.js';
import type { InflightLog } from './inflight-log.js';
import { PackedRing } from './packed-ring.js';
import type { RingLayout } from './ring-layout.js';
import { SplitRing } from './split-ring.js';
import type { Virtqueue } from './virtqueue.js';

/**
 * The device's end of a ring, in the layout that was negotiated.
 *
 * @param resume - take over after another thread: the log says what is in flight. Otherwise the ring starts at `base` (as
 *   SET_VRING_BASE gives it) with nothing in flight; a split ring where it was used last if that is left out.
 */
export function openRing(
  layout: RingLayout,
  memory: GuestMemory,
  log: InflightLog,
  resume: boolean,
  base: number | undefined,
): Virtqueue {
  if (layout.kind === 'split') return new SplitRing(layout, memory, log, resume, base);
  assert(
    log instanceof ChainLog && base !== undefined,
    'a packed ring has a log of its chains, and says where it starts',
  );
  return new PackedRing(layout, memory, log, resume, base);
}
