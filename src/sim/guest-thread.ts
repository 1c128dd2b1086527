import type { Costs } from './costs.js';
import { type Cpu, Rest, SimThread } from './cpu.js';
import type { Endpoint } from './endpoint.js';
import type { Simulation } from './simulation.js';

/** Completions that a guest handles before it shows what follows and the next guest has its turn: the built-in load's figure. */
const BATCH_MAX = 16;

type Phase = 'look' | 'handle' | 'publish' | 'armed';

/** A thread that drives guests, in turn: one of a virtual machine's own, or the one of a benchmark with many. */
export class GuestThread extends SimThread {
  readonly endpoints: Endpoint[] = [];
  /** Its guests submit nothing more, but answer what they are asked. */
  stopped = false;
  /** Time in which something was done for guests, ns. */
  busyNs = 0;
  readonly #costs: Costs;
  readonly #sleeps: boolean;
  #phase: Phase = 'look';
  #next = 0;
  #found = false;
  /** What is to be submitted for the guest that is handled: what each is measured from, ns. */
  readonly #since: number[] = [];
  /** When it last looked in vain, and from then on, again and again. */
  #polledFrom = 0;

  constructor(sim: Simulation, cpu: Cpu, costs: Costs, sleeps: boolean) {
    super(sim, cpu, costs.guestSleepNs);
    this.#costs = costs;
    this.#sleeps = sleeps;
  }

  add(endpoint: Endpoint): void {
    endpoint.thread = this;
    this.endpoints.push(endpoint);
  }

  /** Something that comes for an endpoint will be seen from a time on. */
  expect(endpoint: Endpoint, visibleAt: number): void {
    if (!this.polling) return;
    const index = this.endpoints.indexOf(endpoint);
    const round = this.endpoints.length * this.#costs.lookNs;
    const first = this.#polledFrom + (index + 1) * this.#costs.lookNs;
    const time = first + Math.max(0, Math.ceil((visibleAt - first) / round)) * round;
    if (this.poke(time)) this.#next = index;
  }

  hasDue(endpoint: Endpoint): void {
    if (this.sleeping) this.wake();
    else this.expect(endpoint, this.sim.now);
  }

  protected step(): number {
    switch (this.#phase) {
      case 'look':
        return this.#look();
      case 'handle':
        return this.#handle();
      case 'publish':
        return this.#publish();
      case 'armed':
        // A full barrier: what is complete is seen now, or the device sees the wish to be called.
        if (this.endpoints.some(({ used, due }) => !used.empty || due > 0)) return this.#lookAgain();
        this.#phase = 'look';
        return Rest.SLEEP;
    }
  }

  protected override polled(): void {
    this.#polledFrom = this.sim.now;
    for (const endpoint of this.endpoints) {
      if (endpoint.due > 0) this.expect(endpoint, this.sim.now);
      else if (!endpoint.used.empty) this.expect(endpoint, endpoint.used.visibleAt);
    }
  }

  #lookAgain(): number {
    this.#phase = 'look';
    return 0;
  }

  #look(): number {
    let ns = 0;
    while (this.#next < this.endpoints.length) {
      ns += this.#costs.lookNs;
      if (this.endpoints[this.#next]!.hasWork(this.sim.now + ns)) {
        this.#found = true;
        this.#phase = 'handle';
        return ns;
      }
      this.#next++;
    }
    this.#next = 0;
    const found = this.#found;
    this.#found = false;
    if (found) return ns;
    if (!this.#sleeps) return Rest.POLL;
    for (const endpoint of this.endpoints) endpoint.requestCalls();
    this.#phase = 'armed';
    return ns + this.endpoints.length * this.#costs.armNs;
  }

  #handle(): number {
    const { now, random } = this.sim;
    const endpoint = this.endpoints[this.#next]!;
    const { batchNs, completionNs, jitter } = this.#costs;
    let count = 0;
    this.#since.length = 0;
    while (endpoint.due > 0 && count < BATCH_MAX) {
      endpoint.due--;
      count++;
      this.#since.push(now);
    }
    while (count < BATCH_MAX && endpoint.used.waiting(now) > 0) {
      count++;
      if (endpoint.take(now)) this.#since.push(endpoint.role.answers ? endpoint.used.since : now);
    }
    this.#phase = 'publish';
    const ns = (batchNs + count * completionNs) * random.between(1 - jitter, 1 + jitter);
    this.busyNs += ns;
    return ns;
  }

  #publish(): number {
    const endpoint = this.endpoints[this.#next++]!;
    this.#phase = 'look';
    const ns = this.submit(endpoint, this.#since);
    this.busyNs += ns;
    return ns;
  }

  /** Shows the device requests, and kicks it if it wants that. Returns how long a kick takes, ns. */
  submit(endpoint: Endpoint, since: readonly number[]): number {
    const { queue, guest, tally } = endpoint;
    if (since.length === 0 || queue === undefined) return 0;
    const { now } = this.sim;
    const visibleAt = now + this.#costs.visibleNs;
    for (const from of since) queue.avail.push(visibleAt, from, guest.bytes, queue.submitted++);
    if (!endpoint.role.answers) tally.submitted += since.length;
    if (!queue.kicksWanted) {
      queue.core.expect(queue, visibleAt);
      return 0;
    }
    queue.kicksWanted = false;
    tally.countKick(now);
    return queue.core.kick(queue);
  }

  /** Begins the load: every guest submits all that it has in flight. */
  begin(): void {
    for (const endpoint of this.endpoints)
      if (endpoint.role.submits && !endpoint.role.answers) endpoint.due = endpoint.guest.depth;
    this.start();
  }
}
