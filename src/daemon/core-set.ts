import type { BlockDeviceSpec } from '../block/device.js';
import { CORE_QUEUES_MAX, FILTER_STALL_MS } from '../limits.js';
import type { NetDeviceSpec } from '../net/device.js';
import type { SchedulerOptions } from '../scheduler/policy.js';
import { POLLING_RULES } from '../scheduler/polling.js';
import type { DeviceSpec } from '../virtio/queue-spec.js';
import { Core } from './core.js';
import type { CoreListener } from './core-options.js';
import { CoreThreads } from './core-threads.js';
import { SUPERVISE_MS } from './core-watch.js';
import { Mesh } from './mesh.js';
import { PlacedDevice } from './placed-device.js';
import { Watchdog } from './watchdog.js';

/** How sidecores are run. */
export type Mode = 'sidecore' | 'adaptive' | 'baseline';

/** Where sidecores run. */
export interface CoreSetOptions {
  readonly mode: Mode;
  readonly scheduler: SchedulerOptions;
  /** Theirs alone; in the modes that share cores, one sidecore for each. */
  readonly cpus: readonly number[];
  /** The fewest of them that are in use. Where that is zero, there is a thread besides, for when none is. */
  readonly coresMin: number;
  /** For kernel threads that work for sidecores, besides each one's own CPU, and for the thread that is used when no CPU of theirs is. */
  readonly helperCpus: readonly number[];
  /** For a kernel thread that polls for submissions to files. */
  readonly sqpollCpu: number | undefined;
  /** Whether there are network cards: then frames cross from one to another. */
  readonly networked: boolean;
  /** How many devices have a sidecore of their own, because of filters that nobody trusts. In `baseline` each has. */
  readonly quarantines?: number;
  /** How long a filter may keep a sidecore from everything else, ms. */
  readonly filterStallMs?: number;
  /** As of `CoreOptions`. */
  readonly thread?: URL;
}

/**
 * All sidecores of a daemon, and what is served by which: a queue of a disk, or a network card, goes to the core in use that has the
 * fewest. All state of a device is in shared memory, so that its queues may be on different ones, and move.
 */
export class CoreSet {
  /** All threads; the shared one is the last. */
  readonly cores: readonly Core[];
  /** Serves everything, and sleeps in between, while no other is in use. */
  readonly shared: Core | undefined;
  readonly mesh: Mesh;
  readonly devices: PlacedDevice[] = [];
  /** Cores that have ports which cannot move. */
  readonly ports: Core[] = [];
  readonly #mode: Mode;
  /** Where their threads come from. */
  readonly threads: CoreThreads;
  readonly #filterStallMs: number;
  #watchdog: Watchdog | undefined;
  readonly #supervision: NodeJS.Timeout;

