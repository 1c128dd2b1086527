import type { Account } from '../scheduler/account.js';
import { PolledQueue } from '../scheduler/polled-queues.js';
import type { PollingRule } from '../scheduler/polling.js';
import type { DeviceQueue } from '../virtio/device-queue.js';
import type { QueueSpec } from '../virtio/queue-spec.js';
import { QueuePhase } from '../virtio/queue-state.js';

/** A queue on its sidecore, with what polling and watching it takes. */
export class ServedQueue extends PolledQueue {
  readonly key: number;
  readonly queue: DeviceQueue;
  /** Its number in its device. */
  readonly index: number;
  /** Event counter; negative if the queue can only be polled. */
  readonly kickFd: number;
  /** Identifies the guest memory whose views the queue uses. */
  readonly memoryId: number;
  /** The request to detach it that is waiting for its requests to finish; zero if there is none. */
  detachId = 0;

  constructor(spec: QueueSpec, queue: DeviceQueue, account: Account, rule: PollingRule) {
    const { key, kickFd, started } = spec;
    super(account, queue.state.counters, rule, kickFd >= 0, started);
    this.key = key;
    this.queue = queue;
    this.index = spec.index;
    this.kickFd = kickFd;
    this.memoryId = spec.memory.id;
  }

  pending(): number {
    return this.queue.pending();
  }

  override get closed(): boolean {
    return this.queue.closed;
  }

  override get passive(): boolean {
    return this.queue.passive;
  }

  /** Marks it polled and asks the driver not to kick. */
  override poll(nowNs: number): void {
    if (!this.started || !this.polled) this.queue.start();
    super.poll(nowNs);
    this.queue.ring.suppressKicks();
    this.queue.state.phase = QueuePhase.POLLED;
  }

  /** Marks it watched and asks for a kick; false if there is work already, and it must be polled on. */
  override watch(): boolean {
    // What was begun wants to be gone on with, whether or not there is more.
    if (this.queue.pending() > 0) return false;
    if (this.queue.ring.requestKicks()) {
      this.queue.ring.suppressKicks();
      return false;
    }
    this.polled = false;
    this.queue.state.phase = QueuePhase.WATCHED;
    return true;
  }
}
