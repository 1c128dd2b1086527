import { INTERLUDE_BYTES } from '../limits.js';
import { CallDesk } from '../scheduler/call-desk.js';
import type { CallWait } from '../scheduler/call-wait.js';
import type { SchedulerOptions } from '../scheduler/policy.js';
import type { PollingRule } from '../scheduler/polling.js';
import { Scheduler } from '../scheduler/scheduler.js';
import type { CallServer } from './call-line.js';
import type { Costs } from './costs.js';
import { type Cpu, Rest, SimThread } from './cpu.js';
import type { Endpoint } from './endpoint.js';
import { HouseClock } from './house-clock.js';
import { Piece } from './piece.js';
import { PollList } from './poll-list.js';
import type { SimQueue } from './queue.js';
import type { Simulation } from './simulation.js';
import type { SimStorage } from './storage.js';

/** The event of a look for idle queues. */
const HOUSEKEEPING = 100;
type Phase = 'round' | 'serve' | 'show' | 'sleep' | 'resume';

/** What a sidecore is made of. */
export interface CoreParts {
  readonly costs: Costs;
  readonly scheduler: SchedulerOptions;
  readonly storage: SimStorage;
  /** When queues are polled. */
  readonly rule: PollingRule;
}

/** A sidecore: the loop of `Sidecore`, with the real scheduler, and work that takes the time that was measured for it. */
export class SimCore extends SimThread implements CallServer {
  readonly scheduler: Scheduler<SimQueue>;
  /** A look at a queue has found something in this round, whether or not it may have its turn. */
  sawPending = false;
  /** Time in rounds with work, and in rounds without, ns. */
  busyNs = 0;
  emptyNs = 0;
  readonly #costs: Costs;
  readonly #storage: SimStorage;
  readonly #list: PollList;
  readonly #calls: CallDesk;
  /** The time within a step, ns. */
  #cursor = 0;
  #phase: Phase = 'round';
  #current: SimQueue | undefined;
  readonly #piece: Piece;
  #polledFrom = 0;
  /** What was found by polling costs nothing more to find. */
  #found = false;
  /** A look for idle queues is planned. */
  #housekeeping = false;
  readonly #finished: SimQueue[] = [];
  readonly #house = new HouseClock();
  /** Bytes that queues moved since the kernel's answers were looked at. */
  #sinceDesk = 0;

  constructor(sim: Simulation, cpu: Cpu, parts: CoreParts) {
    super(sim, cpu, parts.costs.guestSleepNs);
    this.#costs = parts.costs;
    this.#storage = parts.storage;
    this.#piece = new Piece(parts.costs, parts.storage);
    const clock = (into: Float64Array, slot: number) => {
      this.#cursor += parts.costs.clockNs;
      into[slot] = this.#cursor;
    };
    this.#calls = new CallDesk(clock);
    this.scheduler = new Scheduler<SimQueue>(parts.scheduler, clock);
    this.#list = new PollList(parts.rule, this.scheduler);
  }

  /** @param polled - it was kicked lately; otherwise it waits for that */
  attach(queue: SimQueue, polled: boolean): void {
    queue.core = this;
    this.#list.add(queue, polled, this.sim.now);
    this.#attend();
  }

  /** Takes nothing more from a queue; tells when it is another core's to serve. */
  detach(queue: SimQueue, gone: () => void): void {
    this.#list.leave(queue, gone);
    this.#attend();
  }

  /** Something has come that is no work: the loop goes on, if it stood still. */
  #attend(): void {
    this.poke(this.sim.now);
    if (this.sleeping || this.#phase === 'sleep') this.wake();
  }

  /** All that it serves, polled or not. */
  get queues(): readonly SimQueue[] {
    return this.#list.queues;
  }

