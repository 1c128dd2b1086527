import { Worker } from 'node:worker_threads';
import { EPOLLIN, Epoll } from '../host/epoll.js';
import { createEventFd, signal } from '../host/eventfd.js';
import { WATCHER_STOP, type WatcherSetup } from '../sidecore/messages.js';
import type { QueuePosition, QueueServer, QueueSpec } from '../virtio/queue-spec.js';
import { Core, type CoreListener } from './core.js';

/** How sidecores are run. */
export type Mode = 'sidecore' | 'adaptive' | 'baseline';

/** Pause between two looks whether the cores get on, ms: a front end can hold one up for about twice as long. */
export const SUPERVISE_MS = 50;

/** Time without work after which a queue is no longer polled, ns, by mode. */
export const IDLE_AFTER_NS: Record<Mode, number> = {
  sidecore: Number.POSITIVE_INFINITY,
  adaptive: 1e6,
  baseline: 0,
};

/** Where sidecores run. */
export interface CoreSetOptions {
  readonly mode: Mode;
  /** Theirs alone; in the modes that share cores, one sidecore for each. */
  readonly cpus: readonly number[];
  /** For kernel threads that work for sidecores, besides each one's own CPU. */
  readonly helperCpus: readonly number[];
  /** For a kernel thread that polls for submissions to files. */
  readonly sqpollCpu: number | undefined;
}

/**
 * All sidecores of a daemon, and which device is served by which: a device goes to the core that has the fewest. Its state
 * is in shared memory, so that later its queues may go to different ones.
 */
export class CoreSet {
  readonly cores: Core[];
  readonly #devices: number[];
  readonly #watcherStopFd = createEventFd();
  readonly #supervision: NodeJS.Timeout;

  /**
   * @param devices - number of devices; in `baseline` each gets a thread, and the threads share the CPUs
   */
  constructor({ mode, cpus, helperCpus, sqpollCpu }: CoreSetOptions, devices: number, listener: CoreListener) {
    const epoll = new Epoll(1);
    epoll.add(this.#watcherStopFd, EPOLLIN, WATCHER_STOP);
    const common = { helperCpus, sqpollCpu, idleAfterNs: IDLE_AFTER_NS[mode], watcherFd: epoll.fd };
    const places =
      mode === 'baseline' ? Array.from({ length: Math.max(1, devices) }, () => cpus) : cpus.map((cpu) => [cpu]);
    this.cores = places.map((cpus, index) => new Core({ ...common, index, cpus }, listener));
    this.#devices = places.map(() => 0);
    const setup: WatcherSetup = {
      epollFd: epoll.fd,
      cores: this.cores.map((core) => ({ state: core.state.buffer, bellFd: core.bellFd })),
    };
    new Worker(new URL('../sidecore/watcher-thread.js', import.meta.url), { name: 'watcher', workerData: setup });
    for (const core of this.cores) core.start();
    this.#supervision = setInterval(() => {
      for (const core of this.cores) core.supervise();
    }, SUPERVISE_MS).unref();
  }

  /** Chooses a core for a device. */
  place(): { core: Core; server: QueueServer } {
    const index = this.#devices.indexOf(Math.min(...this.#devices));
    this.#devices[index]!++;
    const core = this.cores[index]!;
    const server = {
      attach: (spec: QueueSpec, onFault: (fault: number) => void): Promise<void> => core.attach(spec, onFault),
      detach: (key: number): Promise<QueuePosition> => core.detach(key),
    };
    return { core, server };
  }

  /** Ends all threads. No device is served any more. */
  async stop(): Promise<void> {
    clearInterval(this.#supervision);
    await Promise.all(this.cores.map((core) => core.stop()));
    signal(this.#watcherStopFd);
  }
}
