import { signal } from '../host/eventfd.js';
import { type CallHost, type CallPolicy, CallWait } from '../scheduler/call-wait.js';
import { QueueCounter, type QueueState } from './queue-state.js';
import type { Virtqueue } from './virtqueue.js';

/** What becomes of a queue's calls. */
export interface CallOptions {
  readonly ring: Virtqueue;
  readonly state: QueueState;
  /** Event counter; negative if the front end polls. */
  readonly callFd: number;
  /** Left out where calls never wait. */
  readonly policy?: CallPolicy | undefined;
  readonly host: CallHost;
}

/** The way of one queue's calls (interrupts) to its driver: when one is sent `CallWait` says, and how is here. */
export class CallLine extends CallWait {
  readonly #counters: Float64Array;
  readonly #fd: number;

  constructor({ ring, state, callFd, policy, host }: CallOptions) {
    super({ ring, size: state.queueSize, callable: callFd >= 0, policy, host });
    this.#counters = state.counters;
    this.#fd = callFd;
  }

  /** Calls, whatever the driver said: it may wait for a call that a dead sidecore owed it. */
  override call(): void {
    if (this.#fd < 0) return;
    this.#counters[QueueCounter.CALLS]!++;
    signal(this.#fd);
  }

  protected override countHeld(): void {
    this.#counters[QueueCounter.CALLS_HELD]!++;
  }

  protected override countSpared(): void {
    this.#counters[QueueCounter.CALLS_SPARED]!++;
  }
}
