import { setTimeout as sleep } from 'node:timers/promises';
import { type ErrorCode, SidecoreError } from '../errors.js';
import { HOLD_MS_MAX } from '../limits.js';
import type { NetDeviceSpec } from '../net/device.js';
import type { CaptureSpec } from '../sidecore/messages.js';
import type { DeviceSpec, QueuePosition, QueueServer, QueueSpec } from '../virtio/queue-spec.js';
import { QueueState } from '../virtio/queue-state.js';
import type { DetachedQueue } from './attached.js';
import type { Core } from './core.js';
import { MoveLock } from './move-lock.js';

/** The code of a queue at whose service cores keep dying; its owner has been told. */
const CRASHED: ErrorCode = 'QUEUE_CRASHED_CORE';

/** A queue while its front end has it served, and the core that serves it now. */
export class PlacedQueue {
  readonly spec: QueueSpec;
  readonly onFault: (fault: number) => void;
  readonly lock: MoveLock;
  /** By `QueueCounter`. */
  readonly counters: Float64Array;
  /** Undefined if no core serves it: it is on its way, or was found broken on it. */
  core: Core | undefined;
  /** The core that serves it or will. */
  bound: Core | undefined;
  /** How it was when a core let go of it. */
  #left: DetachedQueue;

  constructor(spec: QueueSpec, onFault: (fault: number) => void, lock: MoveLock) {
    this.spec = spec;
    this.onFault = onFault;
    this.lock = lock;
    this.counters = new QueueState(spec.state).counters;
    this.#left = { base: spec.base, started: spec.started, sound: true, crashes: 0 };
  }

  get sound(): boolean {
    return this.#left.sound;
  }

  /** Has a core serve it from where it stands. Throws if the core cannot. */
  async enter(core: Core): Promise<void> {
    const { base, started, crashes } = this.#left;
    this.bound = core;
    try {
      await core.attach({ ...this.spec, base, started }, this.onFault, crashes);
      this.core = core;
    } catch (error) {
      if (error instanceof SidecoreError && error.code === CRASHED) this.#left = { ...this.#left, sound: false };
      throw error;
    }
  }

  /**
   * Has its core let go of it, when nothing of it is in flight. Returns where it stands.
   *
   * @param waitMsMax - how long that may take; if it takes longer, the core keeps it, and this is undefined
   */
  async leave(): Promise<QueuePosition>;
  async leave(waitMsMax: number | undefined): Promise<QueuePosition | undefined>;
  async leave(waitMsMax?: number): Promise<QueuePosition | undefined> {
    const { core } = this;
    if (core !== undefined) {
      const left = await core.detach(this.spec.key, waitMsMax);
      if (left === undefined) return undefined;
      this.#left = left;
      this.core = undefined;
    }
    return this.#left;
  }
}

/** Does something under several locks. */
function useAll<T>(locks: readonly MoveLock[], act: () => Promise<T>): Promise<T> {
  const [first, ...others] = locks;
  return first === undefined ? act() : first.use(() => useAll(others, act));
}

/** Whether something is so within a time; false at its end. */
async function inTime(isSo: Promise<boolean>, msMax: number): Promise<boolean> {
  const end = new AbortController();
  const late = sleep(msMax, false, { ref: false, signal: end.signal });
  late.catch(() => {});
  return Promise.race([isSo, late]).finally(() => end.abort());
}

export interface HoldOptions {
  readonly waitMsMax?: number | undefined;
  readonly holder?: string;
}

/** Where a device's queues are served: on the cores that are chosen for them, which change while they are moved. */
export class PlacedDevice implements QueueServer {
  /** "VM/device" */
  readonly label: string;
  readonly spec: DeviceSpec;
  /** The core of all its queues; undefined if there is one for each. */
  home: Core | undefined;
  /** By key. */
  readonly queues = new Map<number, PlacedQueue>();
  /** Of all queues of a device with a home. */
  readonly lock = new MoveLock();
  readonly #choose: () => Core;
  /** Resolved when the device is held no more; and who holds it, or did last. */
  #holding: Promise<void> = Promise.resolve();
  #holder = '';
  /** Queues that are on their way to a core. */
  readonly #attaching = new Set<Promise<void>>();
  /** By index of a queue: its core, also while it is not served for a moment. */
  readonly #cores = new Map<number, { readonly key: number; core: Core }>();

  /** @param choose - finds a core for one more queue */
  constructor(label: string, spec: DeviceSpec, home: Core | undefined, choose: () => Core) {
    this.label = label;
    this.spec = spec;
    this.home = home;
    this.#choose = choose;
  }

