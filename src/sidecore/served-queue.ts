import type { Account } from '../scheduler/account.js';
import { Entry } from '../scheduler/entry.js';
import { Polling, type PollingRule } from '../scheduler/polling.js';
import type { DeviceQueue } from '../virtio/device-queue.js';
import type { QueueSpec } from '../virtio/queue-spec.js';
import { QueuePhase } from '../virtio/queue-state.js';

/** A queue on its sidecore, with what polling and watching it takes. */
export class ServedQueue extends Entry {
  readonly key: number;
  readonly queue: DeviceQueue;
  /** Event counter; negative if the queue can only be polled. */
  readonly kickFd: number;
  /** Identifies the guest memory whose views the queue uses. */
  readonly memoryId: number;
  started: boolean;
  /** Whether it stays in the poll list, and how long. */
  readonly polling: Polling;
  /** In the poll list; otherwise it waits for a kick, or is being detached. */
  polled = false;
  /** When it came into the poll list, and when it last had work there, ns. */
  polledSinceNs = 0;
  lastWorkNs = 0;
  /** It had work since its idle time was looked at. */
  worked = false;
  /** The request to detach it that is waiting for its requests to finish; zero if there is none. */
  detachId = 0;

  constructor(spec: QueueSpec, queue: DeviceQueue, account: Account, rule: PollingRule) {
    super(account, queue.state.counters);
    const { key, kickFd, started } = spec;
    const memoryId = spec.memory.id;
    this.key = key;
    this.queue = queue;
    this.kickFd = kickFd;
    this.memoryId = memoryId;
    this.started = started;
    this.polling = new Polling(rule);
  }

  pending(): number {
    return this.queue.pending();
  }

  /** Marks it polled and asks the driver not to kick. */
  poll(nowNs: number): void {
    if (!this.started || !this.polled) this.queue.start();
    this.started = true;
    this.polled = true;
    this.polledSinceNs = nowNs;
    this.lastWorkNs = nowNs;
    this.worked = false;
    this.queue.ring.suppressKicks();
    this.queue.state.phase = QueuePhase.POLLED;
  }

  /** Marks it watched and asks for a kick; false if there is work already, and it must be polled on. */
  watch(): boolean {
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
