import { assert, SidecoreError } from '../errors.js';
import { moveThread } from '../host/affinity.js';
import { createEventFd, eventCount, signal } from '../host/eventfd.js';
import type { IoUringHandles } from '../host/io-uring.js';
import { close } from '../host/libc.js';
import { QUEUE_CRASHES_MAX } from '../limits.js';
import type { NetDeviceSpec } from '../net/device.js';
import type { PortSpec } from '../net/ports/port-spec.js';
import { CoreState } from '../sidecore/core-state.js';
import type { CaptureSpec, CoreMessage, CoreOrder, CoreRequest, Neighbourhood } from '../sidecore/messages.js';
import { CoreFault } from '../virtio/queue-faults.js';
import type { QueuePosition, QueueSpec } from '../virtio/queue-spec.js';
import { QueueState } from '../virtio/queue-state.js';
import {
  type Attached,
  type DetachedQueue,
  detachedFrom,
  EVENT_COUNTER_MAX,
  newAttached,
  silence,
  takenOver,
} from './attached.js';
import type { CoreListener, CoreOptions } from './core-options.js';
import type { CoreThread, CoreThreads } from './core-threads.js';
import { CoreWatch, type Unanswered } from './core-watch.js';
import { culpritLast, FilterBlame } from './filter-blame.js';
import { retired } from './retired.js';
import type { Stall } from './watchdog.js';

interface Pending extends Unanswered {
  /** Of an order that holds. */
  readonly name: string | undefined;
  readonly resolve: (position: QueuePosition | undefined) => void;
  readonly reject: (error: Error) => void;
}

/**
 * The daemon's side of one sidecore. It outlives the thread: one that dies is replaced by another, which takes over all
 * queues with what was in flight. A queue at whose service cores keep dying is left out.
 */
export class Core {
  readonly options: CoreOptions;
  readonly state = new CoreState();
  readonly bellFd = createEventFd();
  /** Threads so far, less the first. */
  deaths = 0;
  /** Queues may be placed on it. */
  inUse = true;
  readonly #listener: CoreListener;
  readonly #attached = new Map<number, Attached>();
  /** What holds until the core is told otherwise: a thread that takes over is told again. By a name of their own. */
  readonly #orders = new Map<string, CoreOrder>();
  /** Told when a network is frozen no more. */
  readonly #thawing: (() => void)[] = [];
  readonly #pending = new Map<number, Pending>();
  #neighbours: Neighbourhood | undefined;
  readonly #threads: CoreThreads;
  #thread: CoreThread | undefined;
  #uring: IoUringHandles | undefined;
  #nextId = 1;
  #stopping = false;
  /** At which it is not replaced any more, but has stopped. */
  #deathsMax = Number.POSITIVE_INFINITY;
  readonly #watch = new CoreWatch();
  readonly #filterBlame = new FilterBlame();

  constructor(options: CoreOptions, threads: CoreThreads, listener: CoreListener) {
    this.options = options;
    this.#threads = threads;
    this.#listener = listener;
  }

