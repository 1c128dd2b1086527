import type { Actor } from './event-queue.js';
import type { SimQueue } from './queue.js';
import type { Scenario } from './scenario.js';
import type { Simulation } from './simulation.js';

/** Storage behind files: does some requests at once, each in a time of its own, log-normally distributed. */
export class SimStorage implements Actor {
  readonly id: number;
  readonly #sim: Simulation;
  readonly #medianNs: number;
  readonly #sigma: number;
  /** When each of its places is free, ns. */
  readonly #free: Float64Array;
  /** Requests in it, by number. */
  readonly #requests: { queue: SimQueue; since: number; bytes: number; number: number }[] = [];
  readonly #unused: number[] = [];
  /** Finished, in the order in which that happened, for each queue. */
  readonly #finished = new Map<SimQueue, number[]>();

  constructor(sim: Simulation, { fileNs, fileSigma, fileParallel }: Scenario) {
    this.id = sim.nextId();
    this.#sim = sim;
    this.#medianNs = fileNs;
    this.#sigma = fileSigma;
    this.#free = new Float64Array(fileParallel);
  }

  submit(queue: SimQueue, since: number, bytes: number, number: number): void {
    const slot = this.#unused.pop() ?? this.#requests.length;
    this.#requests[slot] = { queue, since, bytes, number };
    let place = 0;
    for (let i = 1; i < this.#free.length; i++) if (this.#free[i]! < this.#free[place]!) place = i;
    const begin = Math.max(this.#sim.now, this.#free[place]!);
    const end = begin + this.#sim.random.logNormal(this.#medianNs, this.#sigma);
    this.#free[place] = end;
    this.#sim.at(end, this, 0, slot);
  }

  act(_code: number, slot: number): void {
    const { queue } = this.#requests[slot]!;
    const list = this.#finished.get(queue);
    if (list === undefined) this.#finished.set(queue, [slot]);
    else list.push(slot);
    queue.core.finished(queue);
  }

  /** Takes what was finished first of a queue's, into what is complete. */
  take(queue: SimQueue): void {
    const slot = this.#finished.get(queue)!.shift()!;
    const { since, bytes, number } = this.#requests[slot]!;
    this.#unused.push(slot);
    queue.complete.push(0, since, bytes, number);
  }
}
