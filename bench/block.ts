import { closeSync, fsyncSync, openSync, statfsSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { SidecoreError } from '../src/errors.js';
import type { LoadPattern } from '../src/guest/load.js';
import { type BackEndProcess, OurDaemon, storageDaemon } from './back-ends.js';
import { idleRows } from './block-idle.js';
import { countScavenges, countSystemCalls } from './block-proofs.js';
import { type Duel, type Side, type WindowOptions, type WindowResult, window } from './duel.js';
import { type BenchGround, type BenchOptions, onGround } from './ground.js';
import { type Goal, type Report, type Row, row } from './report.js';

/** How the block benchmark is run. */
export interface BlockBenchOptions extends BenchOptions {
  /** Sockets of another back end, to be measured instead of qemu-storage-daemon: each serves one disk. */
  readonly peerSockets: readonly string[];
}

const GUESTS_MAX = 16;
/** Bytes of each disk; all of it is the working set. */
const DISK_BYTES = 16 * 2 ** 20;
/** A working set that stays in the second-level caches, where a copy costs least. */
const SMALL_SET_BYTES = 2 ** 20;
const BLOCK_BYTES = 4096;
const STREAM_BYTES = 128 * 1024;

const at = (sense: Goal['sense'], value: number): Goal => ({ sense, value });

/** The block benchmark: us against a peer, both pinned to one CPU, one client on another, window by window in turn. */
export function benchBlock(options: BlockBenchOptions): Promise<Report> {
  return onGround(options, async (ground) => {
    const bench = new BlockBench(options, ground);
    await bench.start();
    await bench.run();
    return ground.report('block', { working_set_mib: DISK_BYTES / 2 ** 20 });
  });
}

class BlockBench {
  readonly #options: BlockBenchOptions;
  readonly #ground: BenchGround;
  readonly #cpu: number;
  readonly #scratch: string;
  readonly #memoryScratch: string;
  #windows: WindowOptions;
  #pairs: number;
  #sidecore!: OurDaemon;
  #baseline!: OurDaemon;
  #peer: BackEndProcess | undefined;

  constructor(options: BlockBenchOptions, ground: BenchGround) {
    this.#options = options;
    this.#ground = ground;
    this.#cpu = ground.serverCpu;
    this.#scratch = ground.folder(tmpdir());
    this.#memoryScratch = ground.folder('/dev/shm');
    this.#windows = options.quick
      ? { warmUpMs: 200, windowMs: 300, timed: false }
      : { warmUpMs: 200, windowMs: 1000, timed: false };
    this.#pairs = options.quick ? 3 : 5;
  }

  async start(): Promise<void> {
    this.#options.progress('writing images and starting the back ends');
    const shm = writtenFile(join(this.#memoryScratch, 'disk.img'));
    const disk = writtenFile(join(this.#scratch, 'disk.img'));
    const disks: Record<string, unknown> = {
      tmpfs: { backend: { type: 'file', path: shm } },
      disk: { backend: { type: 'file', path: disk } },
    };
    for (const type of ['null', 'memory'])
      for (let i = 0; i < GUESTS_MAX; i++) disks[`${type}${i}`] = { backend: { type, size: DISK_BYTES } };
    const config = (mode: string) => ({ mode, cores: [this.#cpu], log: 'warn', vms: { bench: { disks } } });
    // One image cannot be open twice: the other mode gets what it is measured with.
    const baselineDisks = Object.fromEntries([0, 1, 2, 3].map((i) => [`memory${i}`, disks[`memory${i}`]]));
    const start = (name: string, config: Record<string, unknown>) =>
      this.#ground.keep(new OurDaemon(this.#options.node, join(this.#scratch, name), config));
    this.#sidecore = start('sidecore', config('sidecore'));
    this.#baseline = start('baseline', { ...config('baseline'), vms: { bench: { disks: baselineDisks } } });
    await this.#sidecore.ready(Object.keys(disks).map((name) => this.#sidecore.socket(name)));
    await this.#baseline.ready(Object.keys(baselineDisks).map((name) => this.#baseline.socket(name)));
    if (this.#options.peerSockets.length === 0) {
      const exports = [
        ...[0, 1, 2, 3].map((i) => ({ name: `null${i}`, socket: this.#peerSocket(`null${i}`) })),
        { name: 'tmpfs', socket: this.#peerSocket('tmpfs'), file: shm },
        { name: 'disk', socket: this.#peerSocket('disk'), file: disk },
      ];
      this.#peer = this.#ground.keep(storageDaemon(this.#cpu, exports));
      await this.#peer.ready(exports.map((one) => one.socket));
    }
    // Memory disks are written once, so that reads read pages of their own and not the kernel's one page of zeros.
    for (const daemon of [this.#sidecore, this.#baseline]) {
      const count = daemon === this.#sidecore ? GUESTS_MAX : 4;
      for (let i = 0; i < count; i++) await this.#fill(daemon.socket(`memory${i}`));
    }
  }

  async run(): Promise<void> {
    await this.#goals();
    if (!this.#options.quick) await this.#matrix();
  }

  /** One row, or a few, for each goal. */
  async #goals(): Promise<void> {
    const { random } = patterns;
    await this.#throughput(
      'file on tmpfs, 4 KiB random read, depth 32',
      'tmpfs',
      'tmpfs',
      random(1, 32),
      at('at least', 4),
    );
    await this.#throughput('null, 4 KiB random read, depth 32', 'null0', 'null0', random(1, 32), at('at least', 1.5));
    await this.#throughput(
      'memory against null-co, 4 KiB random read, depth 32',
      'memory0',
      'null0',
      random(1, 32),
      at('at least', 1.5),
    );
    const small: LoadPattern = { ...random(1, 32), workingSetBytes: SMALL_SET_BYTES };
    const name = 'memory against null-co, 4 KiB random read, depth 32, working set 1 MiB';
    await this.#throughput(name, 'memory0', 'null0', small, at('at least', 1.5));
    await this.#latency();
    await this.#guests(16, at('at least', 0.95));
    await this.#modes();
    this.#options.progress('counting system calls and scavenges');
    this.#add(...(await countSystemCalls(this.#sidecore, this.#sidecore.socket('memory0'), random(1, 32))));
    this.#add(...(await countScavenges(this.#options.node, join(this.#scratch, 'traced'), this.#cpu, random(1, 32))));
    this.#options.progress('32 idle disks');
    this.#add(...(await idleRows(this.#options.node, join(this.#scratch, 'idle'), this.#cpu, this.#options.quick)));
  }

  /** Everything that was asked for, depth by depth. */
  async #matrix(): Promise<void> {
    const { random, stream } = patterns;
    // Forty rows: shorter windows, or nobody would wait for them.
    this.#pairs = 3;
    this.#windows = { warmUpMs: 150, windowMs: 500, timed: false };
    for (const [disk, peer] of [
      ['null0', 'null0'],
      ['memory0', 'null0'],
      ['tmpfs', 'tmpfs'],
      ['disk', 'disk'],
    ] as const) {
      const label = disk === 'memory0' ? 'memory (peer: null-co)' : disk.replace('0', '');
      for (const readShare of [1, 0]) {
        for (const depth of [1, 8, 32, 128]) {
          const name = `${label}, 4 KiB random ${readShare ? 'read' : 'write'}, depth ${depth}`;
          await this.#throughput(name, disk, peer, random(readShare, depth), null);
        }
        const name = `${label}, 128 KiB sequential ${readShare ? 'read' : 'write'}, depth 8`;
        await this.#throughput(name, disk, peer, stream(readShare, 8), null);
      }
    }
    for (const guests of [2, 4, 8]) await this.#guests(guests, null);
  }

  async #throughput(name: string, disk: string, peer: string, pattern: LoadPattern, goal: Goal | null): Promise<void> {
    const { a, b } = await this.#duel(
      name,
      { sockets: [this.#sidecore.socket(disk)], pattern },
      { sockets: [this.#peerSocket(peer)], pattern },
    );
    this.#add(row(name, 'IOPS', iops(a), iops(b), goal));
  }

  async #latency(): Promise<void> {
    const pattern = patterns.random(1, 1);
    const name = 'memory against null-co, 4 KiB random read, depth 1';
    const timed = { ...this.#windows, timed: true };
    const { a, b } = await this.#duel(
      name,
      { sockets: [this.#sidecore.socket('memory0')], pattern },
      { sockets: [this.#peerSocket('null0')], pattern },
      timed,
    );
    this.#add(
      row(
        `${name}: p50`,
        'ns',
        a.map(({ p50Ns }) => p50Ns),
        b.map(({ p50Ns }) => p50Ns),
        at('at most', 0.5),
      ),
      row(
        `${name}: p99`,
        'ns',
        a.map(({ p99Ns }) => p99Ns),
        b.map(({ p99Ns }) => p99Ns),
        null,
      ),
    );
  }

  /**
   * Many guests against one, with the same working set in all: each at depth 32, and, harder, with 32 requests in flight in
   * all, where a queue has but a few for each of its turns.
   */
  async #guests(count: number, goal: Goal | null): Promise<void> {
    const depth = 32;
    const against = async (kind: 'null' | 'memory', each: number, held: Goal | null) => {
      const sockets = Array.from({ length: count }, (_, i) => this.#sidecore.socket(`${kind}${i}`));
      const inFlight = each === depth ? `depth ${depth} each` : `${depth} in flight in all`;
      const name = `${count} guests together against one, ${kind}, 4 KiB random read, ${inFlight}`;
      const many: LoadPattern = { ...patterns.random(1, each), workingSetBytes: DISK_BYTES / count };
      const one: Side = { sockets: sockets.slice(0, 1), pattern: patterns.random(1, depth) };
      const { a, b } = await this.#duel(name, { sockets, pattern: many }, one);
      this.#add(row(name, 'IOPS', iops(a), iops(b), held, 'peer: one guest of ours'));
      return a;
    };
    await against('null', depth, goal);
    const windows = await against('memory', depth, goal);
    if (goal !== null) {
      const kicks = windows.map((window) => window.kicks / window.requests);
      this.#add(row(`${count} guests: kicks per request`, 'kicks', kicks, null, at('at most', 0.001)));
    }
    await against('memory', depth / count, null);
  }

  /** Sidecore against today's paravirtual I/O, four guests at depth 1. */
  async #modes(): Promise<void> {
    const pattern = { ...patterns.random(1, 1), workingSetBytes: DISK_BYTES / 4 };
    const names = [0, 1, 2, 3].map((i) => `memory${i}`);
    for (const sleeping of [true, false]) {
      const kind = sleeping ? 'sleeping' : 'polling';
      const ours: Side = {
        sockets: names.map((name) => this.#sidecore.socket(name)),
        pattern,
        sleeping,
        cpuNs: () => busyNs(this.#sidecore),
      };
      const baseline: Side = {
        sockets: names.map((name) => this.#baseline.socket(name)),
        pattern,
        sleeping,
        cpuNs: () => this.#baseline.cpuNs(),
      };
      const name = `4 ${kind} guests, memory, 4 KiB random read, depth 1`;
      const against = await this.#duel(`${name}: against mode baseline`, ours, baseline);
      this.#add(
        row(`${name}: against mode baseline`, 'IOPS', iops(against.a), iops(against.b), at('at least', 2)),
        row(
          `${name}: CPU time per request (busy share of the polling core; baseline: all its threads)`,
          'ns',
          cpu(against.a),
          cpu(against.b),
          null,
        ),
      );
      if (this.#peer === undefined) continue;
      const peer: Side = {
        sockets: [0, 1, 2, 3].map((i) => this.#peerSocket(`null${i}`)),
        pattern,
        sleeping,
        cpuNs: () => this.#peer!.cpuNs(),
      };
      const beside = await this.#duel(`${name}: against qemu-storage-daemon null-co`, ours, peer);
      this.#add(
        row(`${name}: against qemu-storage-daemon null-co`, 'IOPS', iops(beside.a), iops(beside.b), null),
        row(`${name}: CPU time per request, qemu-storage-daemon`, 'ns', cpu(beside.a), cpu(beside.b), null),
      );
    }
  }

  #duel(name: string, a: Side, b: Side, windows = this.#windows): Promise<Duel> {
    const measure = (side: Side) => () => window(side, windows);
    return this.#ground.inTurn(name, measure(a), measure(b), this.#pairs);
  }

  #add(...rows: Row[]): void {
    this.#ground.add(rows);
  }

  async #fill(socket: string): Promise<void> {
    const pattern: LoadPattern = { ...patterns.stream(0, 8), workingSetBytes: DISK_BYTES };
    await window({ sockets: [socket], pattern }, { warmUpMs: 0, windowMs: 60, timed: false });
  }

  #peerSocket(name: string): string {
    const given = this.#options.peerSockets;
    if (given.length === 0) return join(this.#scratch, `peer-${name}.sock`);
    const index = /^null(\d)$/.exec(name)?.[1];
    return given[Math.min(Number(index ?? 0), given.length - 1)]!;
  }
}

const patterns = {
  random: (readShare: number, depth: number): LoadPattern => ({
    depth,
    requestBytes: BLOCK_BYTES,
    readShare,
    workingSetBytes: DISK_BYTES,
  }),
  stream: (readShare: number, depth: number): LoadPattern => ({
    depth,
    requestBytes: STREAM_BYTES,
    readShare,
    workingSetBytes: DISK_BYTES,
    sequential: true,
  }),
};

const iops = (windows: readonly WindowResult[]): number[] => windows.map((one) => one.iops);
const cpu = (windows: readonly WindowResult[]): number[] => windows.map((one) => one.cpuNsPerRequest);

/** Time that a daemon's polling cores have spent in turns with work, ns. */
async function busyNs(daemon: OurDaemon): Promise<number> {
  return (await daemon.status()).cores.reduce((sum, core) => sum + core.busy_ns, 0);
}

/** A file that is written from end to end: no holes that would read faster than data. */
function writtenFile(path: string): string {
  const fs = statfsSync(join(path, '..'));
  if (fs.bavail * fs.bsize < 2 * DISK_BYTES)
    throw new SidecoreError('IMAGE_INVALID', `no room for ${DISK_BYTES} bytes at ${path}`);
  const fd = openSync(path, 'w');
  const chunk = Buffer.alloc(2 ** 20, 0xa5);
  for (let written = 0; written < DISK_BYTES; written += chunk.length) writeSync(fd, chunk);
  fsyncSync(fd);
  closeSync(fd);
  return path;
}
