import { readdirSync, readFileSync } from 'node:fs';
import { MORE_DESCRIPTORS, SidecoreError } from '../errors.js';

/** Says clearly that this process may not open so many descriptors more. */
export function requireDescriptors(count: number): void {
  const limit = Number(/^Max open files +(\d+)/m.exec(readFileSync('/proc/self/limits', 'utf8'))?.[1] ?? Number.NaN);
  const open = readdirSync('/proc/self/fd').length;
  // An unlimited number is no number.
  if (!(open + count > limit)) return;
  throw new SidecoreError(
    'SYSTEM_CALL_FAILED',
    `too few file descriptors: ${open + count} are needed to start, the limit is ${limit}`,
    MORE_DESCRIPTORS,
  );
}
