import { assert } from '../errors.js';
import { Account } from '../scheduler/account.js';
import { ScheduleCounter } from '../scheduler/counters.js';
import { POLLING_RULES, type PollingRule } from '../scheduler/polling.js';
import { Controller, type Unit } from './controller.js';
import { SimCore } from './core.js';
import { type Costs, DEFAULT_COSTS } from './costs.js';
import { Cpu } from './cpu.js';
import { Endpoint, type Role } from './endpoint.js';
import { GuestThread } from './guest-thread.js';
import { SimQueue } from './queue.js';
import { classResults, counted, type GuestRecord, guestResult, type Result, timesOf } from './result.js';
import type { GuestClass, Scenario } from './scenario.js';
import { Simulation } from './simulation.js';
import { SimStorage } from './storage.js';
import { Tally } from './tally.js';

const DISK: Role = { submits: true, counts: true, answers: false, order: 'each' };
const SENDER: Role = { submits: true, counts: false, answers: false, order: 'each' };
const RECEIVER: Role = { submits: false, counts: true, answers: false, order: 'some' };
const ANSWERER: Role = { submits: true, counts: false, answers: true, order: 'each' };

/** Time after a run in which what is in flight has to complete, ns, in so many steps. */
const SETTLE_NS = 1e6;
const SETTLE_STEPS = 10_000;

type MakeEndpoint = (role: Role, size?: number) => Endpoint;

/** Everything of one run. */
class Run {
  readonly sim: Simulation;
  readonly cores: SimCore[] = [];
  readonly threads: GuestThread[] = [];
  readonly records: GuestRecord[] = [];
  controller: Controller | undefined;
  readonly #units: Unit[] = [];
  readonly #scenario: Scenario;
  readonly #costs: Costs;
  readonly #storage: SimStorage;
  readonly #cpus: Cpu[];
  readonly #rule: PollingRule;
  #placed = 0;

