import type { MessagePort } from 'node:worker_threads';
import { RequestPool } from '../block/request.js';
import { messageOf } from '../errors.js';
import { FilterDesk } from '../filter/filter-desk.js';
import type { HelperSetup } from '../filter/helpers.js';
import { nowNs, readNowNs } from '../host/clock.js';
import type { IoUring } from '../host/io-uring.js';
import {
  HOUSEKEEPING_TURNS,
  INTERLUDE_BYTES,
  PIECE_BYTES,
  PIECE_REQUESTS,
  REQUEST_WORK_BYTES,
  REQUESTS_IN_FLIGHT_MAX,
} from '../limits.js';
import type { Networks } from '../net/networks.js';
import type { UringUser } from '../net/uring-user.js';
import { CallDesk } from '../scheduler/call-desk.js';
import { Scheduler } from '../scheduler/scheduler.js';
import type { DeviceQueue } from '../virtio/device-queue.js';
import type { QueuePosition, QueueSpec } from '../virtio/queue-spec.js';
import { QueuePhase } from '../virtio/queue-state.js';
import { ClosingQueues } from './closing-queues.js';
import { CoreState } from './core-state.js';
import type { DeviceHost } from './create-queue.js';
import { Doorway } from './doorway.js';
import { HeldQueues } from './held-queues.js';
import { joinNetworks } from './join-networks.js';
import { takeMail } from './mail.js';
import type { CoreMessage, CoreRequest, CoreSetup } from './messages.js';
import { PollList } from './poll-list.js';
import { Publisher } from './publisher.js';
import { QueueTable } from './queue-table.js';
import type { ServedQueue } from './served-queue.js';
import { type SimpleRequest, serveRequest } from './simple-requests.js';
import { UringDesk } from './uring-desk.js';
import { WorkMeter } from './work-meter.js';

/** Turns between two readings of the time, and turns after that which are timed together. */
const METER_TURNS = 60;
const TIMED_TURNS = 4;

/**
 * A sidecore: the loop of one thread that serves the queues of many guests. Its scheduler says which queue has its turn, and after
 * each piece of work whether that goes on; what is complete is published after each or a few, and what the kernel has finished collected.
 *
 * It never waits and never allocates while there is work. The mailbox is looked at when the bell has rung.
 */
export class Sidecore implements DeviceHost {
  readonly pool = new RequestPool(REQUESTS_IN_FLIGHT_MAX);
  readonly networks: Networks;
  readonly calls = new CallDesk(readNowNs);
  readonly filterMark: Int32Array;
  readonly filterDesk = new FilterDesk();
  readonly helperBell: SharedArrayBuffer;
  readonly #state: CoreState;
  readonly #mailbox: MessagePort;
  readonly #desk: UringDesk;
  readonly #doorway: Doorway;
  readonly #meter: WorkMeter;
  readonly #queues: QueueTable;
  readonly #scheduler: Scheduler<ServedQueue>;
  readonly #list: PollList;
  readonly #closing: ClosingQueues;
  readonly #held: HeldQueues;
  readonly #publisher = new Publisher((queue) => this.#dropIfBroken(queue));
  /** Bytes that queues moved since the kernel's answers were looked at. */
  #sinceDesk = 0;
  #bellSeen = 0;
  #untilHousekeeping = HOUSEKEEPING_TURNS;
  #stopId = 0;
  #running = true;

