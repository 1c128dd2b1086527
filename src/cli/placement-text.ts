import type { Config } from '../daemon/config.js';
import { SCHEDULER_DEFAULTS } from '../scheduler/policy.js';

/** Of how sidecores are used and share their time, what is not as by default. */
export function placementText({ cores, cores_min: coresMin = cores.length, scheduler: { policy } }: Config): string {
  const fewest = coresMin < cores.length ? ` (at least ${coresMin} in use)` : '';
  return `${fewest}${policy === SCHEDULER_DEFAULTS.policy ? '' : `, policy ${policy}`}`;
}
