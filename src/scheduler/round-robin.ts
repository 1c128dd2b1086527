import { BATCH_BYTES_MAX, BATCH_REQUESTS_MAX } from '../limits.js';
import type { Policy, Turn } from './policy.js';

/** One after the other, each a batch: the control against which the others are measured. */
export class RoundRobinPolicy implements Policy {
  beginRound(): void {}

  begin(): void {}

  charge(): void {}

  admits(): boolean {
    return true;
  }

  goesOn(_entry: unknown, { items, bytes }: Turn): boolean {
    return items < BATCH_REQUESTS_MAX && bytes < BATCH_BYTES_MAX;
  }

  yields(): boolean {
    return false;
  }

  rescues(): boolean {
    return false;
  }

  resumes(): boolean {
    return false;
  }
}
