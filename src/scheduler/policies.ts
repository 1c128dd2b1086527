import { ElvisPolicy } from './elvis.js';
import { FairPolicy } from './fair.js';
import type { Policy, SchedulerOptions } from './policy.js';
import { RoundRobinPolicy } from './round-robin.js';

export function createPolicy(options: SchedulerOptions): Policy {
  switch (options.policy) {
    case 'fair':
      return new FairPolicy(options);
    case 'elvis':
      return new ElvisPolicy(options);
    case 'round-robin':
      return new RoundRobinPolicy();
  }
}
