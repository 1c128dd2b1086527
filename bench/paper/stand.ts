import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import type { Mode } from '../../src/daemon/core-set.js';
import type { DaemonStatus } from '../../src/daemon/daemon.js';
import { OnExit } from '../../src/demo/interruption.js';
import { chooseLoadCpu } from '../../src/demo/placement.js';
import { SidecoreError } from '../../src/errors.js';
import { allowedCpus, pinAllThreads } from '../../src/host/affinity.js';
import type { PolicyName } from '../../src/scheduler/policy.js';
import { OurDaemon } from '../back-ends.js';
import { PlacementProbe } from '../placement.js';
import type { Progress } from './progress.js';

/** How long and how often everything is measured. */
export interface Timing {
  /** Times that each contender has its turn. */
  readonly rounds: number;
  readonly warmUpMs: number;
  readonly windowMs: number;
  /** Turns more for those that were disturbed. */
  readonly extra: number;
  /** Numbers of guests in experiment 1, and so on: fewer points in a quick run. */
  readonly points: 'all' | 'few' | 'least';
}

/** What a daemon of an experiment is started with. */
export interface DaemonPlan {
  readonly mode: Mode;
  readonly disks?: number;
  /** Bytes of each disk. */
  readonly diskBytes?: (index: number) => number;
  /** What each disk is, if not memory. */
  readonly backend?: (index: number) => object;
  /** Of its configuration and sockets, from which paths start; the stand's own if nothing is said. */
  readonly folder?: string;
  /** Of each disk, and of each guest's card; partners' have none. */
  readonly filters?: readonly object[];
  /** Real guests, each with a disk and a card, and a partner with a card. */
  readonly realGuests?: number;
  /** Pairs of network cards: a guest's and its partner's. */
  readonly pairs?: number;
  readonly policy?: PolicyName;
  /** Of each guest; all the same if nothing is said. */
  readonly weights?: readonly number[];
}

/** Of a real guest: as in memory as all of them. */
const REAL_DISK = { backend: { type: 'memory', size: '64MiB' } };
const STOP_MS = 20;
const SETTLE_MS = 30;

/** How the time of a daemon's cores was spent so far, ns. */
export interface CoreTimes {
  /** In turns with work. */
  readonly busyNs: number;
  /** In serving each guest's queues. */
  readonly guestNs: readonly number[];
  /** What the scheduler has stamped of all queues together. */
  readonly stamps: Stamps;
}

/** The scheduler's own counters of all queues together, partners' included. */
export interface Stamps {
  /** Time in which queues were served, ns. */
  readonly timeNs: number;
  /** Requests of disks, and frames that guests have sent: a question with its answer is one. */
  readonly requests: number;
  /** The longest that a queue was seen to wait for its turn since its guest has connected, ns. */
  readonly waitMaxNs: number;
}

type Devices = Record<string, Record<string, Timed>>;

/** What is read of a device's status. */
interface Timed {
  readonly queues: readonly {
    readonly index: number;
    readonly time_ns: number;
    readonly requests: number;
    readonly wait_max_ns: number;
  }[];
}

/** Adds up what the scheduler has stamped. A card's queues of odd number are those that its guest sends by. VIRTIO 1.3, 5.1.2 */
export function stampsOf(disks: Devices, cards: Devices): Stamps {
  const queuesOf = (devices: Devices) =>
    Object.entries(devices).flatMap(([vm, named]) =>
      Object.values(named).flatMap(({ queues }) => queues.map((queue) => ({ ...queue, isGuests: /^g\d+$/.test(vm) }))),
    );
  const [blocks, frames] = [queuesOf(disks), queuesOf(cards)];
  const all = [...blocks, ...frames];
  const asked = [...blocks, ...frames.filter(({ index, isGuests }) => isGuests && index % 2 === 1)];
  return {
    timeNs: all.reduce((sum, { time_ns }) => sum + time_ns, 0),
    requests: asked.reduce((sum, { requests }) => sum + requests, 0),
    waitMaxNs: all.reduce((most, { wait_max_ns }) => Math.max(most, wait_max_ns), 0),
  };
}

/** What is added up over the queues of each guest, in their order. */
function guestTimes(vms: DaemonStatus['vms'], nics: DaemonStatus['nics']): number[] {
  const times: number[] = [];
  for (const devices of [vms, nics] as readonly Devices[])
    for (const [vm, named] of Object.entries(devices)) {
      const index = Number(/^g(\d+)$/.exec(vm)?.[1] ?? Number.NaN);
      if (Number.isNaN(index)) continue;
      const queues = Object.values(named).flatMap((device) => device.queues);
      times[index] = (times[index] ?? 0) + queues.reduce((sum, { time_ns }) => sum + time_ns, 0);
    }
  return times;
}

/** A daemon that stands still unless it is measured. */
export class PaperDaemon {
  readonly mode: Mode;
  readonly process: OurDaemon;

  constructor(mode: Mode, process: OurDaemon) {
    this.mode = mode;
    this.process = process;
  }

  socket(vm: string, device: string): string {
    return join(this.process.runDir, `${vm}.${device}.sock`);
  }

  disk(index: number): string {
    return this.socket(`g${index}`, 'disk0');
  }

  /** Sockets of a guest's card and of its partner's. */
  pair(index: number): [string, string] {
    return [this.socket(`g${index}`, 'net0'), this.socket(`p${index}`, 'net0')];
  }

