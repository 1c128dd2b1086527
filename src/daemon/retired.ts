import { setTimeout as sleep } from 'node:timers/promises';
import { type IoUringHandles, retireIoUring } from '../host/io-uring.js';

/** How long a replacement waits for the kernel to finish what the dead thread had started, and how often it looks, ms. */
const RETIRE_MS_MAX = 10_000;
const RETIRE_LOOK_MS = 1;

/** Waits until the kernel has finished what a dead thread had started; false if that does not happen. */
export async function retired(uring: IoUringHandles | undefined): Promise<boolean> {
  const deadline = performance.now() + RETIRE_MS_MAX;
  while (uring !== undefined && !retireIoUring(uring, 0)) {
    if (performance.now() > deadline) return false;
    await sleep(RETIRE_LOOK_MS);
  }
  return true;
}
