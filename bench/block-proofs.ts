import { spawn } from 'node:child_process';
import { setTimeout as sleep, setImmediate as turn } from 'node:timers/promises';
import { BlockDriver } from '../src/guest/block-driver.js';
import { Load, type LoadPattern } from '../src/guest/load.js';
import { OurDaemon } from './back-ends.js';
import { type Row, row } from './report.js';

const TRACE_MS = 1000;
const REQUESTS = 10_000_000;
const LOAD_MS_MAX = 60_000;
/** Until strace is attached, and the guest's work meanwhile, between two looks at other things, ms. */
const ATTACH_MS = 300;
const SLICE_MS = 20;

/** Counts the system calls of a sidecore's thread, with strace, while a polling guest loads a disk. */
export async function countSystemCalls(daemon: OurDaemon, socket: string, pattern: LoadPattern): Promise<Row[]> {
  const name = 'system calls per request on the sidecore, polling guest, memory';
  const thread = (await daemon.status()).cores[0]!.thread;
  const guest = await BlockDriver.connect({ socket, depth: pattern.depth, requestBytes: pattern.requestBytes });
  const load = new Load([guest], pattern);
  load.start();
  load.run(300);
  const strace = spawn('strace', ['-c', '-p', String(thread)], { stdio: ['ignore', 'ignore', 'pipe'] });
  let output = '';
  let failed = '';
  strace.stderr.on('data', (chunk: Buffer) => {
    output += chunk;
  });
  strace.once('error', (error) => {
    failed = error.message;
  });
  // Until it is attached the guest works on: a queue that rests is looked at for its kick.
  let requests = 0;
  for (const end = performance.now() + ATTACH_MS; performance.now() < end; await turn())
    requests += load.run(SLICE_MS).requests;
  requests += load.run(TRACE_MS).requests;
  const ended = new Promise((resolve) => strace.once('close', resolve));
  strace.kill('SIGINT');
  if (!failed) await ended;
  load.finish();
  guest.close();
  if (failed || !output.includes('attached'))
    return [row(name, 'calls', [Number.NaN], null, null, `strace: ${failed || output.trim()}`)];
  // The summary's last line is "100.00 SECONDS USECS CALLS [ERRORS] total"; without any call there is no summary.
  const total = /^100\.00\s+\S+\s+\S+\s+(\d+)/m.exec(output.split('\n').find((line) => line.endsWith('total')) ?? '');
  const calls = Number(total?.[1] ?? 0);
  return [
    row(
      name,
      'calls',
      [calls / requests],
      null,
      { sense: 'at most', value: 0 },
      `${calls} calls in ${requests} requests`,
    ),
  ];
}

/** Counts the garbage collections of a daemon's worker threads over ten million requests. */
export async function countScavenges(node: string, runDir: string, cpu: number, pattern: LoadPattern): Promise<Row[]> {
  const disks = { disk: { backend: { type: 'memory', size: pattern.workingSetBytes } } };
  const daemon = new OurDaemon(node, runDir, { cores: [cpu], log: 'error', vms: { bench: { disks } } }, ['--trace-gc']);
  try {
    await daemon.ready([daemon.socket('disk')]);
    const guest = await BlockDriver.connect({
      socket: daemon.socket('disk'),
      depth: pattern.depth,
      requestBytes: pattern.requestBytes,
    });
    const load = new Load([guest], pattern);
    load.start();
    load.run(1000);
    const main = /^\[\d+:(0x[0-9a-f]+)\]/m.exec(daemon.output)?.[1];
    await sleep(200);
    const before = collections(daemon.output, main);
    let requests = 0;
    for (let ms = 0; requests < REQUESTS && ms < LOAD_MS_MAX; ms += 500) requests += load.run(500).requests;
    await sleep(200);
    const count = collections(daemon.output, main) - before;
    load.finish();
    guest.close();
    const note = `${requests} requests; from --trace-gc, all threads but the main one`;
    return [
      row(
        'garbage collections on the sidecore over 10 million requests',
        'collections',
        [count],
        null,
        { sense: 'at most', value: 0 },
        note,
      ),
    ];
  } finally {
    await daemon.stop();
  }
}

/** Lines of --trace-gc that are not of the main thread's isolate, which is the first to collect. */
function collections(output: string, main: string | undefined): number {
  return output.split('\n').filter((line) => /^\[\d+:0x/.test(line) && !line.includes(`:${main}]`)).length;
}
