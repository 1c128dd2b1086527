import { MessageChannel, type MessagePort, Worker } from 'node:worker_threads';
import type { QueuePosition, QueueSpec } from '../block/queue-spec.js';
import { SidecoreError } from '../errors.js';
import { createEventFd, signal } from '../host/eventfd.js';
import { type IoUringHandles, retireIoUring } from '../host/io-uring.js';
import { close } from '../host/libc.js';
import { QUEUE_CRASHES_MAX } from '../limits.js';
import { CoreState } from '../sidecore/core-state.js';
import type { CoreMessage, CoreRequest, CoreSetup } from '../sidecore/messages.js';
import { QueuePhase, QueueState } from '../virtio/queue-state.js';

/** How long a replacement waits for the kernel to finish what the dead thread had started, ms. */
const RETIRE_MS_MAX = 10_000;

/** What the daemon is told of a core. */
export interface CoreListener {
  /** The thread died and another has taken its queues over. */
  died(core: Core, reason: string): void;
}

interface Pending {
  readonly request: CoreRequest;
  readonly resolve: (position: QueuePosition | undefined) => void;
  readonly reject: (error: Error) => void;
}

interface Attached {
  readonly spec: QueueSpec;
  readonly onFault: (fault: number) => void;
  crashes: number;
}

/** Where a core runs, and how patiently it polls. */
export interface CoreOptions {
  readonly index: number;
  readonly cpus: readonly number[];
  readonly idleAfterNs: number;
  readonly watcherFd: number;
}

/** Fault number of a queue that its sidecores keep dying of; no fault of a ring has it. */
const CRASHED_CORE = -100;

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
  readonly #listener: CoreListener;
  readonly #attached = new Map<number, Attached>();
  readonly #pending = new Map<number, Pending>();
  #worker: Worker | undefined;
  #mailbox: MessagePort | undefined;
  #uring: IoUringHandles | undefined;
  #nextId = 1;
  #stopping = false;

  constructor(options: CoreOptions, listener: CoreListener) {
    this.options = options;
    this.#listener = listener;
  }

  /** Number of queues that the core serves. */
  get queueCount(): number {
    return this.#attached.size;
  }

  start(): void {
    const { port1, port2 } = new MessageChannel();
    const { index, cpus, idleAfterNs, watcherFd } = this.options;
    const setup: CoreSetup = {
      cpus,
      idleAfterNs,
      state: this.state.buffer,
      bellFd: this.bellFd,
      watcherFd,
      index,
      mailbox: port2,
    };
    const worker = new Worker(new URL('../sidecore/core-thread.js', import.meta.url), {
      name: `sidecore-${index}`,
      workerData: setup,
      transferList: [port2],
    });
    let reason = '';
    worker.on('error', (error) => {
      reason = error.stack ?? error.message;
    });
    worker.on('exit', (code) => {
      port1.close();
      if (!this.#stopping) this.#replace(reason || `the thread ended with code ${code}`);
    });
    port1.on('message', (message: CoreMessage) => this.#hear(message));
    this.#worker = worker;
    this.#mailbox = port1;
  }

  /** Has the core serve a queue. */
  async attach(spec: QueueSpec, onFault: (fault: number) => void): Promise<void> {
    this.#attached.set(spec.key, { spec, onFault, crashes: 0 });
    try {
      await this.#ask({ id: this.#nextId++, op: 'attach', queue: spec });
    } catch (error) {
      this.#attached.delete(spec.key);
      throw error;
    }
  }

  /** Ends that; resolves when nothing of the queue is in flight. */
  async detach(key: number): Promise<QueuePosition> {
    const position = await this.#ask({ id: this.#nextId++, op: 'detach', key });
    this.#attached.delete(key);
    return position ?? { nextAvail: 0, started: false };
  }

  /** Ends the thread, after what is in flight. */
  async stop(): Promise<void> {
    await this.#ask({ id: this.#nextId++, op: 'stop' });
    // Before the event of the thread's end, which is a later turn of the event loop.
    this.#stopping = true;
    await this.#worker?.terminate();
    close(this.bellFd);
  }

  /** Ends the thread as a fault would, at any point of its work. For tests of what happens then. */
  async kill(): Promise<void> {
    await this.#worker?.terminate();
  }

  #ask(request: CoreRequest): Promise<QueuePosition | undefined> {
    return new Promise((resolve, reject) => {
      this.#pending.set(request.id, { request, resolve, reject });
      this.#post(request);
    });
  }

  #post(request: CoreRequest): void {
    this.#mailbox?.postMessage(request);
    if (this.state.ring()) signal(this.bellFd);
  }

  #hear(message: CoreMessage): void {
    switch (message.event) {
      case 'uring':
        this.#uring = message.handles;
        return;
      case 'fault':
        this.#attached.get(message.key)?.onFault(message.fault);
        return;
      case 'answer': {
        const pending = this.#pending.get(message.id);
        this.#pending.delete(message.id);
        if (message.error !== undefined) pending?.reject(new SidecoreError('VRING_INVALID', message.error));
        else pending?.resolve(message.position);
      }
    }
  }

  /** Starts another thread and gives it everything that the dead one had. */
  #replace(reason: string): void {
    this.deaths++;
    this.#blame(this.state.serving);
    this.state.serving = 0;
    if (this.#uring !== undefined && !retireIoUring(this.#uring, RETIRE_MS_MAX)) {
      // Its operations may still write to guest memory: going on would corrupt disks.
      throw new SidecoreError('CORE_DIED', `core ${this.options.index} died and its I/O does not finish`);
    }
    this.#uring = undefined;
    this.start();
    const unanswered = [...this.#pending.values()].map(({ request }) => request);
    const asked = new Set(unanswered.map((request) => (request.op === 'attach' ? request.queue.key : 0)));
    for (const [key, { spec }] of this.#attached) {
      if (!asked.has(key)) this.#ask({ id: this.#nextId++, op: 'attach', queue: takenOver(spec) }).catch(() => {});
    }
    for (const request of unanswered) {
      this.#post(request.op === 'attach' ? { ...request, queue: takenOver(request.queue) } : request);
    }
    this.#listener.died(this, reason);
  }

  /** Leaves out a queue that was being served at too many deaths. */
  #blame(key: number): void {
    const attached = this.#attached.get(key);
    if (attached === undefined || ++attached.crashes < QUEUE_CRASHES_MAX) return;
    this.#attached.delete(key);
    attached.onFault(CRASHED_CORE);
  }
}

/** The same queue for another thread, which goes on where the dead one was. */
function takenOver(spec: QueueSpec): QueueSpec {
  const { phase } = new QueueState(spec.state);
  return { ...spec, resume: phase !== QueuePhase.STOPPED, started: spec.started || phase === QueuePhase.POLLED };
}
