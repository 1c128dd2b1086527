import { assert } from '../errors.js';
import { CallLine } from './call-line.js';
import type { Actor } from './event-queue.js';
import { Fifo } from './fifo.js';
import type { GuestThread } from './guest-thread.js';
import type { SimQueue } from './queue.js';
import type { GuestClass } from './scenario.js';
import type { Simulation } from './simulation.js';
import type { Tally } from './tally.js';

/** What comes of a completion: what a guest does with it. */
export interface Role {
  /** Another request follows. */
  readonly submits: boolean;
  /** It ends a request of the guest's. */
  readonly counts: boolean;
  /** The request that follows belongs to the one that has come: an answer. */
  readonly answers: boolean;
  /** Completions come in the order of the requests; or do, but some are lost; or in any order. */
  readonly order: 'each' | 'some' | 'any';
}

/** A guest's end of a ring: what is complete for it, and what it does then. */
export class Endpoint implements Actor {
  readonly id: number;
  readonly guest: GuestClass;
  readonly role: Role;
  readonly tally: Tally;
  /** What has come for it. */
  readonly used: Fifo;
  thread!: GuestThread;
  /** Where its requests go. */
  queue: SimQueue | undefined;
  /** It is to be called when the completion of this number is shown; before all that were shown if it polls. */
  usedEvent = -1;
  readonly calls: CallLine;
  /** Requests whose time to be submitted has come. */
  due = 0;
  readonly #sim: Simulation;
  #expected = 0;

  /**
   * @param size - completions that it has room for
   * @param ringSize - of its ring
   */
  constructor(sim: Simulation, guest: GuestClass, role: Role, tally: Tally, size: number, ringSize: number) {
    this.id = sim.nextId();
    this.#sim = sim;
    this.guest = guest;
    this.role = role;
    this.tally = tally;
    this.used = new Fifo(size);
    this.calls = new CallLine(this, ringSize);
  }

  /** Whether its thread finds something to do in it at a time, ns. */
  hasWork(now: number): boolean {
    return this.due > 0 || this.used.waiting(now) > 0;
  }

  /** Asks to be called at the next completion. */
  requestCalls(): void {
    this.usedEvent = this.used.taken;
  }

  /** Takes a completion. Returns true if a request follows at once. */
  take(now: number): boolean {
    const { used, role, tally } = this;
    used.take();
    if (role.order === 'each') assert(used.number === this.#expected, 'a completion is out of its order');
    if (role.order === 'some') assert(used.number >= this.#expected, 'a frame is out of its order');
    this.#expected = used.number + 1;
    if (role.counts) tally.count(now, now - used.since, used.bytes);
    if (!role.submits || (this.thread.stopped && !role.answers)) return false;
    if (this.guest.thinkNs === 0) return true;
    this.#sim.at(now + this.#sim.random.exponential(this.guest.thinkNs), this, 0);
    return false;
  }

  /** The time between a completion and the next request is over. */
  act(): void {
    if (this.thread.stopped) return;
    this.due++;
    this.thread.hasDue(this);
  }
}
