import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import type { DaemonStatus } from '../../src/daemon/daemon.js';
import { OthersMeter } from '../../src/demo/cpu-use.js';
import { OnExit } from '../../src/demo/interruption.js';
import { SidecoreError } from '../../src/errors.js';
import { BlockDriver } from '../../src/guest/block-driver.js';
import { allowedCpus, pinAllThreads } from '../../src/host/affinity.js';
import { nowNs } from '../../src/host/clock.js';
import { OurDaemon } from '../back-ends.js';
import { CPU_SHARE_MIN } from '../duel.js';
import { PlacementProbe } from '../placement.js';
import { median } from '../report.js';
import { GuestLoad, type Stretch } from './load.js';

/** Guests of a daemon, and the bytes that they all use together, however many they are. */
export const GUESTS_MAX = 16;
export const WORKING_SET_BYTES = 16 * 2 ** 20;

const WARM_UP_MS = 20;
const WINDOW_MS = 60;
/** Good windows of a point, and attempts at them. */
const WINDOWS = 2;
const ATTEMPTS_MAX = 6;
/** What others may have had of a CPU in a window: less than two of the kernel's ticks. */
const OTHERS_SHARE_MAX = 0.18;
const SETTLE_MS = 30;

export type DaemonMode = 'sidecore' | 'baseline';

/** What is measured at once. */
export interface PointPlan {
  readonly mode: DaemonMode;
  readonly guests: number;
  readonly depth: number;
  readonly bytes: number;
  readonly sleeping: boolean;
  /** The disk that has no data, instead of those in memory. */
  readonly nothing?: boolean;
}

/** What the daemon counted in a window. */
export interface Counted {
  readonly requests: number;
  readonly turns: number;
  /** Time that the scheduler measured for serving, ns; busy time of the cores; CPU time of all threads. */
  readonly serveNs: number;
  readonly busyNs: number;
  readonly cpuNs: number;
}

export interface Measured extends Stretch {
  /** What a look at a guest without completions takes, ns. */
  readonly lookNs: number;
  /** What it takes to ask for calls at one, ns. */
  readonly armNs: number;
  readonly counted: Counted;
  readonly undisturbed: boolean;
}

/** The CPU of the guests' thread, and that of the back ends. */
export interface GroundCpus {
  readonly loadCpu: number;
  readonly coreCpu: number;
}

function chooseCpus(): GroundCpus {
  const cpus = allowedCpus();
  return { loadCpu: cpus[0]!, coreCpu: cpus.at(-1)! };
}

/** Two CPUs, a daemon for each mode, and what is left behind by neither. */
export class CalibrationGround {
  readonly loadCpu: number;
  readonly coreCpu: number;
  readonly clockNs: number;
  readonly probes: number[] = [];
  readonly #probe: PlacementProbe;
  readonly #folder = mkdtempSync(join(tmpdir(), 'sidecore-sim-'));
  readonly #removal = new OnExit(() => rmSync(this.#folder, { recursive: true, force: true }));
  readonly #daemons = new Map<DaemonMode, OurDaemon>();

  /** @param cpus - where this process is pinned already; otherwise the first and the last that it may run on */
  constructor(cpus: GroundCpus = chooseCpus()) {
    this.coreCpu = cpus.coreCpu;
    this.loadCpu = cpus.loadCpu;
    if (this.coreCpu === this.loadCpu)
      throw new SidecoreError('CPU_UNUSABLE', 'calibration needs two CPUs, this process may run on one');
    pinAllThreads([this.loadCpu]);
    this.#probe = new PlacementProbe(this.coreCpu);
    this.clockNs = readingNs();
  }

