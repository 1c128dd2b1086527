import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { BlockDriver, type BlockDriverQueue, RequestType } from '../src/guest/index.js';
import { allowedCpus, pinThisThread } from '../src/host/affinity.js';
import { nowNs } from '../src/host/clock.js';
import { FILTER_COLD_S, FILTER_STALL_MS } from '../src/limits.js';
import { ALL_CPUS } from './back-ends.js';
import { type Row, row } from './report.js';
import type { StallEvent } from './stall-daemon.js';

const DISK_BYTES = 2 ** 20;
const REQUEST_BYTES = 4096;
/** Work before anything stalls, until V8 has compiled it; and between two stalls, after which the sidecore's new thread counts as warm. */
const WARM_UP_MS = 300;
const REST_MS = 1000 * FILTER_COLD_S + 100;
/** Longest time without an answer that is waited for. */
const ANSWER_MS_MAX = 5000;
/** How long a guest is watched after the stall has ended. */
const AFTER_MS = 10;

/** A guest that has waited for so long leaves its CPU to others, ns, for so long each time, ms. */
const PATIENCE_NS = 5e5;
const PAUSE_MS = 0.1;
const pause = new Int32Array(new SharedArrayBuffer(4));

const FILTER = `export default {
  name: 'loop',
  create: () => ({ submit() { for (;;); } }),
};
`;

/** One stall as the other guest has seen it, ms. */
export interface StallSample {
  /** Its longest time without a completion. */
  readonly gap: number;
  /** From the last completion until the main thread knew of the stall. */
  readonly found: number;
  /** The longest time after which it has looked, and found that still none had come: the guest's own absences are not in it. */
  readonly sure: number;
  /** Longest time for which the guest itself was kept from its CPU: a gap within that says nothing of the sidecore. */
  readonly away: number;
}

/** How stalls are measured. */
export interface StallOptions {
  /** Node that runs the daemon. */
  readonly node: string;
  /** CPU of its only sidecore; the guest runs wherever else it may. */
  readonly cpu: number;
  /** Filters that loop, one after the other: each has a disk of its own. */
  readonly stalls: number;
  /** Whether the daemon keeps a thread in reserve. */
  readonly spare: boolean;
  /** Where the other guest's disk is. */
  readonly backend: 'memory' | 'file';
}

/** Has filters loop for ever, one after the other, and looks how long another guest of the same sidecore, at depth 1, waits each time. */
async function measureStalls({ node, cpu, stalls, spare, backend }: StallOptions): Promise<StallSample[]> {
  const folder = mkdtempSync(join(tmpdir(), 'sidecore-stalls-'));
  const daemon = new StallDaemon();
  const guests: BlockDriver[] = [];
  const all = allowedCpus();
  const others = all.filter((other) => other !== cpu);
  try {
    writeFileSync(join(folder, 'loop.ts'), FILTER);
    const bad = Array.from({ length: stalls }, (_, i) => `bad${i}`);
    const image = backend === 'file' ? { path: join(folder, 'good.img') } : {};
    const disks = {
      good: { backend: { type: backend, size: DISK_BYTES, ...image } },
      ...Object.fromEntries(
        bad.map((name) => [name, { backend: { type: 'null', size: DISK_BYTES }, filters: [{ use: './loop.ts' }] }]),
      ),
    };
    const file = join(folder, 'sidecore.yaml');
    writeFileSync(file, JSON.stringify({ run_dir: folder, cores: [cpu], log: 'error', vms: { bench: { disks } } }));
    await daemon.start(node, file, spare);
    pinThisThread(others.length > 0 ? others : all);
    for (const name of ['good', ...bad]) {
      const socket = join(folder, `bench.${name}.sock`);
      guests.push(await BlockDriver.connect({ socket, depth: 1, requestBytes: REQUEST_BYTES }));
    }
    const [good, ...bads] = guests.map(({ queues }) => queues[0]!);
    readFor(good!, WARM_UP_MS);
    const samples: StallSample[] = [];
    for (const other of bads) {
      await sleep(REST_MS);
      readFor(good!, 20);
      daemon.foundNs = 0;
      other.submit(0, RequestType.IN, 0, REQUEST_BYTES);
      other.publish();
      const { gapNs, sureNs, sinceNs, awayNs } = readFor(good!, AFTER_MS, other);
      await sleep(1);
      samples.push({
        gap: gapNs / 1e6,
        sure: sureNs / 1e6,
        found: (daemon.foundNs - sinceNs) / 1e6,
        away: awayNs / 1e6,
      });
    }
    return samples;
  } finally {
    pinThisThread(all);
    for (const guest of guests) guest.close();
    await daemon.stop();
    rmSync(folder, { recursive: true, force: true });
  }
}

