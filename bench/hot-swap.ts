/** How long a change of filters keeps a busy disk waiting: `node dist/bench/hot-swap.js [changes]`. */
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep, setImmediate as turn } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { askDaemon } from '../src/daemon/control-server.js';
import { controlSocketPath } from '../src/daemon/daemon.js';
import { BlockDriver, type BlockDriverQueue, RequestType } from '../src/guest/index.js';
import { allowedCpus, pinThisThread } from '../src/host/affinity.js';
import { nowNs } from '../src/host/clock.js';

const MAIN = fileURLToPath(new URL('../src/cli/main.js', import.meta.url));
const DISK_BYTES = 2 ** 24;
const REQUEST_BYTES = 4096;
const READY_MS_MAX = 10_000;
const WARM_UP_MS = 500;
/** Pause between two changes, ms. */
const REST_MS = 5;
/** A guest that has waited for so long leaves its CPU to others, ns, for so long each time, ms. */
const PATIENCE_NS = 1e5;
const PAUSE_MS = 0.02;
const all = allowedCpus();
const pause = new Int32Array(new SharedArrayBuffer(4));

/** How changes are measured. */
export interface SwapOptions {
  /** Node that runs the daemon; this one if nothing is said. */
  readonly node?: string;
  readonly backend: 'memory' | 'file';
  readonly depth: number;
  readonly changes: number;
  /** CPU of the only sidecore; guest and daemon share the others. */
  readonly cpu: number;
}

/** Longest times without a completion, ms: one for each change, and as many from pauses of the same length without one. */
interface SwapSamples {
  readonly changed: readonly number[];
  readonly unchanged: readonly number[];
}

/** A guest that reads all the time. */
class Reader {
  /** Longest time without a completion since it was last set to zero, ns. */
  gap = 0;
  readonly #queue: BlockDriverQueue;
  #last = nowNs();

  constructor(queue: BlockDriverQueue, depth: number) {
    this.#queue = queue;
    for (let slot = 0; slot < depth; slot++) queue.submit(slot, RequestType.IN, 8 * slot, REQUEST_BYTES);
    queue.publish();
  }

  work(ms: number): void {
    const end = nowNs() + ms * 1e6;
    for (let now = nowNs(); now < end; now = nowNs()) {
      let count = 0;
      for (let slot = this.#queue.take(); slot >= 0; slot = this.#queue.take(), count++)
        this.#queue.submit(slot, RequestType.IN, 8 * slot, REQUEST_BYTES);
      if (count > 0) {
        this.#queue.publish();
        this.gap = Math.max(this.gap, now - this.#last);
        this.#last = now;
      } else if (now - this.#last > PATIENCE_NS) Atomics.wait(pause, 0, 0, PAUSE_MS);
    }
  }

  async workDuring(what: Promise<unknown>): Promise<void> {
    let isDone = false;
    void what.then(() => {
      isDone = true;
    });
    do {
      this.work(0.05);
      await turn();
    } while (!isDone);
    this.work(1);
  }
}

/** Changes an option of a filter of a disk again and again while its guest reads. */
export async function measureSwaps({
  node = process.execPath,
  backend,
  depth,
  changes,
  cpu,
}: SwapOptions): Promise<SwapSamples> {
  const folder = mkdtempSync(join(tmpdir(), 'sidecore-swap-'));
  const image = backend === 'file' ? { path: join(folder, 'd.img') } : {};
  const disk = { backend: { type: backend, size: DISK_BYTES, ...image }, filters: [{ use: 'meter' }] };
  const config = { run_dir: folder, cores: [cpu], log: 'error', vms: { vm: { disks: { d: disk } } } };
  const file = join(folder, 'sidecore.yaml');
  writeFileSync(file, JSON.stringify(config));
  // The daemon has all CPUs, this guest those that are no sidecore's.
  pinThisThread(all);
  const daemon = spawn(node, [MAIN, 'serve', '-c', file], { stdio: ['ignore', 'ignore', 'inherit'] });
  pinThisThread(all.filter((other) => other !== cpu));
  const socket = controlSocketPath(folder);
  try {
    for (const end = Date.now() + READY_MS_MAX; !existsSync(socket) && Date.now() < end; ) await sleep(20);
    const guest = await BlockDriver.connect({ socket: join(folder, 'vm.d.sock'), depth, requestBytes: REQUEST_BYTES });
    const reader = new Reader(guest.queues[0]!, depth);
    const set = (latency: boolean) => {
      const body = { device: 'vm/d', which: 'meter', filter: { options: { latency } } };
      return askDaemon(socket, 'POST', '/filters/set', body);
    };
    const list = () => askDaemon(socket, 'POST', '/filters/list', { device: 'vm/d' });
    const longest = async (what: Promise<unknown>) => {
      reader.gap = 0;
      await reader.workDuring(what);
      const gap = reader.gap / 1e6;
      reader.work(REST_MS);
      return gap;
    };
    reader.work(WARM_UP_MS);
    const changed: number[] = [];
    const unchanged: number[] = [];
    for (let i = 0; i < changes; i++) {
      changed.push(await longest(set(i % 2 === 0)));
      // The daemon is asked something as well, and changes nothing.
      unchanged.push(await longest(list()));
    }
    guest.close();
    return { changed, unchanged };
  } finally {
    daemon.kill();
    await new Promise((resolve) => daemon.once('exit', resolve));
    rmSync(folder, { recursive: true, force: true });
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const changes = Number(process.argv[2] ?? 300);
  const cpu = all.at(-1)!;
  const text = (samples: readonly number[]) => {
    const sorted = [...samples].sort((a, b) => a - b);
    const at = (share: number) => sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))]!;
    return [0.5, 0.9, 0.99, 1].map((share) => at(share).toFixed(2)).join(' / ');
  };
  for (const backend of ['memory', 'file'] as const) {
    for (const depth of [1, 32]) {
      const { changed, unchanged } = await measureSwaps({ backend, depth, changes, cpu });
      const what = `${backend}, depth ${depth}`;
      process.stdout.write(
        `${what}: changed ${text(changed)}, unchanged ${text(unchanged)} ms (p50 / p90 / p99 / max)\n`,
      );
    }
  }
}