  /** How its cores' time was spent so far. */
  async times(): Promise<CoreTimes> {
    const { cores, vms, nics } = await this.process.status();
    const busyNs = cores.reduce((sum, core) => sum + core.busy_ns, 0);
    return { busyNs, guestNs: guestTimes(vms, nics), stamps: stampsOf(vms, nics) };
  }

  /** Lets it notice that guests have left, and has it stand still. */
  async settle(): Promise<void> {
    this.process.resume();
    await pause(SETTLE_MS);
    this.process.pause();
  }

  /** Whether its threads have a CPU all the time. */
  get polls(): boolean {
    return this.mode === 'sidecore';
  }
}

/**
 * What the experiments stand on: a CPU for the back ends, one for the guests' load, which is this thread, and daemons and folders
 * that are gone at the end, however it comes.
 */
export class Stand {
  readonly loadCpu: number;
  readonly coreCpu: number;
  /** All but the back ends': for real guests, which are processes. */
  readonly guestCpus: readonly number[];
  readonly node: string;
  readonly timing: Timing;
  readonly seed: number;
  readonly signal: AbortSignal;
  readonly progress: Progress;
  readonly probes: number[] = [];
  readonly #probe: PlacementProbe;
  /** For all files of a run; it is removed at the end. */
  readonly folder: string;
  readonly #removal: OnExit;
  readonly #daemons = new Set<PaperDaemon>();
  #started = 0;

  constructor(options: { node: string; timing: Timing; seed: number; signal: AbortSignal; progress: Progress }) {
    const cpus = allowedCpus();
    this.coreCpu = cpus.at(-1)!;
    this.loadCpu = chooseLoadCpu(cpus, this.coreCpu, []);
    if (this.loadCpu === this.coreCpu)
      throw new SidecoreError('CPU_UNUSABLE', 'the evaluation needs two CPUs, this process may run on one');
    this.guestCpus = cpus.filter((cpu) => cpu !== this.coreCpu);
    this.node = options.node;
    this.timing = options.timing;
    this.seed = options.seed;
    this.signal = options.signal;
    this.progress = options.progress;
    this.folder = mkdtempSync(join(tmpdir(), 'sidecore-paper-'));
    this.#removal = new OnExit(() => rmSync(this.folder, { recursive: true, force: true }));
    pinAllThreads([this.loadCpu]);
    this.#probe = new PlacementProbe(this.coreCpu);
  }

  /** Starts a daemon, which then stands still. */
  async daemon(plan: DaemonPlan): Promise<PaperDaemon> {
    this.signal.throwIfAborted();
    const { mode, disks = 0, pairs = 0, diskBytes = () => 2 ** 20, filters = [] } = plan;
    const { backend = (index: number) => ({ type: 'memory', size: diskBytes(index) }) } = plan;
    const vms: Record<string, object> = {};
    for (let i = 0; i < disks; i++) {
      const weight = plan.weights === undefined ? {} : { weight: plan.weights[i] };
      vms[`g${i}`] = { ...weight, disks: { disk0: { backend: backend(i), filters } } };
    }
    for (let i = 0; i < pairs; i++) {
      vms[`g${i}`] = { nics: { net0: { mtu: 1500, filters } } };
      vms[`p${i}`] = { nics: { net0: { mtu: 1500 } } };
    }
    const { realGuests = 0 } = plan;
    for (let i = 0; i < realGuests; i++) vms[`g${i}`] = { disks: { disk0: REAL_DISK }, nics: { net0: {} } };
    if (realGuests > 0) vms['p0'] = { nics: { net0: {} } };
    const policy = plan.policy === undefined ? {} : { scheduler: { policy: plan.policy } };
    const config = { mode, cores: [this.coreCpu], log: 'warn', ...policy, vms };
    const process = new OurDaemon(this.node, join(plan.folder ?? this.folder, `run${this.#started++}`), config);
    const daemon = new PaperDaemon(mode, process);
    this.#daemons.add(daemon);
    // Only the last: sockets are made in their order, and a connection that is tried is in the way of the next for a while.
    const last = realGuests > 0 ? daemon.socket('p0', 'net0') : pairs > 0 ? daemon.pair(pairs - 1)[1] : undefined;
    await process.ready([last ?? daemon.disk(disks - 1)]);
    // All of its threads on one CPU: a sidecore has no more. Those that only help a sidecore run beside the guests.
    if (mode === 'baseline') pinAllThreads([this.coreCpu], process.child.pid!);
    process.pause();
    return daemon;
  }

  /** Starts several, at the same time. */
  daemons(plans: readonly DaemonPlan[]): Promise<PaperDaemon[]> {
    return Promise.all(plans.map((plan) => this.daemon(plan)));
  }

  async stop(daemon: PaperDaemon): Promise<void> {
    this.#daemons.delete(daemon);
    await daemon.process.stop();
  }

  /** Round trip of a cache line between the two CPUs, ns. No daemon may run. */
  placement(): number {
    const ns = this.#probe.read();
    this.probes.push(ns);
    return ns;
  }

  /** A moment in which signals are heard. Throws if the end was asked for. */
  async breathe(): Promise<void> {
    await pause(0);
    this.signal.throwIfAborted();
  }

  async close(): Promise<void> {
    for (const daemon of this.#daemons) await daemon.process.stop();
    await this.#probe.close();
    await pause(STOP_MS);
    this.#removal.now();
  }
}