/** The same as rows of a report: how long another guest waits, and the longest that it did, which the watchdog is to bound. */
export async function stallRows(
  options: Pick<StallOptions, 'node' | 'cpu' | 'stalls'>,
  kinds: readonly Pick<StallOptions, 'backend' | 'spare'>[],
): Promise<Row[]> {
  const rows: Row[] = [];
  for (const { backend, spare } of kinds) {
    const samples = await measureStalls({ ...options, spare, backend });
    const where = `disk in ${backend}, ${spare ? '' : 'no '}thread in reserve`;
    const sorted = (of: (sample: StallSample) => number) => samples.map(of).sort((one, other) => one - other);
    const [gaps, found, sure] = [sorted(({ gap }) => gap), sorted((one) => one.found), sorted((one) => one.sure)];
    const at = (share: number, values = gaps) =>
      values[Math.min(values.length - 1, Math.floor(share * values.length))]!.toFixed(1);
    const away = Math.max(...samples.map((sample) => sample.away));
    const had = `while it had its CPU, the guest found nothing for ${at(0.5, sure)} at the median, ${at(1, sure)} at most`;
    const note = `peer: the bound; p10 ${at(0.1)}, p90 ${at(0.9)} of ${gaps.length}; found out after ${at(0.5, found)} at the median; ${had}`;
    const bound = gaps.map(() => FILTER_STALL_MS);
    rows.push(row(`a filter loops: how long another guest waits, ${where}`, 'ms', gaps, bound, null, note));
    // A daemon without a thread in reserve is there to be compared: no other is configured so.
    const goal = spare ? ({ sense: 'at most', value: 1 } as const) : null;
    const longest = `peer: the bound; the guest itself was kept from its CPU for ${away.toFixed(1)} ms at most`;
    const title = `a filter loops: the longest of these waits, ${where}`;
    rows.push(row(title, 'ms', [gaps.at(-1)!], [FILTER_STALL_MS], goal, longest));
  }
  return rows;
}

/**
 * Reads again and again, one request at a time, for some time; and before that until another queue's only request has come back, if
 * there is one. Returns the longest gap, when it began, and for how long this thread was away at most.
 */
function readFor(queue: BlockDriverQueue, ms: number, other?: BlockDriverQueue) {
  const begunNs = nowNs();
  let lastNs = begunNs;
  let lookNs = begunNs;
  let endNs = other === undefined ? begunNs + 1e6 * ms : Number.POSITIVE_INFINITY;
  let [gapNs, sureNs, sinceNs, awayNs] = [0, 0, 0, 0];
  const submit = () => {
    queue.submit(0, RequestType.IN, 0, REQUEST_BYTES);
    queue.publish();
  };
  submit();
  for (;;) {
    const now = nowNs();
    if (now - lookNs > awayNs) awayNs = now - lookNs;
    lookNs = now;
    if (now - lastNs > 1e6 * ANSWER_MS_MAX) throw new Error(`no answer within ${ANSWER_MS_MAX} ms`);
    if (other !== undefined && endNs === Number.POSITIVE_INFINITY && other.take() >= 0) endNs = now + 1e6 * ms;
    if (queue.take() < 0) {
      sureNs = Math.max(sureNs, now - lastNs);
      // A guest has a CPU of its own: what is done about the stall shall not have to share one with it.
      if (now - lastNs > PATIENCE_NS) Atomics.wait(pause, 0, 0, PAUSE_MS);
      continue;
    }
    if (now - lastNs > gapNs) [gapNs, sinceNs] = [now - lastNs, lastNs];
    lastNs = now;
    if (now >= endNs) return { gapNs, sureNs, sinceNs, awayNs };
    submit();
  }
}

/** The daemon of one measurement. */
class StallDaemon {
  /** When the last stall was found out; zero if none was. */
  foundNs = 0;
  #child: ChildProcess | undefined;

  start(node: string, file: string, spare: boolean): Promise<void> {
    const main = fileURLToPath(new URL('./stall-daemon.js', import.meta.url));
    // The guests may be pinned to their CPU by now.
    const args = ['-c', ALL_CPUS, node, main, file, spare ? 'spare' : 'none'];
    const child = spawn('taskset', args, { stdio: ['ignore', 'ignore', 'pipe', 'ipc'] });
    this.#child = child;
    let said = '';
    child.stderr!.on('data', (chunk: Buffer) => {
      said += chunk.toString();
    });
    return new Promise((resolve, reject) => {
      child.once('exit', (code) => reject(new Error(`the daemon ended with ${code}: ${said.trim()}`)));
      child.on('message', ({ what, atNs }: StallEvent) => {
        if (what === 'ready') resolve();
        else this.foundNs = atNs;
      });
    });
  }

  async stop(): Promise<void> {
    const child = this.#child;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const ended = new Promise((resolve) => child.once('exit', resolve));
    child.kill();
    await ended;
  }
}
