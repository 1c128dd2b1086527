import { type MessagePort, receiveMessageOnPort } from 'node:worker_threads';
import { RequestPool } from '../block/request.js';
import { messageOf } from '../errors.js';
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
import type { QueueSpec } from '../virtio/queue-spec.js';
import { QueuePhase } from '../virtio/queue-state.js';
import { CoreState } from './core-state.js';
import type { DeviceHost } from './create-queue.js';
import { Doorway } from './doorway.js';
import { joinNetworks } from './join-networks.js';
import type { CoreMessage, CoreRequest, CoreSetup } from './messages.js';
import { type NetworkRequest, serveNetworkRequest } from './network-requests.js';
import { PollList } from './poll-list.js';
import { QueueTable } from './queue-table.js';
import type { ServedQueue } from './served-queue.js';
import { UringDesk } from './uring-desk.js';
import { WorkMeter } from './work-meter.js';

/** Turns between two readings of the time, and turns after that which are timed together. */
const METER_TURNS = 60;
const TIMED_TURNS = 4;

/**
 * A sidecore: the loop of one thread that serves the queues of many guests. Its scheduler says which queue has its turn, and after
 * each piece of work whether that goes on; what is complete is published after each, and what the kernel has finished collected.
 *
 * It never waits and never allocates while there is work. The mailbox is looked at when the bell has rung.
 */
export class Sidecore implements DeviceHost {
  readonly pool = new RequestPool(REQUESTS_IN_FLIGHT_MAX);
  readonly networks: Networks;
  readonly calls = new CallDesk(readNowNs);
  readonly #state: CoreState;
  readonly #mailbox: MessagePort;
  readonly #desk: UringDesk;
  readonly #doorway: Doorway;
  readonly #meter: WorkMeter;
  readonly #queues: QueueTable;
  readonly #scheduler: Scheduler<ServedQueue>;
  readonly #list: PollList;
  readonly #closing: ServedQueue[] = [];
  readonly #dirty: DeviceQueue[] = [];
  #dirtyCount = 0;
  /** Bytes that queues moved since the kernel's answers were looked at. */
  #sinceDesk = 0;
  #bellSeen = 0;
  #untilHousekeeping = HOUSEKEEPING_TURNS;
  #nowNs = 0.5;
  #stopId = 0;
  #running = true;

  constructor(setup: CoreSetup) {
    this.#state = new CoreState(setup.state);
    this.#mailbox = setup.mailbox;
    const { workerCpus, sqpollCpu } = setup;
    const uringOptions = sqpollCpu === undefined ? { workerCpus } : { workerCpus, sqpollCpu };
    this.#desk = new UringDesk(uringOptions, this.pool, (handles) => this.#tell({ event: 'uring', handles }));
    this.networks = joinNetworks(setup);
    this.#doorway = new Doorway(setup);
    this.#queues = new QueueTable(this, this.#doorway, setup.polling);
    this.#meter = new WorkMeter(this.#state, readNowNs);
    this.#scheduler = new Scheduler(setup.scheduler, readNowNs, () => this.#state.rangSince(this.#bellSeen));
    this.#list = new PollList(setup.polling, this.#queues, this.#scheduler, this.#state, () => this.#meter.forget());
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
      else if (this.#list.leavesAtOnce) this.#list.watchIdle(this.#nowNs);
      if (this.#mayRest() && !this.networks.busy) this.#sleep();
    }
  }

  /** No queue wants anything of this thread. */
  #mayRest(): boolean {
    return this.#list.mayRest && this.#closing.length === 0 && this.#stopId === 0;
  }

