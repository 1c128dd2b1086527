import { execFileSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import type { Logger } from 'pino';
import { SidecoreError } from '../errors.js';
import { allowedCpus, pinAllThreads, requireCpus } from '../host/affinity.js';
import { startCloser } from '../host/closer.js';
import type { Config } from './config.js';
import { ControlServer } from './control-server.js';
import type { Core } from './core.js';
import { CoreSet } from './core-set.js';
import { ServedDisk, type SocketOwner, unknownDisk } from './disk.js';
import { version } from './version.js';

/** Path of the control socket in a run directory. */
export const controlSocketPath = (runDir: string): string => join(runDir, 'control.sock');

/** The whole system: sidecores, disks, control socket. */
export class Daemon {
  readonly cores: CoreSet;
  readonly #config: Config;
  readonly #log: Logger;
  readonly #disks: ServedDisk[] = [];
  readonly #control: ControlServer;
  readonly #startedAt = Date.now();

  /** Brings everything up, or throws one clear error and leaves nothing behind. */
  static async start(config: Config, log: Logger): Promise<Daemon> {
    const daemon = new Daemon(config, log);
    try {
      for (const disk of daemon.#disks) disk.start();
      // Last: who can reach it finds everything else up.
      await daemon.#control.start();
    } catch (error) {
      await daemon.stop();
      throw error;
    }
    log.info(
      `sidecore ${version} serves ${daemon.#disks.length} disks, mode ${config.mode}, CPU ${config.cores.join(', ')}`,
    );
    return daemon;
  }

  private constructor(config: Config, log: Logger) {
    this.#config = config;
    this.#log = log;
    const allowed = allowedCpus();
    startCloser();
    requireCpus(config.sqpoll_cpu === undefined ? config.cores : [...config.cores, config.sqpoll_cpu], allowed);
    makeRunDirectory(config.run_dir);
    const others = allowed.filter((cpu) => !config.cores.includes(cpu));
    if (others.length > 0) pinAllThreads(others);
    else log.warn('every CPU is a sidecore’s: the control plane and other programs will take time from them');

    const disks = Object.entries(config.vms).flatMap(([vm, { disks, unsealed_memory }]) =>
      Object.entries(disks).map(([name, disk]) => ({ vm, name, disk, unsealedMemory: unsealed_memory === 'allow' })),
    );
    const owner = resolveOwner(config.socket);
    const places = {
      mode: config.mode,
      cpus: config.cores,
      helperCpus: others.filter((cpu) => cpu !== config.sqpoll_cpu),
      sqpollCpu: config.sqpoll_cpu,
    };
    this.cores = new CoreSet(places, disks.length, {
      died: (core, reason) => this.#coreDied(core, reason),
      stalled: (core) => this.#coreStalled(core),
      lost: (core) => this.#coreLost(core),
    });
    this.#control = new ControlServer(controlSocketPath(config.run_dir), {
      status: async () => this.status(),
      resize: async ({ disk, sizeBytes }) => this.#resize(disk, sizeBytes),
    });
    try {
      for (const { vm, name, disk, unsealedMemory } of disks) {
        this.#disks.push(new ServedDisk(vm, name, disk, { unsealedMemory, owner, cores: this.cores, log }));
      }
    } catch (error) {
      void this.stop();
      throw error;
    }
  }

  /** Serves no longer: front ends are disconnected, requests in flight finished, sockets removed. */
  async stop(): Promise<void> {
    await this.#control.stop();
    await Promise.all(this.#disks.map((disk) => disk.stop()));
    await this.cores.stop();
  }

  /** Everything that `sidecore status` shows. */
  status() {
    const vms: Record<string, Record<string, ReturnType<ServedDisk['status']>>> = {};
    for (const disk of this.#disks) {
      const [vm, name] = disk.label.split('/') as [string, string];
      vms[vm] ??= {};
      vms[vm][name] = disk.status();
    }
    return {
      version,
      pid: process.pid,
      node: process.version,
      mode: this.#config.mode,
      uptime_s: Math.round((Date.now() - this.#startedAt) / 1000),
      cores: this.cores.cores.map(coreStatus),
      vms,
    };
  }

  async #resize(label: string, sizeBytes: number | undefined) {
    const disk = this.#disks.find((candidate) => candidate.label === label);
    if (disk === undefined)
      throw unknownDisk(
        label,
        this.#disks.map((other) => other.label),
      );
    return disk.resize(sizeBytes);
  }

  #coreStalled(core: Core): void {
    const serving = this.#disks.map((disk) => disk.label).join(', ');
    const where = `thread ${core.state.threadId}, CPU ${core.options.cpus.join(', ')}`;
    this.#log.error(
      { code: 'CORE_STALLED' },
      `sidecore ${core.options.index} (${where}) makes no progress; disks: ${serving} [CORE_STALLED]`,
    );
  }

  /** Its disks cannot be served any more, and nobody may touch their guests' memory: an end that a supervisor sees is best. */
  #coreLost(core: Core): void {
    this.#log.fatal(
      { code: 'CORE_LOST' },
      `sidecore ${core.options.index} died and its I/O does not end: the daemon ends too [CORE_LOST]`,
    );
    process.exit(1);
  }

  #coreDied(core: Core, reason: string): void {
    this.#log.error(
      { code: 'CORE_DIED' },
      `sidecore ${core.options.index} died and was replaced; ${core.queueCount} queues were taken over [CORE_DIED]: ${reason}`,
    );
  }
}

/** What `status` prints. */
export type DaemonStatus = ReturnType<Daemon['status']>;

function coreStatus(core: Core) {
  const { turns, busyNs, emptyNs, asleepNs, sleeps, queuesPolled, queuesWatched } = core.state.read();
  return {
    index: core.options.index,
    cpus: core.options.cpus,
    thread: core.state.threadId,
    deaths: core.deaths,
    queues: core.queueCount,
    queues_polled: queuesPolled,
    queues_watched: queuesWatched,
    turns,
    busy_ns: Math.round(busyNs),
    empty_ns: Math.round(emptyNs),
    asleep_ns: Math.round(asleepNs),
    sleeps,
  };
}

function makeRunDirectory(path: string): void {
  try {
    mkdirSync(path, { recursive: true });
  } catch (error) {
    throw new SidecoreError(
      'SOCKET_PERMISSION',
      `cannot make the run directory ${path}: ${(error as NodeJS.ErrnoException).code}`,
      'Run as root, or set `run_dir:` to a folder of your own.',
    );
  }
}

function resolveOwner({ owner, group, mode }: Config['socket']): SocketOwner {
  return { uid: lookUp('passwd', owner), gid: lookUp('group', group), mode };
}

/** Numeric id of a user or group. */
function lookUp(database: 'passwd' | 'group', name: string | number | undefined): number | undefined {
  if (name === undefined || typeof name === 'number') return name;
  try {
    return Number(execFileSync('getent', [database, name], { encoding: 'utf8' }).split(':')[2]);
  } catch {
    const key = database === 'passwd' ? 'owner' : 'group';
    throw new SidecoreError(
      'CONFIG_INVALID',
      `socket.${key}: there is no ${key === 'owner' ? 'user' : 'group'} ${name} on this machine`,
    );
  }
}