  /** Starts both daemons; they stand still unless they are measured. */
  async start(node: string): Promise<void> {
    const vms: Record<string, object> = { nothing: { disks: { disk: { backend: { type: 'null', size: 2 ** 30 } } } } };
    for (let i = 0; i < GUESTS_MAX; i++) {
      const size = Math.ceil(WORKING_SET_BYTES / (i + 1) / 4096) * 4096;
      vms[`g${i}`] = { disks: { disk: { backend: { type: 'memory', size } } } };
    }
    for (const mode of ['sidecore', 'baseline'] as const) {
      const config = { mode, cores: [this.coreCpu], log: 'warn', vms };
      const daemon = new OurDaemon(node, join(this.#folder, mode), config);
      this.#daemons.set(mode, daemon);
      await daemon.ready([this.#socket(mode, `g${GUESTS_MAX - 1}`)]);
      for (let i = 0; i < GUESTS_MAX; i++) await this.#fill(mode, i);
      daemon.pause();
    }
  }

  /** Half of a round trip of a cache line between the two CPUs, ns. */
  oneWayNs(): number {
    const ns = this.#probe.read();
    this.probes.push(ns);
    return ns / 2;
  }

  /** The best of some windows, of those in which nothing was seen to disturb; if there are none, of all. */
  async measure(plan: PointPlan): Promise<Measured> {
    const daemon = this.#daemons.get(plan.mode)!;
    const { depth, bytes } = plan;
    const guests: BlockDriver[] = [];
    daemon.resume();
    try {
      for (let i = 0; i < plan.guests; i++) {
        const socket = this.#socket(plan.mode, plan.nothing ? 'nothing' : `g${i}`);
        guests.push(await BlockDriver.connect({ socket, depth, requestBytes: bytes }));
      }
      const workingSetBytes = WORKING_SET_BYTES / plan.guests;
      const load = new GuestLoad(
        guests,
        { depth, requestBytes: bytes, readShare: 1, workingSetBytes },
        plan.sleeping,
        this.clockNs,
      );
      load.start();
      load.run(WARM_UP_MS);
      const all: Omit<Measured, 'lookNs' | 'armNs'>[] = [];
      const good = () => all.filter(({ undisturbed }) => undisturbed);
      while (good().length < WINDOWS && all.length < ATTEMPTS_MAX) all.push(await this.#window(daemon, plan, load));
      load.finish();
      const [lookNs, armNs] = [load.lookNs(), load.armNs()];
      const kept = good().length > 0 ? good() : all;
      const best = kept.reduce((a, b) => (a.perSecond > b.perSecond ? a : b));
      return { ...best, lookNs, armNs };
    } finally {
      for (const guest of guests) guest.close();
      // The daemon is to notice that its guests are gone before it stands still.
      await pause(SETTLE_MS);
      daemon.pause();
    }
  }

  /** What a round of a sidecore takes over so many queues without work, ns. */
  async emptyRoundNs(count: number): Promise<number> {
    const daemon = this.#daemons.get('sidecore')!;
    const guests: BlockDriver[] = [];
    daemon.resume();
    try {
      for (let i = 0; i < count; i++)
        guests.push(
          await BlockDriver.connect({ socket: this.#socket('sidecore', `g${i}`), depth: 1, requestBytes: 4096 }),
        );
      const pattern = { depth: 1, requestBytes: 4096, readShare: 1, workingSetBytes: 65_536 };
      const load = new GuestLoad(guests, pattern, false, this.clockNs);
      load.start();
      load.finish();
      const rounds: number[] = [];
      for (let i = 0; i < WINDOWS; i++) {
        const before = (await daemon.status()).cores[0]!;
        await pause(WINDOW_MS);
        const after = (await daemon.status()).cores[0]!;
        rounds.push((after.empty_ns - before.empty_ns) / (after.turns - before.turns));
      }
      return Math.min(...rounds);
    } finally {
      for (const guest of guests) guest.close();
      await pause(SETTLE_MS);
      daemon.pause();
    }
  }

  async close(): Promise<void> {
    for (const daemon of this.#daemons.values()) await daemon.stop();
    await this.#probe.close();
    this.#removal.now();
  }

  async #window(daemon: OurDaemon, plan: PointPlan, load: GuestLoad): Promise<Omit<Measured, 'lookNs' | 'armNs'>> {
    const before = countedBy(await daemon.status(), daemon.cpuNs());
    const others = new OthersMeter([this.loadCpu, this.coreCpu], [process.pid, daemon.child.pid!]);
    const start = nowNs();
    // What was due while this thread did something else.
    load.run(1);
    const stretch = load.run(WINDOW_MS);
    const elapsed = nowNs() - start;
    const taken = others.read() ?? [0, 0];
    const after = countedBy(await daemon.status(), daemon.cpuNs());
    const counted = difference(before, after);
    const alone = taken.every((share) => share <= OTHERS_SHARE_MAX);
    const hadLoad = plan.sleeping || stretch.cpuShare >= CPU_SHARE_MIN;
    const hadCore = plan.mode === 'baseline' || counted.cpuNs >= CPU_SHARE_MIN * elapsed;
    return { ...stretch, counted, undisturbed: alone && hadLoad && hadCore };
  }

  /** Writes all that is used of a disk once, so that reads read pages of its own. */
  async #fill(mode: DaemonMode, index: number): Promise<void> {
    const requestBytes = 65_536;
    const guest = await BlockDriver.connect({ socket: this.#socket(mode, `g${index}`), depth: 8, requestBytes });
    const pattern = { depth: 8, requestBytes, readShare: 0, workingSetBytes: guest.capacity, sequential: true };
    const load = new GuestLoad([guest], pattern, false, this.clockNs);
    load.start();
    for (let bytes = 0; bytes < guest.capacity; ) bytes += load.run(2).requests * requestBytes;
    load.finish();
    guest.close();
  }

  #socket(mode: DaemonMode, vm: string): string {
    return join(this.#daemons.get(mode)!.runDir, `${vm}.disk.sock`);
  }
}

function countedBy(status: DaemonStatus, cpuNs: number): Counted {
  const queues = Object.values(status.vms).flatMap((disks) => Object.values(disks).flatMap(({ queues }) => queues));
  const sum = (pick: (queue: (typeof queues)[number]) => number) =>
    queues.reduce((total, queue) => total + pick(queue), 0);
  return {
    requests: sum(({ requests }) => requests),
    turns: sum(({ batches }) => batches),
    serveNs: sum(({ time_ns }) => time_ns),
    busyNs: status.cores.reduce((total, { busy_ns }) => total + busy_ns, 0),
    cpuNs,
  };
}

const difference = (a: Counted, b: Counted): Counted => ({
  requests: b.requests - a.requests,
  turns: b.turns - a.turns,
  serveNs: b.serveNs - a.serveNs,
  busyNs: b.busyNs - a.busyNs,
  cpuNs: b.cpuNs - a.cpuNs,
});

/** What a reading of the clock takes, ns: the median of many, once V8 has compiled it. */
function readingNs(): number {
  const times: number[] = [];
  for (let i = 0; i < 20_000; i++) {
    const before = nowNs();
    times.push(nowNs() - before);
  }
  return median(times.slice(10_000));
}