  markDirty(queue: DeviceQueue): void {
    this.#dirty[this.#dirtyCount++] = queue;
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
    this.#state.countBeat();
    work += this.#turnDesk();
    if (this.#dirtyCount > 0) this.#publishDirty();
    this.networks.flush();
    this.calls.look();
    if (this.#closing.length > 0 || this.#stopId !== 0) this.#finishClosing();
    return work;
  }

  /** A queue has its turn. Returns how many requests were taken or gone on with. */
  #serve(served: ServedQueue): number {
    const { queue } = served;
    const scheduler = this.#scheduler;
    let work = 0;
    let taken: number;
    this.#state.serving = served.key;
    do {
      taken = queue.serve(PIECE_REQUESTS, PIECE_BYTES);
      work += taken;
      this.#sinceDesk += taken * REQUEST_WORK_BYTES + queue.servedBytes;
      if (this.#dirtyCount > 0) this.#publishDirty();
      this.#state.countBeat();
      if (queue.closed) {
        this.#dropFaulted(served);
        break;
      }
      // Who waits for storage, or kicks, must not wait for all others' turns; and what the kernel copies is this queue's time.
      if (this.#sinceDesk >= INTERLUDE_BYTES) work += this.#interlude();
      // Who could not take what waits, because all requests are in use, is not asked again before some have come back.
    } while (taken > 0 && scheduler.goOn(served, taken, queue.servedBytes));
    if (work > 0) served.worked = true;
    // What follows is done for no queue: none is to blame for a death in it.
    this.#state.serving = 0;
    return work;
  }

  /** What is done between turns, and within long ones. */
  #interlude(): number {
    const { serving } = this.#state;
    const work = this.#turnDesk();
    if (this.#dirtyCount > 0) this.#publishDirty();
    if (this.#list.watchedCount > 0) this.#lookForKicks();
    this.#state.serving = serving;
    return work;
  }

  #turnDesk(): number {
    this.#sinceDesk = 0;
    try {
      return this.#desk.turn();
    } catch (error) {
      // Whose request this thread is about to die of.
      this.#state.serving = this.#queues.servedAs(this.#desk.handling?.queue)?.key ?? 0;
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

  #publishDirty(): void {
    for (let i = 0; i < this.#dirtyCount; i++) {
      const queue = this.#dirty[i]!;
      queue.publish();
      if (!queue.passive || !queue.closed) continue;
      // It is not looked at by itself: that it is broken shows when something is put into it.
      const served = this.#queues.servedAs(queue);
      if (served?.polled) this.#dropFaulted(served);
    }
    this.#dirtyCount = 0;
  }

  /**
   * What is done now and then while there is work: idle queues leave the poll list, and kicks of those that have left it are
   * looked for, as long as this thread does not sleep.
   */
  #keepHouse(): void {
    this.#untilHousekeeping = HOUSEKEEPING_TURNS;
    this.#nowNs = nowNs();
    this.#list.watchIdle(this.#nowNs);
    if (this.#list.watchedCount === 0) return;
    const { busy } = this.networks;
    if ((busy || !this.#mayRest()) && this.#list.looksForKicks(this.#nowNs, busy)) this.#lookForKicks();
  }

  #lookForKicks(): void {
    this.#list.looked(this.#nowNs);
    this.#doorway.look();
    this.#list.takeKicks(this.#doorway, this.#nowNs);
  }

  /** Sleeps until a kick, the bell, or an answer of the kernel. */
  #sleep(): void {
    const before = nowNs();
    this.#meter.sleep();
    this.#state.asleep = true;
    const nothing = this.#state.bell === this.#bellSeen && !this.#desk.hasCompletions && !this.networks.busy;
    this.calls.flush();
    if (nothing) this.#doorway.wait(this.#desk.fd);
    this.#state.asleep = false;
    this.#untilHousekeeping = HOUSEKEEPING_TURNS;
    if (!nothing) return;
    this.#nowNs = nowNs();
    this.#meter.wake();
    this.networks.tick(this.#meter.nowS);
    this.#state.countSleep(this.#nowNs - before);
    this.#list.takeKicks(this.#doorway, this.#nowNs);
  }

  #answerBell(): void {
    this.#bellSeen = this.#state.bell;
    this.#lookForKicks();
    for (let mail = receiveMessageOnPort(this.#mailbox); mail; mail = receiveMessageOnPort(this.#mailbox)) {
      this.#handle(mail.message as CoreRequest);
    }
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
        for (const served of [...this.#queues.all()]) this.#close(served, 0);
        return this.#finishClosing();
      default:
        return this.#handleOfNetworks(request);
    }
  }

  #handleOfNetworks(request: NetworkRequest): void {
    try {
      serveNetworkRequest(request, this.networks, this);
    } catch (error) {
      return this.#tell({ event: 'answer', id: request.id, error: messageOf(error) });
    }
    this.#publishDirty();
    this.#tell({ event: 'answer', id: request.id });
  }

  #attach(id: number, spec: QueueSpec): void {
    let served: ServedQueue;
    try {
      served = this.#queues.add(spec);
    } catch (error) {
      return this.#tell({ event: 'answer', id, error: messageOf(error) });
    }
    // From here on a fault of ours is one in serving the queue: the thread dies of it, and the queue is to blame.
    this.#state.serving = spec.key;
    const { queue } = served;
    if (spec.resume) {
      queue.retakeUnfinished();
      this.#publishDirty();
    }
    // A queue that was found broken is polled once more, to be dropped.
    if (served.started || served.kickFd < 0 || queue.closed || !served.watch()) this.#list.start(served, this.#nowNs);
    this.#state.serving = 0;
    this.#list.count();
    this.#tell({ event: 'answer', id });
  }

  #detach(id: number, key: number): void {
    const served = this.#queues.get(key);
    if (served === undefined) return this.#tell({ event: 'answer', id, error: 'the core does not have that queue' });
    this.#close(served, id);
    this.#finishClosing();
  }

  #retain(id: number, key: number): void {
    const detachId = this.#list.takeBack(key, this.#closing, this.#doorway, this.#nowNs);
    if (detachId > 0) this.#tell({ event: 'answer', id: detachId });
    this.#tell({ event: 'answer', id });
  }

  /** Takes nothing more from the queue; `#finishClosing` lets go of it once nothing of it is in flight. */
  #close(served: ServedQueue, detachId: number): void {
    served.queue.closed = true;
    served.detachId = detachId;
    this.#list.stop(served);
    if (served.kickFd >= 0) this.#doorway.shut(served.kickFd);
    this.#closing.push(served);
  }

  #finishClosing(): void {
    for (let i = this.#closing.length - 1; i >= 0; i--) {
      const served = this.#closing[i]!;
      // A request that was begun is brought to its end.
      if (served.queue.inFlight > 0) served.queue.serve(0, PIECE_BYTES);
      if (this.#dirtyCount > 0) this.#publishDirty();
      if (served.queue.inFlight > 0) continue;
      this.#closing.splice(i, 1);
      this.#release(served);
    }
    if (this.#stopId === 0 || this.#queues.size > 0 || !this.networks.drained()) return;
    this.#desk.close();
    this.#tell({ event: 'answer', id: this.#stopId });
    this.#running = false;
  }

  #release(served: ServedQueue): void {
    const position = this.#queues.remove(served);
    this.#list.count();
    if (served.detachId !== 0) this.#tell({ event: 'answer', id: served.detachId, position });
  }

  /** A queue that its guest has broken is not looked at again, until its front end sets it up anew. */
  #dropFaulted(served: ServedQueue): void {
    this.#list.stop(served);
    served.queue.state.phase = QueuePhase.FAULTED;
    this.#tell({ event: 'fault', key: served.key, fault: served.queue.state.fault });
  }

  #tell(message: CoreMessage): void {
    this.#mailbox.postMessage(message);
  }
}
