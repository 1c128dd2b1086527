import { Worker } from 'node:worker_threads';
import { EPOLLIN, Epoll } from '../host/epoll.js';
import { createEventFd, signal } from '../host/eventfd.js';
import { CROSSING_BYTES, CROSSING_BYTES_MIN, CROSSINGS_BYTES, NETWORKS_MAX } from '../limits.js';
import { CrossingRing } from '../net/crossing-ring.js';
import type { NetDeviceSpec } from '../net/device.js';
import { Directory } from '../net/directory.js';
import type { SchedulerOptions } from '../scheduler/policy.js';
import { type Neighbourhood, WATCHER_STOP, type WatcherSetup } from '../sidecore/messages.js';
import type { DeviceSpec, QueuePosition, QueueServer, QueueSpec } from '../virtio/queue-spec.js';
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

/** No ways: there is nothing that could cross. */
const alone = (): Neighbourhood => ({ directory: Directory.create(1, 0), networks: 0, others: [] });

/** Makes the ways between sidecores: two rings for each pair. */
function meet(cores: readonly Core[]): Neighbourhood[] {
  const share = 2 ** Math.floor(Math.log2(CROSSINGS_BYTES / cores.length ** 2));
  const bytes = Math.max(CROSSING_BYTES_MIN, Math.min(CROSSING_BYTES, share));
  const directory = Directory.create(cores.length, NETWORKS_MAX);
  const rings = cores.map((_, here) =>
    cores.map((_, there) => (there === here ? undefined : CrossingRing.create(bytes))),
  );
  return cores.map((_, here) => ({
    directory,
    networks: NETWORKS_MAX,
    others: cores.flatMap(({ state, bellFd }, there) =>
      there === here
        ? []
        : [
            {
              core: there,
              arrivals: rings[there]![here]!,
              departures: rings[here]![there]!,
              state: state.buffer,
              bellFd,
            },
          ],
    ),
  }));
}

/** Where sidecores run. */
export interface CoreSetOptions {
  readonly mode: Mode;
  readonly scheduler: SchedulerOptions;
  /** Theirs alone; in the modes that share cores, one sidecore for each. */
  readonly cpus: readonly number[];
  /** For kernel threads that work for sidecores, besides each one's own CPU. */
  readonly helperCpus: readonly number[];
  /** For a kernel thread that polls for submissions to files. */
  readonly sqpollCpu: number | undefined;
  /** Whether there are network cards: then frames cross from one to another. */
  readonly networked: boolean;
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
  constructor(
    { mode, scheduler, cpus, helperCpus, sqpollCpu, networked }: CoreSetOptions,
    devices: number,
    listener: CoreListener,
  ) {
    const epoll = new Epoll(1);
    epoll.add(this.#watcherStopFd, EPOLLIN, WATCHER_STOP);
    const common = { scheduler, helperCpus, sqpollCpu, idleAfterNs: IDLE_AFTER_NS[mode], watcherFd: epoll.fd };
    const places =
      mode === 'baseline' ? Array.from({ length: Math.max(1, devices) }, () => cpus) : cpus.map((cpu) => [cpu]);
    this.cores = places.map((cpus, index) => new Core({ ...common, index, cpus }, listener));
    this.#devices = places.map(() => 0);
    const setup: WatcherSetup = {
      epollFd: epoll.fd,
      cores: this.cores.map((core) => ({ state: core.state.buffer, bellFd: core.bellFd })),
    };
    new Worker(new URL('../sidecore/watcher-thread.js', import.meta.url), { name: 'watcher', workerData: setup });
    const neighbourhoods = networked ? meet(this.cores) : this.cores.map(() => alone());
    for (const [index, core] of this.cores.entries()) core.start(neighbourhoods[index]!);
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
      inject: (device: DeviceSpec, frame: Uint8Array): Promise<void> => core.inject(device as NetDeviceSpec, frame),
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
