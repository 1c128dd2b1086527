import { setTimeout as sleep } from 'node:timers/promises';
import { RequestType, SECTOR_BYTES } from '../src/block/features.js';
import { Histogram } from '../src/filter/histogram.js';
import { BlockDriver } from '../src/guest/block-driver.js';
import { nowNs } from '../src/host/clock.js';
import { OurDaemon } from './back-ends.js';
import { type Row, row } from './report.js';

const DISKS = 32;
const DISK_BYTES = 2 ** 20;
const REQUEST_BYTES = 4096;
/** Longer than a queue of mode adaptive is polled without work. */
const PAUSE_MS = 3;
/** Requests before those that count: until V8 has compiled the way of a sidecore that wakes. */
const WARM_UP = 600;
const ANSWER_MS_MAX = 1000;

/** What idle disks cost in mode adaptive, and how long the first request after a pause takes. */
export async function idleRows(node: string, runDir: string, cpu: number, quick: boolean): Promise<Row[]> {
  const names = Array.from({ length: DISKS }, (_, i) => `memory${i}`);
  const disks = Object.fromEntries(names.map((name) => [name, { backend: { type: 'memory', size: DISK_BYTES } }]));
  const config = { mode: 'adaptive', cores: [cpu], log: 'error', vms: { bench: { disks } } };
  const daemon = new OurDaemon(node, runDir, config);
  const guests: BlockDriver[] = [];
  try {
    await daemon.ready(names.map((name) => daemon.socket(name)));
    for (const name of names)
      guests.push(await BlockDriver.connect({ socket: daemon.socket(name), depth: 1, requestBytes: REQUEST_BYTES }));
    const latency = new Histogram();
    for (let i = 0; i < WARM_UP + (quick ? 400 : 2000); i++) {
      await sleep(PAUSE_MS);
      const ns = firstRequestNs(guests[i % DISKS]!);
      if (i >= WARM_UP) latency.add(ns);
    }
    await sleep(200);
    const shares: number[] = [];
    for (let i = 0; i < 5; i++) {
      const [start, before] = [nowNs(), daemon.cpuNs()];
      await sleep(quick ? 300 : 1000);
      shares.push((100 * (daemon.cpuNs() - before)) / (nowNs() - start));
    }
    const name = `first request after ${PAUSE_MS} ms of rest, one of ${DISKS} disks, mode adaptive`;
    return [
      row(`${DISKS} idle disks, mode adaptive: CPU of the daemon, all threads`, '%', shares, null, {
        sense: 'at most',
        value: 2,
      }),
      row(`${name}: p50`, 'us', [latency.quantile(0.5) / 1000], null, { sense: 'at most', value: 200 }),
      row(`${name}: p99`, 'us', [latency.quantile(0.99) / 1000], null, { sense: 'at most', value: 500 }),
    ];
  } finally {
    for (const guest of guests) guest.close();
    await daemon.stop();
  }
}

/** Time from a request of a guest at rest to its completion, ns. The guest polls. */
function firstRequestNs({ queues: [queue], capacity }: BlockDriver): number {
  const start = nowNs();
  queue!.submit(0, RequestType.IN, (capacity - REQUEST_BYTES) / SECTOR_BYTES, REQUEST_BYTES);
  queue!.publish();
  while (queue!.take() < 0)
    if (nowNs() - start > ANSWER_MS_MAX * 1e6) throw new Error(`no answer within ${ANSWER_MS_MAX} ms`);
  return nowNs() - start;
}
