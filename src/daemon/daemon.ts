import { mkdirSync, rmdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { Logger } from 'pino';
import { SidecoreError } from '../errors.js';
import { FilterGroups } from '../filter/filter-groups.js';
import { allowedCpus, pinAllThreads, requireCpus } from '../host/affinity.js';
import { startCloser } from '../host/closer.js';
import { requireDescriptors } from '../host/descriptors.js';
import { groupId, userId } from './accounts.js';
import { Captures } from './captures.js';
import { type Config, countQuarantines } from './config.js';
import { schedulerOptions } from './config-scheduler.js';
import { ControlServer, requireNoDaemon } from './control-server.js';
import type { Core } from './core.js';
import { CoreSet } from './core-set.js';
import { SUPERVISE_MS } from './core-watch.js';
import { byVm, coreStatus, splitLabel, stalledText } from './daemon-status.js';
import { ServedDisk } from './disk.js';
import { FilterControl } from './filter-control.js';
import { NetPort } from './net-port.js';
import { ServedNic } from './nic.js';
import { PortBook } from './port-book.js';
import { Rebalancer } from './rebalancer.js';
import type { SocketOwner } from './served-device.js';
import { version } from './version.js';

/** Socket and, of a disk, image. */
const DEVICE_DESCRIPTORS = 2;
/** Most that a thread has open, which is while it starts. The main thread is one too. */
const THREAD_DESCRIPTORS = 20;

/** How errors name a device: where it is configured, and its label. */
type DeviceName = (vm: string, device: string) => string;

/** Path of the control socket in a run directory. */
export const controlSocketPath = (runDir: string): string => join(runDir, 'control.sock');

/** The whole system: sidecores, disks, network cards, control socket. */
export class Daemon {
  readonly cores: CoreSet;
  readonly #config: Config;
  readonly #log: Logger;
  readonly #disks: ServedDisk[] = [];
  readonly #nics: ServedNic[] = [];
  readonly #ports: NetPort[] = [];
  readonly #captures: Captures;
  readonly #filters: FilterControl;
  readonly #groups = new FilterGroups();
  readonly #control: ControlServer;
  readonly #owner: SocketOwner;
  readonly #startedAt = Date.now();
  #supervision: NodeJS.Timeout | undefined;
  /** Undefined if nothing moves. */
  #rebalancer: Rebalancer | undefined;

  /** Brings everything up, or throws one clear error and leaves nothing behind. */
  static async start(
    config: Config,
    log: Logger,
    nameDevice: DeviceName = (vm, device) => `${vm}/${device}`,
  ): Promise<Daemon> {
    await requireNoDaemon(controlSocketPath(config.run_dir));
    const daemon = new Daemon(config, log);
    let made: string | undefined;
    try {
      made = makeRunDirectory(config.run_dir);
      daemon.#openDevices(nameDevice);
      for (const device of daemon.#devices()) about(nameDevice(...splitLabel(device.label)), () => device.start());
      for (const port of daemon.#ports) await port.start();
      daemon.#filters.start(daemon.#disks, daemon.#nics);
      // Last: who can reach it finds everything else up.
      await daemon.#control.start();
    } catch (error) {
      await daemon.stop();
      for (const disk of daemon.#disks) disk.discard();
      if (made !== undefined) removeEmptyFolders(config.run_dir, made);
      throw error;
    }
    const disks = daemon.#disks.length === 1 ? '1 disk' : `${daemon.#disks.length} disks`;
    const nics = daemon.#nics.length === 1 ? '1 network card' : `${daemon.#nics.length} network cards`;
    const served = daemon.#nics.length === 0 ? disks : `${disks} and ${nics}`;
    log.info(`sidecore ${version} serves ${served}, mode ${config.mode}, CPU ${config.cores.join(', ')}`);
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

    const ports = Object.values(config.networks).reduce((sum, { ports }) => sum + Object.keys(ports).length, 0);
    const devices = Object.values(config.vms).reduce(
      (sum, { disks, nics }) => sum + Object.keys(disks).length + Object.keys(nics).length,
      ports,
    );
    const coresMin = coresMinOf(config);
    const quarantines = countQuarantines(config);
    const sidecores = config.cores.length + (coresMin === 0 ? 1 : 0) + quarantines;
    const threads = config.mode === 'baseline' ? devices : sidecores;
    // The main thread, the watchdog, and the sidecore that is kept in reserve.
    requireDescriptors(DEVICE_DESCRIPTORS * devices + THREAD_DESCRIPTORS * (threads + 3));
    const places = {
      mode: config.mode,
      scheduler: schedulerOptions(config.scheduler),
      cpus: config.cores,
      coresMin,
      helperCpus: others.filter((cpu) => cpu !== config.sqpoll_cpu),
      sqpollCpu: config.sqpoll_cpu,
      networked: Object.keys(config.networks).length > 0,
      quarantines,
      filterStallMs: config.filter_stall_ms,
    };
    this.cores = new CoreSet(places, devices, {
      died: (core, reason, fault) => this.#coreDied(core, reason, fault),
      stalled: (core, stalled) => this.#coreStalled(core, stalled),
      lost: (core) => this.#coreLost(core),
      helpersDied: (reason) => this.#filters.helpersDied(reason),
    });
    this.#captures = new Captures(log);
    this.#filters = new FilterControl(log);
    this.#control = new ControlServer(controlSocketPath(config.run_dir), {
      ...this.#filters.handlers,
      status: async () => this.status(),
      resize: async ({ disk, sizeBytes }) => find(this.#disks, disk, 'disk').resize(sizeBytes),
      link: async ({ nic, up }) => find(this.#nics, nic, 'network card').setLink(up),
      capture: async ({ nic, ...options }, response) => this.#captures.run(this.#captured(nic), options, response),
      endCapture: async ({ id }) => this.#captures.end(id),
    });
  }

  /** The card that is to be captured. Throws, and knows of another way where there is one. */
  #captured(label: string): ServedNic {
    const port = this.#ports.find((candidate) => candidate.label === label);
    if (port === undefined || this.#nics.some((nic) => nic.label === label))
      return find(this.#nics, label, 'network card');
    const { device } = port.status();
    const remedy = device === null ? 'Capture a card of its network.' : `On the host: \`tcpdump -i ${device}\`.`;
    throw new SidecoreError('CONFIG_INVALID', `${label} is no network card, and only these are captured`, remedy);
  }

  #devices(): (ServedDisk | ServedNic)[] {
    return [...this.#disks, ...this.#nics];
  }

  #openDevices(nameDevice: DeviceName): void {
    const vms = Object.keys(this.#config.vms);
    const ports = new PortBook(this.#config, (card) => this.#nics.find(({ label }) => label === card)?.ready ?? []);
    /** Disks that show a snapshot of another, which has to be open. */
    const views: (() => void)[] = [];
    for (const [vm, { disks, nics, weight, unsealed_memory }] of Object.entries(this.#config.vms)) {
      const unsealedMemory = unsealed_memory === 'allow';
      const account = { id: vms.indexOf(vm), weight };
      const place = {
        account,
        unsealedMemory,
        owner: this.#owner,
        cores: this.cores,
        groups: this.#groups,
        log: this.#log,
      };
      for (const [name, disk] of Object.entries(disks)) {
        const open = () => about(nameDevice(vm, name), () => this.#disks.push(new ServedDisk(vm, name, disk, place)));
        if (disk.backend.type === 'snapshot') views.push(open);
        else open();
      }
      for (const [name, nic] of Object.entries(nics)) {
        about(nameDevice(vm, name), () => this.#nics.push(new ServedNic(vm, name, nic, ports, place)));
      }
    }
    for (const open of views) open();
    for (const [network, { ports: others }] of Object.entries(this.#config.networks)) {
      for (const [name, port] of Object.entries(others)) {
        const place = { address: ports.other(`${network}/${name}`), core: this.cores.placePort(), log: this.#log };
        about(`port ${name} of network ${network}`, () => this.#ports.push(new NetPort(network, name, port, place)));
      }
    }
    if (this.#config.balance && this.#config.mode !== 'baseline' && this.cores.common.length > 1)
      this.#rebalancer = new Rebalancer(this.cores, coresMinOf(this.#config), this.#log);
    this.#supervision = setInterval(() => {
      for (const device of this.#devices()) device.report();
      for (const port of this.#ports) port.reportLoss();
    }, SUPERVISE_MS).unref();
  }

  /** Serves no longer: front ends are disconnected, requests in flight finished, sockets removed. */
  async stop(): Promise<void> {
    await this.#captures.stop();
    await this.#control.stop();
    await this.#filters.stop();
    await this.#rebalancer?.stop();
    // Those that others have lent what they have open end first.
    const views = this.#disks.filter(({ isView }) => isView);
    await Promise.all(views.map((disk) => disk.stop()));
    const others = this.#devices().filter((device) => !views.includes(device as ServedDisk));
    await Promise.all(others.map((device) => device.stop()));
    clearInterval(this.#supervision);
    await this.cores.stop();
    for (const port of this.#ports) port.close();
  }

  /** Everything that `sidecore status` shows. */
  status() {
    return {
      version,
      pid: process.pid,
      node: process.version,
      mode: this.#config.mode,
      scheduler: this.#config.scheduler,
      weights: Object.fromEntries(Object.entries(this.#config.vms).map(([vm, { weight }]) => [vm, weight])),
      uptime_s: Math.round((Date.now() - this.#startedAt) / 1000),
      cores: this.cores.cores.map((core) => coreStatus(core, this.cores)),
      placement: {
        cores_in_use: this.cores.inUse.length,
        moved: this.#rebalancer?.moved ?? 0,
        moves_failed: this.#rebalancer?.failed ?? 0,
      },
      vms: byVm(this.#disks),
      nics: byVm(this.#nics),
      networks: byVm(this.#ports),
    };
  }

  #coreStalled(core: Core, stalled: boolean): void {
    if (!stalled) return this.#log.info(`sidecore ${core.options.index} gets on again`);
    this.#log.error({ code: 'CORE_STALLED' }, `${stalledText(core, this.cores)} [CORE_STALLED]`);
  }

  /** Its disks cannot be served any more, and nobody may touch their guests' memory: an end that a supervisor sees is best. */
  #coreLost(core: Core): void {
    this.#log.fatal(
      { code: 'CORE_LOST' },
      `sidecore ${core.options.index} died and its I/O does not end: the daemon ends too [CORE_LOST]`,
    );
    process.exit(1);
  }

  #coreDied(core: Core, reason: string, fault: string | undefined): void {
    const code = fault === undefined ? 'CORE_DIED' : 'FILTER_STALLED';
    const what = fault === undefined ? 'died and was replaced' : 'was replaced for a filter’s sake';
    const queues = core.queueCount === 1 ? '1 queue was' : `${core.queueCount} queues were`;
    this.#log.error(
      { code },
      `sidecore ${core.options.index} ${what}; ${queues} taken over [${code}]: ${fault ?? reason}`,
    );
  }
}

/** What `status` prints. */
export type DaemonStatus = ReturnType<Daemon['status']>;

/** The device that a request names. */
function find<Device extends { readonly label: string }>(
  devices: readonly Device[],
  label: string,
  what: string,
): Device {
  const found = devices.find((device) => device.label === label);
  if (found !== undefined) return found;
  const known = devices.map((device) => device.label).join(', ') || 'none';
  throw new SidecoreError('CONFIG_INVALID', `there is no ${what} ${label}`, `There are: ${known}.`);
}

/** Says which device an error is about. */
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

/** The fewest sidecores that are in use. */
const coresMinOf = ({ cores, cores_min: coresMin }: Config): number => coresMin ?? cores.length;

function resolveOwner({ owner, group, mode }: Config['socket']): SocketOwner {
  return { uid: userId(owner, 'socket.owner'), gid: groupId(group, 'socket.group'), mode };
}
