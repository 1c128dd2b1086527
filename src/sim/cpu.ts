import { type Costs, refillNs } from './costs.js';
import type { Actor } from './event-queue.js';
import type { Simulation } from './simulation.js';
import { WakeCurve } from './wake-curve.js';

/** What a step gives instead of the time that it takes. */
export const Rest = {
  /** Nothing to do: looks on, in vain, until `poke`. Keeps the CPU. */
  POLL: -1,
  /** Sleeps until `wake`. */
  SLEEP: -2,
} as const;

const Code = { STEP: 0, SLICE: 1 } as const;
type State = 'running' | 'polling' | 'ready' | 'sleeping';

/**
 * A thread of the operating system. It works in steps: each looks at the world at its begin, takes some time of its CPU, and what
 * it did is seen by others when the next begins, or at a time that it plans itself.
 */
export abstract class SimThread implements Actor {
  readonly id: number;
  readonly sim: Simulation;
  readonly cpu: Cpu;
  /** Time asleep so far, ns. */
  asleepNs = 0;
  /** Which of its CPU's changes of threads its last was. The CPU's. */
  change = -1;
  #state: State = 'ready';
  /** What is planned with another number is not meant any more. */
  #planned = 0;
  /** Was woken while it was awake: its next sleep ends at once. */
  #signalled = false;
  #sleptAt = 0;
  /** The time for which it was poked, while it polls in vain. */
  #pokedFor = Number.POSITIVE_INFINITY;

  readonly #fallNs: number;

  /** @param fallNs - CPU time in which it goes to sleep, where that is not part of a time of rest */
  constructor(sim: Simulation, cpu: Cpu, fallNs: number) {
    this.#fallNs = fallNs;
    this.id = sim.nextId();
    this.sim = sim;
    this.cpu = cpu;
  }

  /** Does something; returns how long it takes, ns, or a `Rest`. */
  protected abstract step(): number;

  get sleeping(): boolean {
    return this.#state === 'sleeping';
  }

  get polling(): boolean {
    return this.#state === 'polling';
  }

  start(): void {
    this.cpu.enter(this);
  }

  /** Ends a time of polling in vain: goes on at a time. False if it does not poll, or goes on earlier anyway. */
  poke(time: number): boolean {
    if (this.#state !== 'polling' || this.#pokedFor <= time) return false;
    this.#pokedFor = time;
    this.#plan(time);
    return true;
  }

  /** Has it go on if it sleeps; if it does not, its next sleep ends at once. Returns what that takes him who does it, ns. */
  wake(): number {
    if (this.#state !== 'sleeping') {
      this.#signalled = true;
      return 0;
    }
    this.asleepNs += this.sim.now - this.#sleptAt;
    this.#state = 'ready';
    return this.cpu.enter(this);
  }

  act(_code: number, planned: number): void {
    if (planned !== this.#planned) return;
    if (this.cpu.takeAway(this)) {
      this.#state = 'ready';
      return;
    }
    this.#state = 'running';
    const ns = this.step();
    if (ns >= 0) return this.#plan(this.sim.now + ns);
    if (ns === Rest.POLL) {
      this.#pokedFor = Number.POSITIVE_INFINITY;
      this.#planned++;
      this.#state = 'polling';
      this.cpu.watchSlice();
      return this.polled();
    }
    if (this.#signalled) {
      this.#signalled = false;
      return this.#plan(this.sim.now + this.#fallNs);
    }
    this.#planned++;
    this.#state = 'sleeping';
    this.#sleptAt = this.sim.now;
    this.cpu.leave(this, this.#fallNs);
  }

  /** Looks whether there is a time already at which its polling will find something. */
  protected polled(): void {}

  /** The CPU is its own from a time on. The CPU's. */
  given(time: number): void {
    this.#plan(time);
  }

  #plan(time: number): void {
    this.#planned = (this.#planned + 1) | 0;
    this.sim.at(time, this, Code.STEP, this.#planned);
  }
}

/** A CPU, and the threads that have to share it: one after the other, each until it sleeps or its slice is over. */
export class Cpu implements Actor {
  readonly id: number;
  readonly #sim: Simulation;
  readonly #costs: Costs;
  readonly #ready: SimThread[] = [];
  current: SimThread | undefined;
  #sliceEnd = 0;
  /** Threads that have had it, and how often another had it than before; and which was the last. */
  #threads = 0;
  #changes = 0;
  #last: SimThread | undefined;
  /** When its last thread began to go to sleep, ns. */
  #idleFrom = 0;
  readonly #curve: WakeCurve;

  constructor(sim: Simulation, costs: Costs) {
    this.#curve = new WakeCurve(costs.wakes);
    this.id = sim.nextId();
    this.#sim = sim;
    this.#costs = costs;
  }

  /** A thread wants to run. Returns what it takes him who has woken it, ns. */
  enter(thread: SimThread): number {
    if (this.current !== undefined) {
      this.#ready.push(thread);
      this.watchSlice();
      return this.#costs.wakeNs;
    }
    this.#curve.draw(this.#sim.now - this.#idleFrom, this.#sim.random.share());
    this.#give(thread, this.#curve.latencyNs);
    return this.#curve.wakingNs;
  }

  /** A thread begins to go to sleep. @param fallNs - how long that takes it, if another goes on */
  leave(thread: SimThread, fallNs: number): void {
    if (this.current === thread) this.#next(fallNs);
  }

  /** Before a step: whether the thread's slice is over and others want to run; then it has its turn after them. */
  takeAway(thread: SimThread): boolean {
    if (this.#ready.length === 0 || this.#sim.now < this.#sliceEnd) return false;
    this.#ready.push(thread);
    this.#next(0);
    return true;
  }

  /** Has one that polls in vain give way at the end of its slice. */
  watchSlice(): void {
    if (this.#ready.length === 0 || this.current?.polling !== true) return;
    this.#sim.at(Math.max(this.#sim.now, this.#sliceEnd), this, Code.SLICE);
  }

  act(): void {
    if (this.#ready.length > 0 && this.current?.polling && this.#sim.now >= this.#sliceEnd)
      this.current.poke(this.#sim.now);
  }

  #next(fallNs: number): void {
    this.current = undefined;
    const next = this.#ready.shift();
    if (next !== undefined) this.#give(next, fallNs + this.#costs.switchNs);
    else this.#idleFrom = this.#sim.now;
  }

  #give(thread: SimThread, afterNs: number): void {
    this.current = thread;
    const time = this.#sim.now + afterNs + this.#refillNs(thread);
    this.#sliceEnd = time + this.#costs.sliceNs;
    thread.given(time);
  }

  /** What it takes a thread that its caches have been others' meanwhile, ns. */
  #refillNs(thread: SimThread): number {
    if (this.#last === thread) return 0;
    this.#last = thread;
    if (thread.change < 0) this.#threads++;
    const others = thread.change < 0 ? 0 : Math.min(this.#threads - 1, this.#changes - thread.change);
    thread.change = ++this.#changes;
    return refillNs(this.#costs, others);
  }
}
