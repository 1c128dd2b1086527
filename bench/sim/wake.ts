import { setTimeout as pause } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { nowNs } from '../../src/host/clock.js';
import { EPOLLIN, Epoll } from '../../src/host/epoll.js';
import { createEventFd, signal } from '../../src/host/eventfd.js';
import { close } from '../../src/host/libc.js';
import { median } from '../report.js';
import type { WakeSetup } from './wake-thread.js';

const WAKES = 200;
/** Times between one wake and the next, ns: a CPU that was idle for a moment is another thing than one that was idle for long. */
const RESTS_NS = [250, 500, 1000, 1500, 2000, 3000, 4000, 6000, 8000, 12_000, 16_000, 32_000, 64_000] as const;
/** Equally likely values that stand for all that were measured of one thing. */
const LIKELY = [0.1, 0.3, 0.5, 0.7, 0.9] as const;
const LOST_NS = 1e9;

/** A rest, and what it took to wake the thread after it, each time, ns. */
export interface WakeSamples {
  readonly restNs: number;
  readonly wakingNs: readonly number[];
  readonly latencyNs: readonly number[];
}

/** What waking takes, ns. */
export interface WakeCosts {
  /** A write that wakes nobody. */
  readonly signalNs: number;
  /** For each time of rest: a write that wakes a thread on another, idle CPU, and from its begin until that thread goes on. */
  readonly waking: readonly WakeSamples[];
  /** A wait for what is there already. */
  readonly waitNs: number;
}

/** Wakes a thread on another CPU many times. Nothing else may run there. */
export async function measureWake(cpu: number, clockNs: number): Promise<WakeCosts> {
  const fd = createEventFd();
  const setup: WakeSetup = { cpu, fd, times: new SharedArrayBuffer(8), words: new SharedArrayBuffer(8) };
  const [awake, word] = [new Float64Array(setup.times), new Int32Array(setup.words)];
  const worker = new Worker(new URL('./wake-thread.js', import.meta.url), { workerData: setup });
  try {
    await pause(100);
    const wake = (restNs: number): WakeSamples => {
      const [wakingNs, latencyNs]: [number[], number[]] = [[], []];
      for (let i = 0; i < WAKES; i++) {
        const seen = Atomics.load(word, 0);
        const before = nowNs();
        signal(fd);
        wakingNs.push(nowNs() - before - clockNs);
        while (Atomics.load(word, 0) === seen)
          if (nowNs() - before > LOST_NS) throw new Error('a thread was not woken');
        // It begins to go to sleep again as soon as it has said so.
        const end = nowNs() + restNs;
        latencyNs.push(awake[0]! - before - clockNs);
        while (nowNs() < end);
      }
      return { restNs, wakingNs, latencyNs };
    };
    return { ...unattended(clockNs), waking: RESTS_NS.map(wake) };
  } finally {
    Atomics.store(word, 1, 1);
    signal(fd);
    await worker.terminate();
    close(fd);
  }
}

/** A write that wakes nobody, and a wait for what is there. */
function unattended(clockNs: number): Pick<WakeCosts, 'signalNs' | 'waitNs'> {
  const fd = createEventFd();
  const epoll = new Epoll(1);
  epoll.add(fd, EPOLLIN, 0);
  const [writes, waits]: number[][] = [[], []];
  for (let i = 0; i < WAKES; i++) {
    const before = nowNs();
    signal(fd);
    const between = nowNs();
    epoll.wait(0);
    writes!.push(between - before - clockNs);
    waits!.push(nowNs() - between - clockNs);
  }
  close(epoll.fd);
  close(fd);
  return { signalNs: median(writes!), waitNs: median(waits!) };
}

/** Several measurements as one: the least of what disturbs make longer, and of waking some values that stand for all. */
export function pooled(all: readonly WakeCosts[]): WakeCosts {
  const least = (pick: (one: WakeCosts) => number) => Math.min(...all.map(pick));
  return {
    signalNs: least(({ signalNs }) => signalNs),
    waitNs: least(({ waitNs }) => waitNs),
    waking: all[0]!.waking.map(({ restNs }, i) => ({
      restNs,
      wakingNs: likely(all.flatMap(({ waking }) => waking[i]!.wakingNs)),
      latencyNs: likely(all.flatMap(({ waking }) => waking[i]!.latencyNs)),
    })),
  };
}

function likely(values: readonly number[]): number[] {
  const sorted = [...values].sort((a, b) => a - b);
  return LIKELY.map((share) => sorted[Math.floor(share * sorted.length)]!);
}
