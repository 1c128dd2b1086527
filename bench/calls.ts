/**
 * What a call (interrupt) costs the sidecore that sends it, by the way that the event counter is written, with sleepers at the other
 * end and without: node dist/bench/calls.js. The tables are in docs/notification.md.
 */
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import { pinThisThread } from '../src/host/affinity.js';
import { nowNs } from '../src/host/clock.js';
import { createEventFd, drain, signal } from '../src/host/eventfd.js';
import { IoUring, Operation, UringOp } from '../src/host/io-uring.js';
import { mapAnonymous } from '../src/host/memory-map.js';
import { viewBytes } from '../src/host/memory-view.js';

const COUNTS = [1, 4, 16] as const;
const ROUNDS = 4000;
/** Time between two turns with calls, in which sleepers go to sleep again, ns. */
const PAUSE_NS = 60_000;

/** Sends a call to each descriptor. */
type Way = (fds: readonly number[]) => void;

const one = mapAnonymous(4096);
viewBytes(one.address, 8).writeBigUInt64LE(1n);
const write = new Operation().set(UringOp.WRITE, one.address, 8, 0, 0);

function byUring(ring: IoUring): Way {
  return (fds) => {
    ring.reap();
    for (const fd of fds) ring.prepare(fd, write, 0);
    ring.submit();
  };
}

function ways(sqpollCpu: number): [string, Way][] {
  const rings = [IoUring.create(64), IoUring.create(64, { sqpollCpu })] as const;
  const all: [string, Way][] = [['eventfd_write for each', (fds) => fds.forEach(signal)]];
  for (const [i, name] of ['io_uring, one enter', 'io_uring, polled by a kernel thread'].entries()) {
    const ring = rings[i];
    if (ring !== undefined) all.push([name, byUring(ring)]);
  }
  return all;
}

/** Median time of a turn's calls, ns, less that of a reading of the clock. */
function measure(way: Way, fds: readonly number[]): number {
  const times = new Float64Array(ROUNDS);
  for (let round = 0; round < ROUNDS; round++) {
    for (const end = nowNs() + PAUSE_NS; nowNs() < end; );
    const start = nowNs();
    way(fds);
    times[round] = nowNs() - start;
  }
  const median = times.sort()[ROUNDS >> 1]!;
  for (let round = 0; round < ROUNDS; round++) {
    const start = nowNs();
    times[round] = nowNs() - start;
  }
  return median - times.sort()[ROUNDS >> 1]!;
}

async function main(): Promise<void> {
  pinThisThread([1]);
  console.log(`| way | sleepers | ${COUNTS.map((count) => `${count} a turn`).join(' | ')} |`);
  for (const asleep of [false, true]) {
    for (const [name, way] of ways(0)) {
      const cells: string[] = [];
      for (const count of COUNTS) {
        const fds = Array.from({ length: count }, createEventFd);
        const sleepers = asleep ? await Promise.all(fds.map(newSleeper)) : [];
        cells.push(String(Math.round(measure(way, fds))));
        for (const sleeper of sleepers) await sleeper.terminate();
        fds.forEach(drain);
      }
      console.log(`| ${name} | ${asleep ? 'yes' : 'no'} | ${cells.join(' | ')} |`);
    }
  }
}

/** A thread that waits in epoll for a descriptor, as a guest's would. */
function newSleeper(fd: number): Promise<Worker> {
  const worker = new Worker(fileURLToPath(new URL('./calls-thread.js', import.meta.url)), {
    workerData: { fd, cpu: 0 },
  });
  return new Promise((resolve) => worker.once('message', () => resolve(worker)));
}

await main();
process.exit(0);