  /** A look at a queue takes time. Returns when it is over, ns. */
  look(): number {
    if (!this.#found) this.#cursor += this.#costs.pollNs;
    return this.#cursor;
  }

  /** What was put into a queue will be seen from a time on. */
  expect(queue: SimQueue, visibleAt: number): void {
    if (!this.polling || !queue.polled) return;
    const { entries } = this.scheduler;
    const { pollNs } = this.#costs;
    const first = this.#polledFrom + (entries.indexOf(queue) + 1) * pollNs;
    const round = this.#emptyRoundNs();
    this.poke(first + Math.max(0, Math.ceil((visibleAt - first) / round)) * round);
  }

  /** A queue that waits for a kick is kicked. Returns how long that takes the guest, ns. */
  kick(queue: SimQueue): number {
    this.#list.kick(queue);
    if (this.sleeping) return this.#costs.kickNs + this.wake();
    this.#expectLook();
    return this.#costs.kickNs;
  }

  /** What a round takes in which nothing is found, ns. */
  #emptyRoundNs(): number {
    return this.scheduler.entries.length * this.#costs.pollNs + this.#costs.roundNs;
  }

  /** While it polls in vain: goes on when it looks for kicks. */
  #expectLook(): void {
    if (!this.polling || !this.#list.hasKicks) return;
    const roundNs = this.#emptyRoundNs();
    const houseNs = this.#house.nextNs(this.sim.now, this.#polledFrom, roundNs);
    this.poke(this.#list.nextLookNs(houseNs, roundNs));
  }

  /** Storage has finished a request. */
  finished(queue: SimQueue): void {
    this.#finished.push(queue);
    this.#attend();
  }

  override act(code: number, argument: number): void {
    if (code !== HOUSEKEEPING) return super.act(code, argument);
    this.#housekeeping = false;
    this.#house.hurry();
    this.poke(this.sim.now);
  }

  protected step(): number {
    this.#cursor = this.sim.now;
    switch (this.#phase) {
      case 'round':
        if (this.#polledFrom > 0) this.#endPolling();
        return this.#next();
      case 'serve':
        return this.#serve();
      case 'show':
        return this.#show();
      case 'sleep':
        this.#phase = 'resume';
        // What has come since is taken without sleeping.
        return this.#list.hasKicks ? this.#costs.guestSleepNs : Rest.SLEEP;
      case 'resume':
        this.#phase = 'round';
        this.#house.restart();
        this.#list.takeKicks(this.sim.now);
        this.busyNs += this.#costs.resumeNs;
        return this.#costs.resumeNs;
    }
  }

  protected override polled(): void {
    this.#polledFrom = this.sim.now;
    for (const queue of this.scheduler.entries) if (!queue.avail.empty) this.expect(queue, queue.avail.visibleAt);
    if (this.#finished.length > 0) this.poke(this.sim.now);
    this.#expectLook();
    const dueNs = this.#calls.firstDueNs();
    if (dueNs < Number.POSITIVE_INFINITY) this.poke(Math.max(this.sim.now, dueNs));
    const idleLookNs = this.#list.nextIdleLookNs(this.sim.now);
    if (this.#housekeeping || idleLookNs === Number.POSITIVE_INFINITY) return;
    this.#housekeeping = true;
    this.sim.at(idleLookNs, this, HOUSEKEEPING);
  }

  #endPolling(): void {
    const ns = this.sim.now - this.#polledFrom;
    this.emptyNs += ns;
    this.#house.passed(ns, this.#emptyRoundNs());
    this.#polledFrom = 0;
    this.#found = true;
  }

  /** Whose turn is it? If nobody's, the round is over. */
  #next(): number {
    const queue = this.scheduler.next();
    this.#found = false;
    if (queue === undefined) return this.#endRound();
    this.#begin(queue);
    return this.#spent();
  }

  #begin(queue: SimQueue): void {
    this.#current = queue;
    this.#piece.begin();
    this.#phase = 'serve';
    this.#cursor += this.#costs.pieceNs;
  }

  #spent(): number {
    const ns = this.#cursor - this.sim.now;
    this.busyNs += ns;
    return ns;
  }

