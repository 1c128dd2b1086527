import { execFileSync } from 'node:child_process';
import { mkdirSync, rmdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { Logger } from 'pino';
import { SidecoreError } from '../errors.js';
import { allowedCpus, pinAllThreads, requireCpus } from '../host/affinity.js';
import { startCloser } from '../host/closer.js';
import { requireDescriptors } from '../host/descriptors.js';
import type { Config } from './config.js';
import { ControlServer, requireNoDaemon } from './control-server.js';
import type { Core } from './core.js';
import { CoreSet, SUPERVISE_MS } from './core-set.js';
import { ServedDisk, type SocketOwner, unknownDisk } from './disk.js';
import { version } from './version.js';

/** Image and socket of a disk. */
const DISK_DESCRIPTORS = 2;
/** Most that a thread has open, which is while it starts. The watcher is one too. */
const THREAD_DESCRIPTORS = 20;

/** How errors name a disk: where it is configured, and its label. */
type DiskName = (vm: string, disk: string) => string;

const splitLabel = (label: string) => label.split('/') as [vm: string, disk: string];

/** Path of the control socket in a run directory. */
export const controlSocketPath = (runDir: string): string => join(runDir, 'control.sock');

/** The whole system: sidecores, disks, control socket. */
export class Daemon {
  readonly cores: CoreSet;
  readonly #config: Config;
  readonly #log: Logger;
  readonly #disks: ServedDisk[] = [];
  readonly #control: ControlServer;
  readonly #owner: SocketOwner;
  readonly #startedAt = Date.now();
  #supervision: NodeJS.Timeout | undefined;

  /** Brings everything up, or throws one clear error and leaves nothing behind. */
  static async start(config: Config, log: Logger, nameDisk: DiskName = (vm, disk) => `${vm}/${disk}`): Promise<Daemon> {
    await requireNoDaemon(controlSocketPath(config.run_dir));
    const daemon = new Daemon(config, log);
    let made: string | undefined;
    try {
      made = makeRunDirectory(config.run_dir);
      daemon.#openDisks(nameDisk);
      for (const disk of daemon.#disks) about(nameDisk(...splitLabel(disk.label)), () => disk.start());
      // Last: who can reach it finds everything else up.
      await daemon.#control.start();
    } catch (error) {
      await daemon.stop();
      for (const disk of daemon.#disks) disk.discard();
      if (made !== undefined) removeEmptyFolders(config.run_dir, made);
      throw error;
    }
    const disks = daemon.#disks.length === 1 ? '1 disk' : `${daemon.#disks.length} disks`;
    log.info(`sidecore ${version} serves ${disks}, mode ${config.mode}, CPU ${config.cores.join(', ')}`);
    return daemon;
  }

  private constructor(config: Config, log: Logger) {
    this.#config = config;
    this.#log = log;
    const allowed = allowedCpus();
    startCloser();
    requireCpus(config.cores, 'under `cores:`', allowed);
    if (config.sqpoll_cpu !== undefined) requireCpus([config.sqpoll_cpu], 'as `sqpoll_cpu:`', allowed);
    this.#owner = resolveOwner(config.socket);
    const others = allowed.filter((cpu) => !config.cores.includes(cpu));
    if (others.length > 0) pinAllThreads(others);
    else log.warn('every CPU is a sidecore’s: the control plane and other programs will take time from them');

    const disks = Object.values(config.vms).reduce((sum, vm) => sum + Object.keys(vm.disks).length, 0);
    const threads = config.mode === 'baseline' ? disks : config.cores.length;
    requireDescriptors(DISK_DESCRIPTORS * disks + THREAD_DESCRIPTORS * (threads + 1));
    const places = {
      mode: config.mode,
      cpus: config.cores,
      helperCpus: others.filter((cpu) => cpu !== config.sqpoll_cpu),
      sqpollCpu: config.sqpoll_cpu,
    };
    this.cores = new CoreSet(places, disks, {
      died: (core, reason) => this.#coreDied(core, reason),
      stalled: (core) => this.#coreStalled(core),
      lost: (core) => this.#coreLost(core),
    });
    this.#control = new ControlServer(controlSocketPath(config.run_dir), {
      status: async () => this.status(),
      resize: async ({ disk, sizeBytes }) => this.#resize(disk, sizeBytes),
    });
  }

  #openDisks(nameDisk: DiskName): void {
    for (const [vm, { disks, unsealed_memory }] of Object.entries(this.#config.vms)) {
      const options = {
        unsealedMemory: unsealed_memory === 'allow',
        owner: this.#owner,
        cores: this.cores,
        log: this.#log,
      };
      for (const [name, disk] of Object.entries(disks))
        about(nameDisk(vm, name), () => this.#disks.push(new ServedDisk(vm, name, disk, options)));
    }
    this.#supervision = setInterval(() => {
      for (const disk of this.#disks) disk.reportIoErrors();
    }, SUPERVISE_MS).unref();
  }

  /** Serves no longer: front ends are disconnected, requests in flight finished, sockets removed. */
  async stop(): Promise<void> {
    await this.#control.stop();
    await Promise.all(this.#disks.map((disk) => disk.stop()));
    clearInterval(this.#supervision);
    await this.cores.stop();
  }

  /** Everything that `sidecore status` shows. */
  status() {
    const vms: Record<string, Record<string, ReturnType<ServedDisk['status']>>> = {};
    for (const disk of this.#disks) {
      const [vm, name] = splitLabel(disk.label);
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

/** Says which disk an error is about. */
function about<T>(label: string, call: () => T): T {
  try {
    return call();
  } catch (error) {
    if (!(error instanceof SidecoreError)) throw error;
    throw new SidecoreError(error.code, `${label}: ${error.message}`, error.remedy, { cause: error });
  }
}

/** Returns the first folder that it had to make. */
function makeRunDirectory(path: string): string | undefined {
  try {
    return mkdirSync(path, { recursive: true });
  } catch (error) {
    throw new SidecoreError(
      'SOCKET_PERMISSION',
      `cannot make the run directory ${path}: ${(error as NodeJS.ErrnoException).code}`,
      'Run as root, or set `run_dir:` to a folder of your own.',
    );
  }
}

/** Takes back what was made: folders from `path` up to `first`, as far as nobody else has put anything into them. */
function removeEmptyFolders(path: string, first: string): void {
  try {
    for (let folder = path; folder.length >= first.length; folder = dirname(folder)) rmdirSync(folder);
  } catch {
    // It is not empty.
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
