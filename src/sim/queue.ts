import type { Account } from '../scheduler/account.js';
import { PolledQueue } from '../scheduler/polled-queues.js';
import type { PollingRule } from '../scheduler/polling.js';
import type { SimCore } from './core.js';
import type { Endpoint } from './endpoint.js';
import { Fifo } from './fifo.js';
import type { StorageKind } from './scenario.js';

/** What a queue is made of. */
export interface QueueParts {
  readonly size: number;
  /** Undefined: it takes frames. */
  readonly storage: StorageKind | undefined;
  /** Who gets what is complete, and who gets the frames that are sent. */
  readonly owner: Endpoint | undefined;
  readonly target: Endpoint | undefined;
  /** When it is polled. */
  readonly rule: PollingRule;
}

/** A virtqueue and its device, as a sidecore serves it. What waits in it is a model; who schedules it is the real scheduler. */
export class SimQueue extends PolledQueue {
  readonly storage: StorageKind | undefined;
  readonly owner: Endpoint | undefined;
  readonly target: Endpoint | undefined;
  readonly avail: Fifo;
  /** Complete, and not yet shown to the driver. */
  readonly complete: Fifo;
  /** Numbers of requests submitted so far. */
  submitted = 0;
  core!: SimCore;
  /** Nothing more is taken: it is on its way to another core. */
  override closed = false;
  override readonly passive = false;
  /** The driver is to kick at the next chain. */
  kicksWanted = false;
  /** Taken, and neither complete nor begun: in storage. */
  inStorage = 0;
  /** Bytes left of a request that is done piece by piece; it is the one that `avail` has given last. */
  begunBytes = 0;

  constructor(account: Account, { size, storage, owner, target, rule }: QueueParts) {
    super(account, undefined, rule, true, true);
    this.storage = storage;
    this.owner = owner;
    this.target = target;
    this.avail = new Fifo(size);
    this.complete = new Fifo(size);
  }

  /** A look takes time: that of the core that looks. */
  pending(): number {
    const seen = this.avail.waiting(this.core.look());
    const waiting = this.closed ? 0 : seen;
    const pending = this.begunBytes > 0 ? 1 + waiting : waiting;
    if (pending > 0) this.core.sawPending = true;
    return pending;
  }

  override poll(nowNs: number): void {
    super.poll(nowNs);
    this.kicksWanted = false;
  }

  override watch(): boolean {
    if (this.pending() > 0) return false;
    this.kicksWanted = true;
    // What comes from here on is kicked for; what has come before is seen now, after a full barrier.
    if (this.hasMore) {
      this.kicksWanted = false;
      return false;
    }
    this.polled = false;
    return true;
  }

  /** Whether there is anything in the ring, seen or not: what a look after asking for kicks finds. */
  get hasMore(): boolean {
    return this.begunBytes > 0 || !this.avail.empty;
  }

  /** Every request that was submitted was completed once, and its owner has seen that. */
  get settled(): boolean {
    const { avail, complete, owner, target } = this;
    if (this.hasMore || this.inStorage > 0 || !avail.empty || !complete.empty) return false;
    return (owner === undefined || owner.used.taken === this.submitted) && target?.used.empty !== false;
  }
}