  /** A part of a piece of work, until what is complete is shown. */
  #serve(): number {
    const queue = this.#current!;
    queue.worked = true;
    const ns = this.#piece.serve(queue, this.sim.now);
    const { jitter } = this.#costs;
    this.#cursor += ns * this.sim.random.between(1 - jitter, 1 + jitter);
    this.#phase = 'show';
    return this.#spent();
  }

  /** What is complete is shown; then the piece goes on, or it is over and the scheduler is asked. */
  #show(): number {
    const queue = this.#current!;
    if (!queue.complete.empty) this.#publish(queue);
    if (this.#piece.unfinished) {
      this.#phase = 'serve';
      return this.#spent();
    }
    const { work, bytes, weightBytes } = this.#piece;
    this.#sinceDesk += weightBytes;
    if (this.#sinceDesk >= INTERLUDE_BYTES) this.#interlude();
    const goesOn = work > 0 && this.scheduler.goOn(queue, work, bytes);
    if (goesOn) this.#begin(queue);
    else {
      this.#phase = 'round';
      this.sawPending = true;
      this.#calls.look();
    }
    return this.#spent();
  }

  /** What is done within long turns, and after a round. */
  #interlude(): void {
    this.#turnDesk();
    if (this.#list.movedEnough(this.#sinceDesk)) this.#lookForKicks();
    this.#sinceDesk = 0;
  }

  #turnDesk(): void {
    for (const queue of this.#finished.splice(0)) this.#reap(queue);
  }

  #publish(queue: SimQueue): void {
    const { complete, owner, target } = queue;
    const visibleAt = this.sim.now + this.#costs.visibleNs;
    complete.waiting(Number.POSITIVE_INFINITY);
    while (!complete.empty) {
      complete.take();
      // Who has no room for a frame loses it.
      if (target?.used.full === false) target.used.push(visibleAt, complete.since, complete.bytes, complete.number);
      owner?.used.push(visibleAt, complete.since, complete.bytes, complete.number);
    }
    this.#cursor += this.#costs.showNs;
    if (target !== undefined) this.#tell(target, visibleAt, false);
    // Nobody waits for one send to be over.
    const more =
      target !== undefined || queue.inStorage > 0 || queue.begunBytes > 0 || queue.avail.waiting(this.sim.now) > 0;
    if (owner !== undefined) this.#tell(owner, visibleAt, more);
  }

  /** A guest finds what has come for it by itself, or is called, now or later. */
  #tell(endpoint: Endpoint, visibleAt: number, more: boolean): void {
    endpoint.thread.expect(endpoint, visibleAt);
    endpoint.calls.servedBy(this);
    endpoint.calls.publish(more);
  }

  call(endpoint: Endpoint): void {
    endpoint.tally.countCall(this.sim.now);
    this.#cursor += this.#costs.callNs + endpoint.thread.wake();
  }

  holdCall(line: CallWait): void {
    this.#calls.holdCall(line);
  }

  #endRound(): number {
    const hadWork = this.sawPending || this.#finished.length > 0;
    this.sawPending = false;
    this.#phase = 'round';
    this.#cursor += this.#costs.roundNs;
    this.#interlude();
    this.#calls.look();
    this.#list.letGo((queue) => queue.owner?.calls.end());
    if (this.#house.count()) this.#keepHouse();
    else if (this.#list.leavesAtOnce) this.#list.at(this.#cursor).watchIdle();
    const rests = this.#mayRest();
    if (rests) {
      this.#calls.flush();
      this.#cursor += Math.max(0, this.#costs.sleepNs - this.#costs.guestSleepNs);
      this.#phase = 'sleep';
    }
    const ns = this.#cursor - this.sim.now;
    if (rests || hadWork) this.busyNs += ns;
    return rests || hadWork ? ns : Rest.POLL;
  }

  #mayRest(): boolean {
    return this.#list.mayRest && !this.#list.isLeft;
  }

  /** What is done now and then while there is work, and while there is none. */
  #keepHouse(): void {
    this.#house.restart();
    this.#list.at(this.#cursor).watchIdle();
    if (!this.#mayRest() && this.#list.at(this.#cursor).looksForKicks(false)) this.#lookForKicks();
  }

  #lookForKicks(): void {
    this.#list.at(this.#cursor).looked();
    this.#cursor += this.#costs.kickLookNs;
    if (this.#list.hasKicks) this.sawPending = true;
    this.#list.takeKicks(this.#cursor);
  }

  /** A request that storage has finished. */
  #reap(queue: SimQueue): void {
    queue.inStorage--;
    this.#storage.take(queue);
    this.#cursor += this.#costs.reapNs;
    this.#publish(queue);
  }
}
