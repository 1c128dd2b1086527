import { MessageChannel, type MessagePort, receiveMessageOnPort, Worker } from 'node:worker_threads';
import { HelperChannel } from '../filter/helper-channel.js';
import type { HelperSetup } from '../filter/helpers.js';
import type { FilteredDeviceSpec } from '../filter/spec.js';
import { moveThread } from '../host/affinity.js';
import { Epoll } from '../host/epoll.js';
import { close } from '../host/libc.js';
import { spanOf } from '../host/memory-view.js';
import { CORE_HEAP_MIB_MAX } from '../limits.js';
import type { CoreMessage, CoreRequest, CoreSetup, ReserveMessage } from '../sidecore/messages.js';
import type { QueueSpec } from '../virtio/queue-spec.js';
import { HelperThread } from './helper-thread.js';

const SIDECORE_THREAD = new URL('../sidecore/core-thread.js', import.meta.url);
/** Exit code of a worker that was terminated. */
const TERMINATED = 1;
/** Pause before a spare thread is started, ms: what is under way because a sidecore has died comes first. */
const SPARE_AFTER_MS = 50;
/** Spans of memory that a thread in reserve has views of: V8 collects garbage for each. */
const SPANS_MAX = 64;

/** What a sidecore's thread does, for the main thread. */
export interface CoreThreadListener {
  heard(message: CoreMessage): void;
  /**
   * It runs nothing any more, and all that it said was heard.
   *
   * @param lingers - Node has not done with the thread yet: it takes a few milliseconds of CPU time more
   */
  ended(reason: string, lingers: boolean): void;
}

/** What a thread is told; it gets a mailbox and a doorway of its own. */
export type ThreadSetup = Omit<CoreSetup, 'mailbox' | 'doorwayFd' | 'helperBell'>;

/** A sidecore's thread, as long as it lives. */
export class CoreThread {
  readonly #worker: Worker;
  readonly #mailbox: MessagePort;
  /** Helpers that were made for it. */
  #setups: HelperSetup[] = [];
  #terminated = false;
  #ended = false;

