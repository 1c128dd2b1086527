import { Balancer } from '../scheduler/balancer.js';
import { ScheduleCounter } from '../scheduler/counters.js';
import { Elastic } from '../scheduler/elastic.js';
import type { SimCore } from './core.js';
import type { Actor } from './event-queue.js';
import type { SimQueue } from './queue.js';
import type { Simulation } from './simulation.js';
import type { Tally } from './tally.js';

const Code = { WINDOW: 0, ARRIVE: 1 } as const;
/** From the end of a queue's service on one core until it is served on the other, ns: messages between threads. */
const MOVE_NS = 1e6;

/** What moves as one: the queues of a device, and who has what they did. */
export interface Unit {
  readonly queues: readonly SimQueue[];
  readonly tally: Tally;
}

/** Moves queues between sidecores, and takes sidecores into use and out of it, by the real decisions. Its rounds are shorter than the daemon's. */
export class Controller implements Actor {
  readonly id: number;
  /** Units moved so far. */
  moves = 0;
  readonly #sim: Simulation;
  readonly #cores: readonly SimCore[];
  readonly #units: readonly Unit[];
  readonly #windowNs: number;
  readonly #balancer = new Balancer();
  readonly #elastic: Elastic;
  /** Those in use, by place in `cores`. */
  readonly #inUse: Set<number>;
  /** Where each unit is, and where it is on its way to. */
  readonly #places: number[];
  readonly #moving = new Map<number, number>();
  /** As of the last window: time of each unit, busy time of each core, requests of all. */
  readonly #times: number[];
  readonly #busy: number[];
  #requests = 0;
  /** Time that cores were in use, ns. */
  #usedNs = 0;

  /** @param coresMin - the fewest that are in use, at least one */
  constructor(sim: Simulation, cores: readonly SimCore[], units: readonly Unit[], windowNs: number, coresMin: number) {
    this.id = sim.nextId();
    this.#sim = sim;
    this.#cores = cores;
    this.#units = units;
    this.#windowNs = windowNs;
    this.#elastic = new Elastic(coresMin, cores.length);
    this.#inUse = new Set(cores.keys());
    this.#places = units.map(({ queues }) => cores.indexOf(queues[0]!.core));
    this.#times = units.map(() => 0);
    this.#busy = cores.map(() => 0);
    sim.at(sim.now + windowNs, this, Code.WINDOW);
  }

  /** Cores in use, on the average since the start. */
  get coresUsed(): number {
    return this.#usedNs / Math.max(1, this.#sim.now);
  }

  act(code: number, unit: number): void {
    if (code === Code.ARRIVE) return this.#arrive(unit);
    this.#window();
    this.#sim.at(this.#sim.now + this.#windowNs, this, Code.WINDOW);
  }

  #window(): void {
    this.#usedNs += this.#inUse.size * this.#windowNs;
    const work = this.#cores.map(({ busyNs }, i) => {
      const ns = busyNs - this.#busy[i]!;
      this.#busy[i] = busyNs;
      return ns;
    });
    const requests = this.#units.reduce((sum, { tally }) => sum + tally.completed, 0);
    const rate = (1e9 * (requests - this.#requests)) / this.#windowNs;
    this.#requests = requests;
    const cores = this.#inUse.size;
    const sum = work.reduce((total, ns) => total + ns, 0);
    const decision = this.#elastic.decide({ cores, work: sum / this.#windowNs, cpu: cores, rate });
    if (decision !== undefined) this.#resize(decision.cores, work);
    const movables = this.#units.map(({ queues }, id) => {
      const total = queues.reduce((time, { counters }) => time + counters[ScheduleCounter.TIME_NS]!, 0);
      const ns = total - this.#times[id]!;
      this.#times[id] = total;
      return { id, core: this.#moving.get(id) ?? this.#places[id]!, ns };
    });
    const usable = [...this.#inUse].sort((a, b) => a - b).map((core) => ({ core, fixedNs: 0 }));
    for (const { id, to } of this.#balancer.plan(movables, usable, this.#windowNs)) this.#move(id, to);
  }

  #resize(cores: number, work: readonly number[]): void {
    for (let core = 0; this.#inUse.size < cores; core++) this.#inUse.add(core);
    while (this.#inUse.size > cores) {
      const least = [...this.#inUse].reduce((a, b) => (work[b]! <= work[a]! ? b : a));
      this.#inUse.delete(least);
    }
  }

  /** Its core lets go of it once nothing of it is under way. */
  #move(unit: number, to: number): void {
    if (this.#moving.has(unit) || this.#places[unit] === to) return;
    this.#moving.set(unit, to);
    const { queues } = this.#units[unit]!;
    let left = queues.length;
    for (const queue of queues)
      queue.core.detach(queue, () => {
        if (--left === 0) this.#sim.at(this.#sim.now + MOVE_NS, this, Code.ARRIVE, unit);
      });
  }

  #arrive(unit: number): void {
    const to = this.#moving.get(unit)!;
    this.#moving.delete(unit);
    this.#places[unit] = to;
    this.moves++;
    for (const queue of this.#units[unit]!.queues) this.#cores[to]!.attach(queue, true);
  }
}