  constructor(setup: CoreSetup) {
    this.#state = new CoreState(setup.state);
    this.filterMark = this.#state.marks;
    this.helperBell = setup.helperBell;
    this.#mailbox = setup.mailbox;
    this.#desk = new UringDesk(setup, this.pool, (handles) => this.#tell({ event: 'uring', handles }), this.#state);
    this.networks = joinNetworks(setup);
    this.#doorway = new Doorway(setup);
    this.#queues = new QueueTable(this, this.#doorway, setup.polling);
    this.#held = new HeldQueues(this.#queues, this, (id) => this.#answer(id));
    this.#meter = new WorkMeter(this.#state, readNowNs);
    const isNotified = () => this.#state.rangSince(this.#bellSeen);
    // What the kernel does for a queue that is timed is its time.
    const settle = () => void (this.#desk.hasPrepared && this.#turnDesk());
    this.#scheduler = new Scheduler(setup.scheduler, readNowNs, isNotified, settle);
    this.#list = new PollList(setup.polling, this.#queues, this.#scheduler, this.#state, () => this.#meter.forget());
    const publish = () => this.#publisher.publish();
    const answer = (id: number, position?: QueuePosition) => this.#answer(id, position);
    this.#closing = new ClosingQueues(this.#queues, this.#list, this.#doorway, publish, answer);
  }

  /** Serves until it is told to stop. */
  run(): void {
    let untilMeter = METER_TURNS;
    while (this.#running) {
      if (this.#state.rangSince(this.#bellSeen)) {
        this.#answerBell();
        if (!this.#running) return;
      }
      this.#meter.count(this.#turn());
      if (--untilMeter === 0) {
        untilMeter = METER_TURNS;
        this.#timedTurns();
      }
      if (--this.#untilHousekeeping === 0) this.#keepHouse();
      else if (this.#list.leavesAtOnce) this.#list.watchIdle();
      if (this.#mayRest() && !this.networks.busy) this.#sleep();
    }
  }

  /** No queue wants anything of this thread. */
  #mayRest(): boolean {
    return this.#list.mayRest && this.#closing.count === 0 && !this.#held.waiting && this.#stopId === 0;
  }

  markDirty(queue: DeviceQueue): void {
    this.#publisher.mark(queue);
  }

  makeHelper(setup: HelperSetup): void {
    this.#tell({ event: 'helper', setup });
  }

  uring(): IoUring | undefined {
    return this.#desk.ring;
  }

  uringUser(user: UringUser): number {
    return this.#desk.add(user);
  }

  /** A round: the queues that have work and may have their turns. Returns how many requests were taken, gone on with or completed. */
  #turn(): number {
    const scheduler = this.#scheduler;
    let work = 0;
    for (let served = scheduler.next(); served !== undefined; served = scheduler.next()) {
      work += this.#serve(served);
      this.calls.look();
    }
    work += this.networks.turn();
    if (this.filterDesk.busy) work += this.filterDesk.turn();
    this.#state.countBeat();
    work += this.#turnDesk();
    this.#publisher.publish();
    this.#countMoved();
    this.networks.flush();
    this.calls.look();
    if (this.#held.waiting) this.#held.look();
    if (this.#closing.count > 0 || this.#stopId !== 0) this.#finishClosing();
    return work;
  }

  /** A queue has its turn. Returns how many requests were taken or gone on with. */
  #serve(served: ServedQueue): number {
    const { queue } = served;
    let work = 0;
    let taken: number;
    this.#state.serving = served.key;
    do {
      taken = queue.serve(PIECE_REQUESTS, PIECE_BYTES);
      work += taken;
      this.#sinceDesk += taken * REQUEST_WORK_BYTES + queue.servedBytes;
      this.#publisher.pace(queue, taken, queue.servedBytes);
      this.#state.countBeat();
      if (queue.closed) {
        this.#dropFaulted(served);
        break;
      }
      // Who waits for storage, or kicks, does not wait for all others' turns.
      if (this.#sinceDesk >= INTERLUDE_BYTES) work += this.#interlude();
      // Who could not take what waits, because all requests are in use, is not asked again before some have come back.
    } while (taken > 0 && this.#scheduler.goOn(served, taken, queue.servedBytes));
    this.#publisher.publish();
    if (work > 0) served.worked = true;
    // What follows is done for no queue: none is to blame for a death in it.
    this.#state.serving = 0;
    return work;
  }

  /** What is done within long turns. */
  #interlude(): number {
    const work = this.#turnDesk();
    if (work > 0) this.#publisher.publish();
    this.#countMoved();
    return work;
  }

  /** The kernel's answers were looked at; kicks are if enough was moved since they were. */
  #countMoved(): void {
    if (this.#list.movedEnough(this.#sinceDesk)) this.#lookForKicks();
    this.#sinceDesk = 0;
  }

  #turnDesk(): number {
    try {
      return this.#desk.turn();
    } catch (error) {
      // Whose request this thread is about to die of.
      this.#state.serving = this.#queues.servedAs(this.#desk.handling)?.key ?? 0;
      throw error;
    }
  }

  #timedTurns(): void {
    this.#meter.begin();
    for (let i = 0; i < TIMED_TURNS; i++) this.#meter.count(this.#turn());
    this.#meter.end();
    this.#scheduler.countPolls();
    this.networks.tick(this.#meter.nowS);
  }

  /** One that is not looked at by itself: that it is broken shows when something is put into it. */
  #dropIfBroken(queue: DeviceQueue): void {
    const served = queue.passive && queue.closed ? this.#queues.servedAs(queue) : undefined;
    if (served?.polled) this.#dropFaulted(served);
  }

  /**
   * What is done now and then while there is work: idle queues leave the poll list, and kicks of those that have left it are
   * looked for, as long as this thread does not sleep.
   */
  #keepHouse(): void {
    this.#untilHousekeeping = HOUSEKEEPING_TURNS;
    readNowNs(this.#list.now, 0);
    this.#list.watchIdle();
    const { busy } = this.networks;
    if ((busy || !this.#mayRest()) && this.#list.looksForKicks(busy)) this.#lookForKicks();
  }

  #lookForKicks(): void {
    this.#list.looked();
    this.#doorway.look();
    this.#list.takeKicks(this.#doorway);
  }

  /** Sleeps until a kick, the bell, or an answer of the kernel. */
  #sleep(): void {
    const before = nowNs();
    this.#meter.sleep();
    this.#state.asleep = true;
    const nothing = this.#state.bell === this.#bellSeen && !this.#desk.hasCompletions && !this.networks.busy;
    this.calls.flush();
    if (nothing) this.#doorway.wait(this.#desk.fd, this.filterDesk.sleepMs);
    this.#state.asleep = false;
    this.#untilHousekeeping = HOUSEKEEPING_TURNS;
    if (!nothing) return;
    readNowNs(this.#list.now, 0);
    this.#meter.wake();
    this.networks.tick(this.#meter.nowS);
    this.#state.countSleep(this.#list.now[0]! - before);
    this.#list.takeKicks(this.#doorway);
  }

  #answerBell(): void {
    this.#bellSeen = this.#state.bell;
    this.#lookForKicks();
    if (takeMail(this.#mailbox, (request) => this.#handle(request))) this.#bellSeen--;
  }

  #handle(request: CoreRequest): void {
    switch (request.op) {
      case 'attach':
        return this.#attach(request.id, request.queue);
      case 'detach':
        return this.#detach(request.id, request.key);
      case 'retain':
        return this.#retain(request.id, request.key);
      case 'stop':
        this.#stopId = request.id;
        this.networks.unplugAll();
        for (const served of [...this.#queues.all()]) this.#closing.begin(served, 0);
        return this.#finishClosing();
      case 'hold':
        return this.#held.hold(request.id, request.key);
      default:
        return this.#handleSimple(request);
    }
  }

  #handleSimple(request: SimpleRequest): void {
    try {
      serveRequest(request, this.networks, this.#held, this);
    } catch (error) {
      return this.#tell({ event: 'answer', id: request.id, error: messageOf(error) });
    }
    this.#publisher.publish();
    this.#answer(request.id);
  }

  #attach(id: number, spec: QueueSpec): void {
    let served: ServedQueue;
    try {
      served = this.#queues.add(spec);
    } catch (error) {
      return this.#tell({ event: 'answer', id, error: messageOf(error) });
    }
    this.#held.enter(served);
    // From here on a fault of ours is one in serving the queue: the thread dies of it, and the queue is to blame.
    this.#state.serving = spec.key;
    if (spec.resume) {
      served.queue.retakeUnfinished();
      this.#publisher.publish();
    }
    // A queue that was found broken is polled once more, to be dropped.
    if (served.started || served.kickFd < 0 || served.queue.closed || !served.watch()) this.#list.start(served);
    this.#state.serving = 0;
    this.#list.count();
    this.#answer(id);
  }

  #detach(id: number, key: number): void {
    const served = this.#queues.get(key);
    if (served === undefined) return this.#tell({ event: 'answer', id, error: 'the core does not have that queue' });
    this.#closing.begin(served, id);
    this.#finishClosing();
  }

  #retain(id: number, key: number): void {
    this.#closing.takeBack(key);
    this.#answer(id);
  }

  #finishClosing(): void {
    this.#closing.finish();
    if (this.#stopId === 0 || this.#queues.size > 0 || !this.networks.drained()) return;
    this.#desk.close();
    this.#answer(this.#stopId);
    this.#running = false;
  }

  /** A queue that its guest has broken is not looked at again, until its front end sets it up anew. */
  #dropFaulted(served: ServedQueue): void {
    this.#list.stop(served);
    served.queue.state.phase = QueuePhase.FAULTED;
    this.#tell({ event: 'fault', key: served.key, fault: served.queue.state.fault });
  }

  #answer(id: number, position?: QueuePosition): void {
    this.#tell({ event: 'answer', id, ...(position && { position }) });
  }

  #tell(message: CoreMessage): void {
    this.#mailbox.postMessage(message);
  }
}
