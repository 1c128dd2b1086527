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
export const RESTS_NS = [1000, 2000, 4000, 8000, 16_000, 32_000, 64_000] as const;
const LOST_NS = 1e9;

export interface WakeSample {
  readonly restNs: number;
  readonly wakingNs: number;
  readonly latencyNs: number;
}

/** What waking takes, ns. */
export interface WakeCosts {
  /** A write that wakes nobody. */
  readonly signalNs: number;
  /** For each time of rest: a write that wakes a thread on another, idle CPU, and from its begin until that thread goes on. */
  readonly waking: readonly WakeSample[];
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
    const wake = (restNs: number): WakeSample => {
      const [waking, latency]: number[][] = [[], []];
      for (let i = 0; i < WAKES; i++) {
        const seen = Atomics.load(word, 0);
        const before = nowNs();
        signal(fd);
        waking!.push(nowNs() - before - clockNs);
        while (Atomics.load(word, 0) === seen)
          if (nowNs() - before > LOST_NS) throw new Error('a thread was not woken');
        latency!.push(awake[0]! - before - clockNs);
        for (const rest = nowNs() + restNs; nowNs() < rest; );
      }
      return { restNs, wakingNs: median(waking!), latencyNs: median(latency!) };
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

/** Of several measurements the least of each: what disturbs makes all of these longer. */
export function leastOf(all: readonly WakeCosts[]): WakeCosts {
  const least = (pick: (one: WakeCosts) => number) => Math.min(...all.map(pick));
  return {
    signalNs: least(({ signalNs }) => signalNs),
    waitNs: least(({ waitNs }) => waitNs),
    waking: RESTS_NS.map((restNs, i) => ({
      restNs,
      wakingNs: least(({ waking }) => waking[i]!.wakingNs),
      latencyNs: least(({ waking }) => waking[i]!.latencyNs),
    })),
  };
}