  /**
   * @param helpers - where filters' helpers are made
   * @param take - gives the thread its setup, with what goes over to it; returns it
   */
  constructor(
    listener: CoreThreadListener,
    helpers: Pick<HelperThread, 'add' | 'close'>,
    take: (setup: Pick<CoreSetup, 'mailbox' | 'doorwayFd'>) => Worker,
  ) {
    const { port1, port2 } = new MessageChannel();
    const doorwayFd = new Epoll(1).fd;
    const worker = take({ mailbox: port2, doorwayFd });
    const hear = (message: CoreMessage) => {
      if (message.event !== 'helper') return listener.heard(message);
      this.#setups = this.#setups.filter(({ channel }) => !new HelperChannel(channel).closed);
      this.#setups.push(message.setup);
      helpers.add(message.setup);
    };
    let reason = '';
    const end = (code: number, lingers: boolean) => {
      if (this.#ended) return;
      this.#ended = true;
      // Whoever takes over has its own made.
      helpers.close(this.#setups);
      close(doorwayFd);
      listener.ended(reason || `the thread ended with code ${code}`, lingers);
    };
    worker.on('error', (error) => {
      reason = error.stack ?? error.message;
    });
    let closed = false;
    worker.on('exit', (code) => {
      // What it still said: a last answer, or that it had made an io_uring. All is heard of a port that is closed, which can be read no more.
      while (!closed) {
        const mail = receiveMessageOnPort(port1);
        if (mail === undefined) break;
        hear(mail.message);
      }
      port1.close();
      end(code, false);
    });
    port1.on('message', hear);
    port1.on('close', () => {
      closed = true;
      // The first that Node does once a worker runs no JavaScript any more is to close its ports. What follows, until `exit`, is tidying up.
      if (this.#terminated) end(TERMINATED, true);
    });
    this.#worker = worker;
    this.#mailbox = port1;
  }

  post(request: CoreRequest): void {
    this.#mailbox.postMessage(request);
  }

  /** Ends it wherever it is, unless it waits in a call of the kernel: then when that returns. */
  async terminate(): Promise<void> {
    this.#terminated = true;
    await this.#worker.terminate();
  }
}

/** A thread in reserve. */
interface Spare {
  readonly worker: Worker;
  /** As the kernel knows it; zero until it has said so. */
  threadId: number;
}

/**
 * Where sidecores' threads come from. One can be kept in reserve, with its modules loaded, a rehearsal behind it, and views of the
 * memory that others serve, so that a replacement begins at once.
 */
export class CoreThreads {
  readonly #helpers: HelperThread;
  readonly #spans = new Set<number>();
  #keepsSpare = false;
  #spare: Spare | undefined;
  #timer: NodeJS.Timeout | undefined;

  /** @param helpersDied - is told of what the thread of filters' helpers has died, each time */
  constructor(helpersDied: (reason: string) => void = () => {}) {
    this.#helpers = new HelperThread(helpersDied);
  }

  /** @param thread - what it runs, if not a sidecore */
  start(setup: ThreadSetup, listener: CoreThreadListener, thread: URL | undefined): CoreThread {
    return new CoreThread(listener, this.#helpers, (own) => {
      const whole = { ...setup, ...own, helperBell: this.#helpers.bell.buffer };
      const spare = thread === undefined ? this.#takeSpare() : undefined;
      if (spare === undefined) return newWorker(thread ?? SIDECORE_THREAD, `sidecore-${setup.index}`, whole);
      // It wakes up where it is to run: here it would have to wait for this thread.
      moveThread(spare.threadId, setup.cpus);
      spare.worker.postMessage({ setup: whole } satisfies ReserveMessage, [own.mailbox]);
      spare.worker.ref();
      return spare.worker;
    });
  }

  /** Has a thread kept in reserve from now on. It starts on the CPUs of the thread that calls. */
  keepSpare(): void {
    this.#keepsSpare = true;
    this.#prepare();
  }

  /** Some thread serves this queue, and the next one may have to. */
  expect(queue: QueueSpec): void {
    const before = this.#spans.size;
    for (const address of addressesOf(queue)) {
      // The kernel maps downwards: what the thread will map for itself comes to lie below.
      for (const span of [spanOf(address), spanOf(address) - 1]) if (before < SPANS_MAX) this.#spans.add(span);
    }
    if (this.#spans.size > before) this.#tellSpans();
  }

  async stop(): Promise<void> {
    this.#keepsSpare = false;
    clearTimeout(this.#timer);
    await this.#spare?.worker.terminate();
    await this.#helpers.stop();
  }

  #prepare(): void {
    if (!this.#keepsSpare || this.#spare !== undefined) return;
    const worker = newWorker(SIDECORE_THREAD, 'sidecore-spare', undefined);
    const spare: Spare = { worker, threadId: 0 };
    worker.once('message', (threadId: number) => {
      spare.threadId = threadId;
    });
    // One that ends while it is idle is of no use, and will not be missed.
    const forget = () => {
      if (this.#spare === spare) this.#spare = undefined;
    };
    worker.on('error', forget);
    worker.on('exit', forget);
    worker.unref();
    this.#spare = spare;
    this.#tellSpans();
  }

  #tellSpans(): void {
    this.#spare?.worker.postMessage({ spans: [...this.#spans] } satisfies ReserveMessage);
  }

  #takeSpare(): Spare | undefined {
    const spare = this.#spare;
    this.#spare = undefined;
    if (!this.#keepsSpare) return spare;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#prepare(), SPARE_AFTER_MS).unref();
    return spare;
  }
}

/** @param setup - undefined for one that will be told later */
function newWorker(thread: URL, name: string, setup: CoreSetup | undefined): Worker {
  return new Worker(thread, {
    name,
    workerData: setup ?? null,
    transferList: setup === undefined ? [] : [setup.mailbox],
    resourceLimits: { maxOldGenerationSizeMb: CORE_HEAP_MIB_MAX },
  });
}

/** Where memory begins that whoever serves a queue looks at first: its guest's, and that of a disk in memory. */
function addressesOf({ memory, device }: QueueSpec): number[] {
  const { backend } = device as Partial<FilteredDeviceSpec>;
  const guest = memory.regions.map(({ hostAddress }) => hostAddress);
  return backend?.type === 'memory' ? [...guest, backend.address] : guest;
}