  constructor(scenario: Scenario, costs: Costs, seed: number) {
    this.#scenario = scenario;
    this.#costs = costs;
    this.#rule = POLLING_RULES[scenario.mode];
    this.sim = new Simulation(seed);
    this.#storage = new SimStorage(this.sim, scenario);
    this.#cpus = Array.from({ length: scenario.cores }, () => new Cpu(this.sim, costs));
    if (scenario.mode !== 'baseline') for (const cpu of this.#cpus) this.#addCore(cpu);
    if (scenario.guestCpus === 'one') this.#addThread();
    for (const guest of scenario.guests) for (let i = 0; i < guest.count; i++) this.#addGuest(guest);
  }

  start(): void {
    const { balance } = this.#scenario;
    if (balance !== undefined)
      this.controller = new Controller(this.sim, this.cores, this.#units, balance.windowNs, balance.coresMin);
    for (const core of this.cores) core.start();
    for (const thread of this.threads) thread.begin();
  }

  /** Ends the load, and lets everything that is in flight complete. Whatever is lost, or waits for ever, shows here. */
  settle(): void {
    for (const thread of this.threads) thread.stopped = true;
    for (let i = 0; i < SETTLE_STEPS && !this.#isSettled(); i++) this.sim.run(this.sim.now + SETTLE_NS);
    assert(this.#isSettled(), 'every request that was submitted is completed once');
  }

  #isSettled(): boolean {
    return this.cores.every(({ queues }) => queues.every(({ settled }) => settled));
  }

  #addCore(cpu: Cpu): SimCore {
    const { scheduler } = this.#scenario;
    const parts = { costs: this.#costs, scheduler, storage: this.#storage, rule: this.#rule };
    const core = new SimCore(this.sim, cpu, parts);
    this.cores.push(core);
    return core;
  }

  #addThread(): GuestThread {
    const thread = new GuestThread(this.sim, new Cpu(this.sim, this.#costs), this.#costs, this.#scenario.sleeping);
    this.threads.push(thread);
    return thread;
  }

  /** The thread that drives the next guest. */
  #threadFor(): GuestThread {
    return this.#scenario.guestCpus === 'one' ? this.threads[0]! : this.#addThread();
  }

  /** The sidecore that serves the next device; in `baseline` a thread for it alone, on the CPUs in turn. */
  #coreFor(): SimCore {
    const place = this.#scenario.packed ? 0 : this.#placed++ % this.#cpus.length;
    return this.#scenario.mode === 'baseline' ? this.#addCore(this.#cpus[place]!) : this.cores[place]!;
  }

  #addGuest(guest: GuestClass): void {
    const tally = new Tally(this.#scenario.warmUpNs);
    const { name, weight, work, depth } = guest;
    const core = this.#coreFor();
    const thread = work === 'idle' ? undefined : this.#threadFor();
    // A request of a disk takes three descriptors, a frame one.
    const ringSize = 2 ** Math.ceil(Math.log2(work === 'disk' ? 3 * depth : depth));
    const endpoint = (role: Role, size = depth) => {
      const made = new Endpoint(this.sim, guest, role, tally, size, ringSize);
      thread?.add(made);
      return made;
    };
    const account = new Account(weight);
    const queues: SimQueue[] = [];
    for (let i = 0; i < guest.devices; i++) {
      const queue = this.#addDevice(guest, account, core, endpoint);
      core.attach(queue, work !== 'idle' || !this.#scenario.idleLeft);
      queues.push(queue);
      const partner = queue.target?.queue;
      this.#units.push({ queues: partner === undefined ? [queue] : [queue, partner], tally });
    }
    this.records.push({ name, weight, tally, queues });
  }

  #addDevice(guest: GuestClass, account: Account, core: SimCore, endpoint: MakeEndpoint): SimQueue {
    const { work, storage, depth: size } = guest;
    if (work === 'talk') return this.#addTalk(account, core, endpoint);
    const owner = endpoint(work === 'stream' ? SENDER : storage === 'file' ? { ...DISK, order: 'any' } : DISK);
    const target = work === 'stream' ? endpoint(RECEIVER, 2 * size) : undefined;
    const kind = work === 'stream' ? undefined : storage;
    owner.queue = new SimQueue(account, { size, storage: kind, owner, target, rule: this.#rule });
    return owner.queue;
  }

  /** Two cards that talk to each other: what one sends the other gets, and answers. Returns the queue of the one that asks. */
  #addTalk(account: Account, core: SimCore, endpoint: MakeEndpoint): SimQueue {
    const asker = endpoint(DISK);
    const answerer = endpoint(ANSWERER);
    const parts = { size: asker.guest.depth, storage: undefined, owner: undefined, rule: this.#rule };
    // The partner is another guest.
    answerer.queue = new SimQueue(new Account(account.weight), { ...parts, target: asker });
    asker.queue = new SimQueue(account, { ...parts, target: answerer });
    core.attach(answerer.queue, true);
    return asker.queue;
  }
}

/** Runs a scenario. The same scenario, costs and seed give the same run, event by event. */
export function simulate(scenario: Scenario, costs: Costs = DEFAULT_COSTS, seed = 1): Result {
  const run = new Run(scenario, costs, seed);
  const { sim, cores, threads, records } = run;
  const { warmUpNs, durationNs } = scenario;
  run.start();
  sim.run(warmUpNs);
  const charged = () => records.map(({ queues }) => counted(queues, ScheduleCounter.TIME_NS));
  const [before, coresBefore, threadsBefore] = [charged(), timesOf(cores), timesOf(threads)];
  sim.run(warmUpNs + durationNs);
  const seconds = durationNs / 1e9;
  const classes = classResults(records, seconds);
  const share = (ns: number) => Math.min(1, ns / durationNs);
  const guests = records.map((record, i) => guestResult(record, before[i]!, seconds));
  const loadBusy = timesOf(threads).map(({ busyNs }, i) => share(busyNs - threadsBefore[i]!.busyNs));
  const coreResults = timesOf(cores).map(({ busyNs, asleepNs }, i) => {
    const busy = share(busyNs - coresBefore[i]!.busyNs);
    const asleep = share(asleepNs - coresBefore[i]!.asleepNs);
    return { busy, asleep, empty: Math.max(0, 1 - busy - asleep), queues: cores[i]!.queues.length };
  });
  run.settle();
  return {
    seed,
    seconds,
    perSecond: classes.reduce((sum, one) => sum + one.perSecond, 0),
    bytesPerSecond: classes.reduce((sum, one) => sum + one.bytesPerSecond, 0),
    classes,
    guests,
    cores: coreResults,
    coresUsed: run.controller?.coresUsed ?? cores.length,
    moves: run.controller?.moves ?? 0,
    loadBusy,
    events: sim.events,
    trace: sim.hash,
  };
}
