import { PIECE_BYTES, PIECE_REQUESTS, PUBLISH_REQUESTS } from '../limits.js';
import type { SchedulerOptions } from '../scheduler/policy.js';
import type { PollingRule } from '../scheduler/polling.js';
import { Scheduler } from '../scheduler/scheduler.js';
import { CallDesk } from './call-desk.js';
import type { CallHost, CallLine } from './call-line.js';
import { type Costs, dataNs } from './costs.js';
import { type Cpu, Rest, SimThread } from './cpu.js';
import type { Endpoint } from './endpoint.js';
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
export class SimCore extends SimThread implements CallHost {
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
  /** Of this piece of work: requests taken, long ones gone on with, bytes, and bytes of work that it has begun. */
  #taken = 0;
  #proceeded = 0;
  #bytes = 0;
  #unfinished = false;
  #polledFrom = 0;
  /** What was found by polling costs nothing more to find. */
  #found = false;
  /** A look for idle queues is planned. */
  #housekeeping = false;
  readonly #finished: SimQueue[] = [];

  constructor(sim: Simulation, cpu: Cpu, parts: CoreParts) {
    super(sim, cpu);
    this.#costs = parts.costs;
    this.#storage = parts.storage;
    this.#calls = new CallDesk(this, () => {
      this.#cursor += parts.costs.clockNs;
      return this.#cursor;
    });
    const clock = (into: Float64Array, slot: number) => {
      this.#cursor += parts.costs.clockNs;
      into[slot] = this.#cursor;
    };
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
    const { pollNs, roundNs } = this.#costs;
    const first = this.#polledFrom + (entries.indexOf(queue) + 1) * pollNs;
    const round = entries.length * pollNs + roundNs;
    this.poke(first + Math.max(0, Math.ceil((visibleAt - first) / round)) * round);
  }

  /** A queue that waits for a kick is kicked. Returns how long that takes the guest, ns. */
  kick(queue: SimQueue): number {
    this.#list.kick(queue);
    if (this.sleeping || this.#phase === 'sleep') return this.#costs.kickNs + this.#rouse(this);
    this.poke(this.#list.nextLookNs(this.sim.now, this.#costs.roundNs));
    return this.#costs.kickNs;
  }

  /** Wakes a thread if it sleeps. Returns how long that takes, ns. */
  #rouse(thread: SimThread): number {
    const { wakingNs } = thread.cpu;
    return thread.wake() ? wakingNs : 0;
  }

  /** Storage has finished a request. */
  finished(queue: SimQueue): void {
    this.#finished.push(queue);
    this.#attend();
  }

  override act(code: number, argument: number): void {
    if (code !== HOUSEKEEPING) return super.act(code, argument);
    this.#housekeeping = false;
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
        return Rest.SLEEP;
      case 'resume':
        this.#phase = 'round';
        this.#list.takeKicks(this.sim.now);
        this.busyNs += this.#costs.resumeNs;
        return this.#costs.resumeNs;
    }
  }

  protected override polled(): void {
    this.#polledFrom = this.sim.now;
    for (const queue of this.scheduler.entries) if (!queue.avail.empty) this.expect(queue, queue.avail.visibleAt);
    if (this.#finished.length > 0) this.poke(this.sim.now);
    if (this.#list.hasKicks) this.poke(this.#list.nextLookNs(this.sim.now, this.#costs.roundNs));
    const { dueNs } = this.#calls;
    if (dueNs < Number.POSITIVE_INFINITY) this.poke(Math.max(this.sim.now, dueNs));
    const idleLookNs = this.#list.nextIdleLookNs(this.sim.now);
    if (this.#housekeeping || idleLookNs === Number.POSITIVE_INFINITY) return;
    this.#housekeeping = true;
    this.sim.at(idleLookNs, this, HOUSEKEEPING);
  }

  #endPolling(): void {
    this.emptyNs += this.sim.now - this.#polledFrom;
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
    this.#taken = this.#proceeded = this.#bytes = 0;
    this.#unfinished = true;
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
    queue.lastWorkNs = this.sim.now;
    let ns = 0;
    if (queue.begunBytes > 0) ns += this.#proceed(queue);
    this.#unfinished = false;
    while (queue.begunBytes === 0 && !queue.closed && this.#taken < PIECE_REQUESTS && this.#bytes < PIECE_BYTES) {
      if (queue.avail.waiting(this.sim.now + ns) === 0) break;
      queue.avail.take();
      this.#taken++;
      ns += this.#start(queue);
      if (queue.storage !== undefined && this.#taken % PUBLISH_REQUESTS === 0) {
        this.#unfinished = true;
        break;
      }
    }
    const { jitter } = this.#costs;
    this.#cursor += ns * this.sim.random.between(1 - jitter, 1 + jitter);
    this.#phase = 'show';
    return this.#spent();
  }

  /** Begins a request, or sends a frame. Returns the time that it takes, ns. */
  #start(queue: SimQueue): number {
    const { avail } = queue;
    const { requestNs, frameNs, frameByteNs, submitNs } = this.#costs;
    const { bytes } = avail;
    if (queue.storage === 'memory' && bytes > PIECE_BYTES) {
      queue.begunBytes = bytes - PIECE_BYTES;
      this.#bytes += PIECE_BYTES;
      return requestNs + dataNs(this.#costs, PIECE_BYTES);
    }
    this.#bytes += bytes;
    if (queue.storage === 'file') {
      queue.inStorage++;
      this.#storage.submit(queue, avail.since, bytes, avail.number);
      return submitNs;
    }
    this.#complete(queue, avail.since, bytes, avail.number);
    if (queue.storage === undefined) return frameNs + bytes * frameByteNs;
    return queue.storage === 'null' ? requestNs : requestNs + dataNs(this.#costs, bytes);
  }

  /** Goes on with a long request. Returns the time that it takes, ns. */
  #proceed(queue: SimQueue): number {
    const { avail } = queue;
    const bytes = Math.min(queue.begunBytes, PIECE_BYTES);
    queue.begunBytes -= bytes;
    this.#bytes += bytes;
    this.#proceeded = 1;
    if (queue.begunBytes === 0) this.#complete(queue, avail.since, avail.bytes, avail.number);
    return bytes * this.#costs.byteNs;
  }

  #complete(queue: SimQueue, since: number, bytes: number, number: number): void {
    queue.complete.push(0, since, bytes, number);
  }

  /** What is complete is shown; then the piece goes on, or it is over and the scheduler is asked. */
  #show(): number {
    const queue = this.#current!;
    if (!queue.complete.empty) this.#publish(queue);
    if (this.#unfinished) {
      this.#phase = 'serve';
      return this.#spent();
    }
    const work = this.#taken + this.#proceeded;
    const goesOn = work > 0 && this.scheduler.goOn(queue, work, this.#bytes);
    if (goesOn) this.#begin(queue);
    else {
      this.#phase = 'round';
      this.sawPending = true;
      this.#calls.look(false);
    }
    return this.#spent();
  }

  #publish(queue: SimQueue): void {
    const { complete, owner, target } = queue;
    const visibleAt = this.sim.now + this.#costs.visibleNs;
    const [owned, targeted] = [owner?.used.put ?? 0, target?.used.put ?? 0];
    complete.waiting(Number.POSITIVE_INFINITY);
    while (!complete.empty) {
      complete.take();
      // Who has no room for a frame loses it.
      if (target?.used.full === false) target.used.push(visibleAt, complete.since, complete.bytes, complete.number);
      owner?.used.push(visibleAt, complete.since, complete.bytes, complete.number);
    }
    this.#cursor += this.#costs.showNs;
    if (target !== undefined) this.#tell(target, targeted, visibleAt, false);
    // Nobody waits for one send to be over.
    const more =
      target !== undefined || queue.inStorage > 0 || queue.begunBytes > 0 || queue.avail.waiting(this.sim.now) > 0;
    if (owner !== undefined) this.#tell(owner, owned, visibleAt, more);
  }

  /** A guest finds what has come for it by itself, or is called, now or later. */
  #tell(endpoint: Endpoint, from: number, visibleAt: number, more: boolean): void {
    endpoint.thread.expect(endpoint, visibleAt);
    endpoint.calls.published(from, more, this);
  }

  call(endpoint: Endpoint): void {
    endpoint.tally.countCall(this.sim.now);
    this.#cursor += this.#costs.callNs + this.#rouse(endpoint.thread);
  }

  hold(line: CallLine): void {
    this.#calls.hold(line);
  }

  #endRound(): number {
    const hadWork = this.sawPending || this.#finished.length > 0;
    this.sawPending = false;
    this.#phase = 'round';
    this.#cursor += this.#costs.roundNs;
    for (const queue of this.#finished.splice(0)) this.#reap(queue);
    this.#calls.look(false);
    this.#list.watchIdle(this.#cursor);
    if (this.#list.looksForKicks(this.#cursor)) this.#lookForKicks();
    this.#list.letGo((queue) => queue.owner?.calls.end(this));
    const rests = this.#list.mayRest;
    if (rests) {
      this.#calls.look(true);
      this.#cursor += this.#costs.sleepNs;
      this.#phase = 'sleep';
    }
    const ns = this.#cursor - this.sim.now;
    if (rests || hadWork) this.busyNs += ns;
    return rests || hadWork ? ns : Rest.POLL;
  }

  /** Kicks of queues that are not polled are looked for now and then, where this thread does not sleep. */
  #lookForKicks(): void {
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