  /**
   * Runs a function while nothing of a disk is in flight, and nothing is taken from its queues; one such function at a time. It gets
   * the queues that are served.
   *
   * Throws `DEVICE_BUSY`, and everything goes on, if who holds it already, or what is in flight, does not end in time.
   *
   * @param waitMsMax - how long each of that may take
   * @param holder - who holds it, for those who wait
   */
  async hold<T>(
    during: (queues: readonly PlacedQueue[]) => T | Promise<T>,
    { waitMsMax = HOLD_MS_MAX, holder = 'a change of its filters' }: HoldOptions = {},
  ): Promise<T> {
    const before = this.#holding;
    let end = () => {};
    const ended = new Promise<void>((resolve) => {
      end = resolve;
    });
    // Who does not wait any longer does not let others past those it has waited for.
    this.#holding = before.then(() => ended);
    try {
      if (
        !(await inTime(
          before.then(() => true),
          waitMsMax,
        ))
      )
        throw this.#busy(`${this.#holder} holds it for more than ${waitMsMax / 1000} s`);
      this.#holder = holder;
      const attached = Promise.allSettled(this.#attaching).then(() => true);
      if (!(await inTime(attached, waitMsMax))) throw this.#unsettled(waitMsMax);
      const queues = [...this.queues.values()];
      const locks = [...new Set(queues.map(({ lock }) => lock))];
      return await useAll(locks, () => this.#holdLocked(queues, during, waitMsMax));
    } finally {
      end();
    }
  }

  async #holdLocked<T>(
    queues: readonly PlacedQueue[],
    during: (queues: readonly PlacedQueue[]) => T | Promise<T>,
    waitMsMax: number,
  ): Promise<T> {
    const served = queues.filter(({ core }) => core !== undefined);
    const held = served.map(({ core, spec }) => ({ core: core!, key: spec.key }));
    const release = () => Promise.all(held.map(({ core, key }) => core.release(key)));
    const settled = Promise.all(held.map(({ core, key }) => core.hold(key))).then(() => true);
    if (!(await inTime(settled, waitMsMax))) {
      // One that does not settle may be one that does not answer.
      release().catch(() => {});
      throw this.#unsettled(waitMsMax);
    }
    try {
      return await during(served);
    } finally {
      await release();
    }
  }

  #unsettled(waitMsMax: number): SidecoreError {
    return this.#busy(`its requests in flight do not end within ${waitMsMax / 1000} s`);
  }

  #busy(why: string): SidecoreError {
    const remedy = 'See `sidecore status`: a filter may keep requests, or hold the disk, or storage does not answer.';
    return new SidecoreError('DEVICE_BUSY', `${this.label}: ${why}`, remedy);
  }

  async attach(spec: QueueSpec, onFault: (fault: number) => void): Promise<void> {
    let held: Promise<void>;
    do {
      held = this.#holding;
      await held;
    } while (held !== this.#holding);
    const attaching = this.#attach(spec, onFault);
    this.#attaching.add(attaching);
    await attaching.finally(() => this.#attaching.delete(attaching));
  }

  #attach(spec: QueueSpec, onFault: (fault: number) => void): Promise<void> {
    const lock = this.home === undefined ? new MoveLock() : this.lock;
    return lock.use(async () => {
      const queue = new PlacedQueue(spec, onFault, lock);
      this.queues.set(spec.key, queue);
      try {
        await queue.enter(this.#coreFor(spec));
      } catch (error) {
        this.queues.delete(spec.key);
        throw error;
      }
    });
  }

  async detach(key: number): Promise<QueuePosition> {
    const queue = this.queues.get(key)!;
    return queue.lock.use(async () => {
      this.#remember(queue);
      const position = await queue.leave();
      this.queues.delete(key);
      return position;
    });
  }

  inject(device: DeviceSpec, frame: Uint8Array): Promise<void> {
    return this.lock.use(() => this.home!.inject(device as NetDeviceSpec, frame));
  }

  /** Has what passes the card recorded, wherever it is served; and not any more. */
  capture(spec: CaptureSpec): Promise<void> {
    return this.lock.use(() => this.home!.capture(spec));
  }

  uncapture(port: number): Promise<void> {
    return this.lock.use(() => this.home!.uncapture(port));
  }

  /** Has a card use the filters that its spec has now, wherever it is served. */
  refilter(): Promise<void> {
    return this.lock.use(() => this.home!.changeFilters({ op: 'refilter', device: this.spec as NetDeviceSpec }));
  }

  /** The core that serves a queue; undefined if none does. */
  coreOf(key: number): Core | undefined {
    return this.queues.get(key)?.core;
  }

  /** A queue that stops for a moment, as with each message about it, goes on where it was. */
  #remember({ spec, core }: PlacedQueue): void {
    if (core !== undefined && this.home === undefined) this.#cores.set(spec.index, { key: spec.key, core });
  }

  #coreFor({ index, key }: QueueSpec): Core {
    const last = this.#cores.get(index);
    this.#cores.delete(index);
    return this.home ?? (last?.key === key && last.core.inUse && !last.core.stalled ? last.core : this.#choose());
  }
}
