import { closeSync, openSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { makeLuks1 } from '../src/filters/block/encrypt/luks1-keys.js';
import type { LoadPattern } from '../src/guest/load.js';
import { OurDaemon, storageDaemon } from './back-ends.js';
import { window } from './duel.js';
import { type BenchGround, type BenchOptions, onGround } from './ground.js';
import { type Goal, row } from './report.js';

/** Bytes of the disk; all of it is the working set. */
const DISK_BYTES = 16 * 2 ** 20;
const ITERATIONS = 1000;
const KIB = 1024;

interface Case {
  readonly name: string;
  readonly pattern: LoadPattern;
  /** Measured by a quick run too. */
  readonly quick: boolean;
}

const pattern = (depth: number, requestBytes: number, readShare: number, sequential: boolean): LoadPattern => ({
  depth,
  requestBytes,
  readShare,
  workingSetBytes: DISK_BYTES,
  sequential,
});

const CASES: readonly Case[] = [1, 0].flatMap((readShare) => {
  const does = readShare === 1 ? 'read' : 'write';
  const random = [1, 32].map((depth) => ({
    name: `4 KiB random ${does}, depth ${depth}`,
    pattern: pattern(depth, 4 * KIB, readShare, false),
    quick: true,
  }));
  const sequential = [64, 256].map((kib) => ({
    name: `${kib} KiB sequential ${does}, depth 8`,
    pattern: pattern(8, kib * KIB, readShare, true),
    quick: kib === 64,
  }));
  return [...random, ...sequential];
});

export interface EncryptRowsOptions {
  readonly offloadBytes?: number | undefined;
  readonly only?: string | undefined;
  readonly timing?: { readonly warmUpMs: number; readonly windowMs: number; readonly pairs: number };
}

const FULL = { warmUpMs: 200, windowMs: 1000, pairs: 5 };
const QUICK = { warmUpMs: 200, windowMs: 300, pairs: 3 };

/**
 * Adds rows to a benchmark: the filter `encrypt` and qemu-storage-daemon's `luks` driver with the same image on tmpfs, in turn.
 *
 * @param offloadBytes - of the filter, if not its own
 * @param only - those with this text in their names, of a quick run too
 * @param timing - if not what a quick run or a whole one has
 */
export async function encryptRows(
  ground: BenchGround,
  options: BenchOptions,
  { offloadBytes, only, timing = options.quick ? QUICK : FULL }: EncryptRowsOptions = {},
): Promise<void> {
  const folder = ground.folder('/dev/shm');
  const path = join(folder, 'luks.img');
  const keyFile = join(folder, 'key');
  writeFileSync(keyFile, 'a passphrase of a benchmark', { mode: 0o600 });
  writeImage(path, keyFile);
  const cpu = ground.serverCpu;
  const encrypt = { key_file: keyFile, ...(offloadBytes === undefined ? {} : { offload_bytes: offloadBytes }) };
  const filters = [{ use: 'encrypt', options: encrypt }];
  const vms = { bench: { disks: { luks: { backend: { type: 'file', path }, filters } } } };
  const config = { cores: [cpu], log: 'warn', vms };
  const ours = ground.keep(new OurDaemon(options.node, join(folder, 'sidecore'), config));
  await ours.ready([ours.socket('luks')]);
  const socket = join(folder, 'peer.sock');
  const peer = ground.keep(storageDaemon(cpu, [{ name: 'luks', socket, file: path, keyFile }]));
  await peer.ready([socket]);
  const windows = { ...timing, timed: false };
  const goal: Goal = { sense: 'at least', value: 1 };
  let isWarm = false;
  for (const { name, pattern, quick } of CASES) {
    if (only === undefined ? options.quick && !quick : !name.includes(only)) continue;
    const measure = (socket: string) => () => window({ sockets: [socket], pattern }, windows);
    // Two that do not count, before the first: V8 compiles, on the guest's CPU.
    if (!isWarm) for (const one of [ours.socket('luks'), socket]) await measure(one)();
    isWarm = true;
    const title = `encrypt against qemu-storage-daemon’s luks, ${name}`;
    const { a, b } = await ground.inTurn(title, measure(ours.socket('luks')), measure(socket), timing.pairs);
    const iops = (side: typeof a) => side.map((one) => one.iops);
    ground.add([row(title, 'IOPS', iops(a), iops(b), goal)]);
  }
  await ours.stop();
  await peer.stop();
}

/** An image whose data are written, so that no hole reads faster. What they decrypt to is of no matter. */
function writeImage(path: string, keyFile: string): void {
  const { bytes } = makeLuks1({ passphrase: Buffer.from('a passphrase of a benchmark'), iterations: ITERATIONS });
  writeFileSync(keyFile, 'a passphrase of a benchmark', { mode: 0o600 });
  const fd = openSync(path, 'w');
  writeSync(fd, bytes);
  const chunk = Buffer.alloc(2 ** 20, 0xa5);
  for (let written = 0; written < DISK_BYTES; written += chunk.length) writeSync(fd, chunk);
  closeSync(fd);
}

// By itself: node dist/bench/encrypt.js [--quick] [--only TEXT] [--offload BYTES]
if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { values } = parseArgs({
    options: { quick: { type: 'boolean', default: false }, only: { type: 'string' }, offload: { type: 'string' } },
  });
  const options = {
    quick: values.quick,
    node: process.execPath,
    progress: (line: string) => void process.stderr.write(`${line}\n`),
  };
  const offloadBytes = values.offload === undefined ? undefined : Number(values.offload);
  const report = await onGround(options, async (ground) => {
    await encryptRows(ground, options, { offloadBytes, only: values.only });
    return ground.report('encrypt', { working_set_mib: DISK_BYTES / 2 ** 20 });
  });
  for (const { name, ours, peer, ratio_median, ratio_min, ratio_max } of report.rows) {
    const ratio = [ratio_median, ratio_min, ratio_max].map((value) => value?.toFixed(2));
    process.stdout.write(`${name}: ${Math.round(ours)} to ${Math.round(peer!)}, ${ratio.join(' ')}\n`);
  }
}