  /**
   * @param devices - number of devices; in `baseline` each gets a thread, and the threads share the CPUs
   */
  constructor(options: CoreSetOptions, devices: number, listener: CoreListener) {
    const { mode, scheduler, cpus, coresMin, helperCpus, sqpollCpu, networked, quarantines = 0, thread } = options;
    this.threads = new CoreThreads((reason) => listener.helpersDied?.(reason));
    this.#filterStallMs = options.filterStallMs ?? FILTER_STALL_MS;
    this.#mode = mode;
    const common = { scheduler, helperCpus, sqpollCpu, ...(thread && { thread }) };
    const places =
      mode === 'baseline' ? Array.from({ length: Math.max(1, devices) }, () => cpus) : cpus.map((cpu) => [cpu]);
    const polling = POLLING_RULES[mode];
    const cores = places.map((cpus, index) => new Core({ ...common, polling, index, cpus }, this.threads, listener));
    const anywhere = helperCpus.length > 0 ? helperCpus : cpus;
    // Where it could take time from sidecores it waits for its guest's kicks, and does not poll.
    const modest = helperCpus.length > 0 ? POLLING_RULES.adaptive : POLLING_RULES.baseline;
    for (let i = 0; i < (mode === 'baseline' ? 0 : quarantines); i++) {
      const place = { index: cores.length, cpus: anywhere, quarantine: true };
      cores.push(new Core({ ...common, ...place, polling: modest }, this.threads, listener));
    }
    if (coresMin === 0) {
      const place = { index: cores.length, cpus: anywhere };
      this.shared = new Core({ ...common, ...place, polling: POLLING_RULES.baseline }, this.threads, listener);
      cores.push(this.shared);
    }
    this.cores = cores;
    const inUse = mode === 'baseline' ? places.length : coresMin;
    for (const core of this.dedicated.slice(inUse)) this.use(core, false);
    this.mesh = new Mesh(this.cores, networked);
    for (const [index, core] of this.cores.entries()) core.start(this.mesh.neighbourhoods[index]!);
    this.#supervision = setInterval(() => {
      for (const core of this.cores) core.supervise(() => this.cores.flatMap(({ attached }) => [...attached]));
    }, SUPERVISE_MS).unref();
  }

  /** Cores among which things are shared out, and move: all but those that are there for one device each. */
  get common(): readonly Core[] {
    return this.cores.filter(({ options }) => !options.quarantine);
  }

  /** Those of them that have a CPU to themselves. */
  get dedicated(): readonly Core[] {
    return this.common.filter((core) => core !== this.shared);
  }

  /** Those of them that are in use. */
  get inUse(): readonly Core[] {
    return this.dedicated.filter((core) => core.inUse);
  }

  /** Those that something may be placed on: the shared one if there is no other. Stalled ones only if all are. */
  get candidates(): readonly Core[] {
    const { inUse } = this;
    const answering = inUse.filter(({ stalled }) => !stalled);
    if (answering.length > 0) return answering;
    return inUse.length > 0 ? inUse : [this.shared!];
  }

  /** Takes one of them into use, or out of it: nothing more is placed on it. */
  use(core: Core, inUse: boolean): void {
    core.inUse = inUse;
    if (this.shared !== undefined) this.shared.inUse = this.inUse.length === 0;
  }

  /**
   * Places a device of a VM. Its queues have one core together, unless each can have its own.
   *
   * @param quarantine - it has a core that serves nothing else, and stays there
   */
  place(label: string, spec: DeviceSpec, quarantine = false): PlacedDevice {
    const together = spec.kind !== 'block' || this.#mode === 'baseline';
    const own = quarantine ? this.#freeQuarantine() : undefined;
    const home = own ?? (together ? this.choose(queuesOf(spec)) : undefined);
    const device = new PlacedDevice(label, spec, home, () => this.choose());
    this.devices.push(device);
    return device;
  }

  /** Places a port that is no guest's. It stays on its core, which is in use from then on. */
  placePort(): Core {
    const core = this.inUse.length > 0 ? this.choose() : this.dedicated[0]!;
    this.use(core, true);
    this.ports.push(core);
    return core;
  }

  /**
   * The core in use that has the fewest devices and queues, for one more. If all of these are full or stalled, one more is taken into use.
   *
   * @param queues - that it is to have room for
   */
  choose(queues = 1): Core {
    const isFit = (core: Core) => !core.stalled && this.#hasRoom(core, queues);
    const room = this.candidates.filter(isFit);
    const parked = room.length > 0 ? undefined : this.dedicated.find((core) => !core.inUse && isFit(core));
    if (parked !== undefined) {
      this.use(parked, true);
      return parked;
    }
    const candidates = room.length > 0 ? room : this.candidates;
    const counts = new Map(candidates.map((core) => [core, 0]));
    const count = (core: Core | undefined) => {
      if (core !== undefined && counts.has(core)) counts.set(core, counts.get(core)! + 1);
    };
    for (const core of this.ports) count(core);
    for (const { home, queues } of this.devices) {
      if (home !== undefined) count(home);
      else for (const { bound } of queues.values()) count(bound);
    }
    return candidates.reduce((fewest, core) => (counts.get(core)! < counts.get(fewest)! ? core : fewest));
  }

  /** A core that is kept for one device, and has none yet; undefined in `baseline`, where each has its thread anyway. */
  #freeQuarantine(): Core | undefined {
    const taken = new Set(this.devices.map(({ home }) => home));
    return this.cores.find((core) => core.options.quarantine && !taken.has(core));
  }

  /** Cards' queues come to their core later, and have their room. */
  #hasRoom(core: Core, queues: number): boolean {
    let bound = queues;
    for (const { home, spec, queues } of this.devices) {
      if (home !== undefined) bound += home === core ? queuesOf(spec) : 0;
      else for (const queue of queues.values()) if (queue.bound === core) bound++;
    }
    return bound <= CORE_QUEUES_MAX;
  }

  /**
   * Has no filter keep a sidecore for longer, from now on: a thread watches, and another is kept in reserve to take the place of
   * one that is ended. To be called where there is a filter, now or later; again makes no difference.
   */
  guard(): void {
    if (this.#watchdog !== undefined) return;
    this.#watchdog = new Watchdog(this.cores, this.#filterStallMs);
    this.threads.keepSpare();
  }

  /** Ends all threads. No device is served any more. */
  async stop(): Promise<void> {
    clearInterval(this.#supervision);
    await this.#watchdog?.stop();
    await this.threads.stop();
    await Promise.all(this.cores.map((core) => core.stop()));
  }
}

/** The most that a device has, a card's control queue among them. */
function queuesOf(spec: DeviceSpec): number {
  return spec.kind === 'net' ? 2 * (spec as NetDeviceSpec).queuePairs + 1 : (spec as BlockDeviceSpec).queues;
}