  /** Number of queues that the core serves. */
  get queueCount(): number {
    return [...this.#attached.values()].filter(({ leftOut }) => !leftOut).length;
  }

  /** The thread has not got on, or not answered, for `CORE_ANSWER_MS_MAX`, and does not yet: it takes part in nothing. */
  get stalled(): boolean {
    return this.#watch.stalled;
  }

  /** Queues that it serves, or is to. */
  get attached(): Iterable<Attached> {
    return this.#attached.values();
  }

  /** Starts the thread. */
  start(neighbours: Neighbourhood): void {
    this.#neighbours = neighbours;
    this.state.threadId = 0;
    const { helperCpus, thread, ...options } = this.options;
    const workerCpus = [...helperCpus, ...options.cpus];
    const setup = { ...options, workerCpus, state: this.state.buffer, bellFd: this.bellFd, neighbours };
    const listener = {
      heard: (message: CoreMessage) => this.#hear(message),
      ended: (reason: string, lingers: boolean) => {
        // Later: whoever waited for one of its last answers goes on first, so that all agree on what is attached.
        if (!this.#stopping) setImmediate(() => void this.#replace(reason, lingers));
      },
    };
    this.#thread = this.#threads.start(setup, listener, thread);
  }

  /**
   * Has the core serve a queue.
   *
   * @param crashes - how many cores died while they served it, if it has been on others
   */
  async attach(spec: QueueSpec, onFault: (fault: number) => void, crashes = 0): Promise<void> {
    const attached = newAttached(spec, onFault, crashes);
    this.#attached.set(spec.key, attached);
    this.#threads.expect(spec);
    try {
      await this.#ask({ op: 'attach', queue: spec });
      attached.served = true;
    } catch (error) {
      this.#attached.delete(spec.key);
      throw error;
    }
  }

  /**
   * Ends that; resolves when nothing of the queue is in flight.
   *
   * @param waitMsMax - how long that may take; after it, the core serves the queue on as if nothing had been asked, and this is undefined
   */
  async detach(key: number): Promise<DetachedQueue>;
  async detach(key: number, waitMsMax: number | undefined): Promise<DetachedQueue | undefined>;
  async detach(key: number, waitMsMax?: number): Promise<DetachedQueue | undefined> {
    const attached = this.#attached.get(key);
    assert(attached !== undefined, 'a queue is detached that was attached');
    let position: QueuePosition | undefined;
    const retain = () => this.#ask({ op: 'retain', key });
    const timer = waitMsMax === undefined ? undefined : setTimeout(() => void retain().catch(() => {}), waitMsMax);
    try {
      if (!attached.leftOut) position = await this.#ask({ op: 'detach', key });
      if (position === undefined && !attached.leftOut) return undefined;
    } catch (error) {
      // It may have been left out since it was asked.
      if (!attached.leftOut) throw error;
    } finally {
      clearTimeout(timer);
    }
    this.#attached.delete(key);
    return detachedFrom(attached, position);
  }

  /** Has the core send a frame as if a network card of its had sent it; once nothing keeps it from being sent. */
  async inject(device: NetDeviceSpec, frame: Uint8Array): Promise<void> {
    while (this.#orders.has(`freeze ${device.switchId}`))
      await new Promise<void>((resolve) => this.#thawing.push(resolve));
    await this.#ask({ op: 'inject', device, frame });
  }

  /** Has the core serve a port that is no guest's card. */
  async plug(port: PortSpec): Promise<void> {
    await this.#order(`plug ${port.number}`, { op: 'plug', port });
  }

  /** Has what passes a port recorded; a thread that takes over goes on with it. */
  async capture(spec: CaptureSpec): Promise<void> {
    await this.#order(`capture ${spec.port}`, { op: 'capture', ...spec });
  }

  /** What is recorded of a port here. */
  captureOf(port: number): CaptureSpec | undefined {
    return this.#orders.get(`capture ${port}`) as CaptureSpec | undefined;
  }

  /** Ends that; resolves when nothing more is recorded. */
  async uncapture(port: number): Promise<void> {
    this.#orders.delete(`capture ${port}`);
    await this.#ask({ op: 'uncapture', port });
  }

  /** Has nothing more sent in a network. Resolves when others can see all that was sent. */
  async freeze(network: number): Promise<void> {
    await this.#order(`freeze ${network}`, { op: 'freeze', network });
  }

  /** Ends that. */
  async thaw(network: number): Promise<void> {
    this.#orders.delete(`freeze ${network}`);
    for (const goOn of this.#thawing.splice(0)) goOn();
    await this.#ask({ op: 'thaw', network });
  }

  /** Has nothing more taken from a queue of a disk. Resolves when nothing of it is in flight. */
  async hold(key: number): Promise<void> {
    await this.#order(`hold ${key}`, { op: 'hold', key });
  }

  /** Ends that. */
  async release(key: number): Promise<void> {
    this.#orders.delete(`hold ${key}`);
    await this.#ask({ op: 'release', key });
  }

  /** Has a queue that is held, or a card, use other filters; these are in its device's spec already, for a thread that takes over. */
  async changeFilters(order: Extract<CoreOrder, { readonly op: 'filters' | 'refilter' }>): Promise<void> {
    await this.#ask(order);
  }

  /** Ends the thread, after what is in flight; without that, if it and its successors die of it again and again. */
  async stop(): Promise<void> {
    this.#deathsMax = this.deaths + QUEUE_CRASHES_MAX;
    await this.#ask({ op: 'stop' });
    await this.#thread?.terminate();
    close(this.bellFd);
  }

  /**
   * To be called every `SUPERVISE_MS`: frees a thread that hangs in a call because a front end has filled its event counter and made
   * it blocking. That front end loses its connection.
   *
   * @param all - queues of all cores: that front end's are silenced wherever they are served
   */
  supervise(all: () => Iterable<Attached>): void {
    const { stalled } = this.#watch;
    this.#watch.look(this.state, this.#pending.values());
    if (this.#watch.stalled !== stalled) this.#listener.stalled(this, !stalled);
    if (!this.#watch.stuck) return;
    for (const { spec, onFault } of this.#attached.values()) {
      if (spec.callFd < 0 || eventCount(spec.callFd) < EVENT_COUNTER_MAX) continue;
      onFault(CoreFault.CALL_BLOCKED);
      silence(spec, all());
    }
  }

  /** Ends the thread as a fault would, at any point of its work. For tests of what happens then. */
  async kill(): Promise<void> {
    this.#filterBlame.excuse();
    await this.#thread?.terminate();
  }

  /** Ends the thread, because a filter keeps it from everything else, if it still does. */
  endStalled({ filter, beat, ms }: Stall): void {
    if (this.state.filter !== filter || this.state.beat !== beat) return;
    this.#filterBlame.accuse(filter, ms);
    void this.#thread?.terminate();
  }

  #ask(order: CoreOrder, name?: string): Promise<QueuePosition | undefined> {
    return new Promise((resolve, reject) => {
      const request: CoreRequest = { id: this.#nextId++, ...order };
      this.#pending.set(request.id, { request, name, looks: 0, resolve, reject });
      this.#post(request);
    });
  }

  async #order(name: string, order: CoreOrder): Promise<void> {
    this.#orders.set(name, order);
    await this.#ask(order, name);
  }

  #post(request: CoreRequest): void {
    this.#thread?.post(request);
    if (this.state.ring()) signal(this.bellFd);
  }

  #hear(message: CoreMessage): void {
    switch (message.event) {
      case 'uring':
        this.#uring = message.handles;
        return;
      case 'fault':
        this.#tellFault(this.#attached.get(message.key), message.fault);
        return;
      case 'answer': {
        const pending = this.#pending.get(message.id);
        this.#pending.delete(message.id);
        // At once: the event of the thread's end is next.
        if (pending?.request.op === 'stop') this.#stopping = true;
        if (message.error !== undefined) pending?.reject(new SidecoreError('VRING_INVALID', message.error));
        else pending?.resolve(message.position);
      }
    }
  }

  /** Starts another thread and gives it everything that the dead one had. */
  async #replace(reason: string, lingers: boolean): Promise<void> {
    this.deaths++;
    const culprit = this.#filterBlame.settle(this.state.filter, this.#attached.values(), reason);
    // A filter that is out of service will not do it again: the queue is not to blame.
    if (culprit === undefined) this.#blame(this.state.serving);
    this.state.serving = 0;
    this.state.marks[0] = 0;
    // Its operations may still write to guest memory: going on before they have ended would corrupt disks.
    const uring = this.#uring;
    this.#uring = undefined;
    if (!(await retired(uring))) return this.#listener.lost(this);
    const stop = [...this.#pending.values()].find(({ request }) => request.op === 'stop');
    if (stop !== undefined && this.deaths >= this.#deathsMax) return stop.resolve(undefined);
    const { threadId } = this.state;
    this.start(this.#neighbours!);
    this.#watch.restart(this.#pending.values());
    for (const attached of this.#attached.values()) {
      // One that its guest had broken stays stopped, until its front end sets it up anew.
      const { fault } = new QueueState(attached.spec.state);
      if (fault === 0) continue;
      attached.leftOut = true;
      this.#tellFault(attached, fault);
    }
    this.#forgetAttaching();
    const unanswered = [...this.#pending.values()].map(({ request }) => request);
    const named = new Set([...this.#pending.values()].map(({ name }) => name));
    for (const [name, order] of this.#orders) if (!named.has(name)) void this.#ask(order);
    const asked = new Set(unanswered.map((request) => (request.op === 'attach' ? request.queue.key : 0)));
    for (const attached of culpritLast(this.#attached.values(), culprit)) {
      if (attached.leftOut || asked.has(attached.spec.key)) continue;
      this.#ask({ op: 'attach', queue: takenOver(attached) }).catch(() => this.#leaveOut(attached));
    }
    for (const request of unanswered) {
      const attached = request.op === 'attach' ? this.#attached.get(request.queue.key) : undefined;
      this.#post(attached === undefined ? request : { ...request, op: 'attach', queue: takenOver(attached) });
    }
    // Its CPU is its successor's. Not before this: here it would take time from what the successor waits for.
    if (lingers) moveThread(threadId, this.options.helperCpus);
    this.#listener.died(this, reason, culprit?.text);
  }

  #tellFault(attached: Attached | undefined, fault: number): void {
    if (attached === undefined || attached.faultTold) return;
    attached.faultTold = true;
    attached.onFault(fault);
  }

  /** A queue that is left out is not attached any more, even if that had been asked for and not answered. */
  #forgetAttaching(): void {
    for (const [id, { request, reject }] of this.#pending) {
      if (request.op !== 'attach' || !this.#attached.get(request.queue.key)?.leftOut) continue;
      this.#pending.delete(id);
      reject(new SidecoreError('QUEUE_CRASHED_CORE', 'sidecores died while they took the queue over'));
    }
  }

  /** Leaves out a queue that was being served at too many deaths. */
  #blame(key: number): void {
    const attached = this.#attached.get(key);
    if (attached !== undefined && ++attached.crashes >= QUEUE_CRASHES_MAX) this.#leaveOut(attached);
  }

  #leaveOut(attached: Attached): void {
    if (attached.leftOut) return;
    attached.leftOut = true;
    this.#tellFault(attached, CoreFault.CRASHED_CORE);
  }
}
