import { Histogram } from '../../src/filter/histogram.js';
import type { LoadCounters } from '../../src/guest/load-counters.js';
import { nowNs, threadCpuNs } from '../../src/host/clock.js';
import { EPOLLET, EPOLLIN, Epoll } from '../../src/host/epoll.js';
import { drain } from '../../src/host/eventfd.js';
import { close } from '../../src/host/libc.js';

/** The load of one guest, as the thread of all guests drives it. */
export interface Part {
  /** What has been done since `clear`: a request is a request, a frame received, or a question with its answer. */
  readonly counters: LoadCounters;
  /** Bytes of payload that each request moves. */
  readonly requestBytes: number;
  /** Descriptors by which the guest is called. */
  readonly callFds: readonly number[];
  /** Requests submitted and not completed. */
  readonly inFlight: number;
  /** Submits everything that it has in flight. */
  start(): void;
  /** Handles what is complete and submits as much anew, unless the load is ending. Returns how much there was to do. */
  turn(goOn: boolean): number;
  /** Asks to be called when something is complete; true if something is already. */
  requestCalls(): boolean;
  /** Asks not to be called: this guest polls. */
  suppressCalls(): void;
  /** Looks now and then whether anything was lost on its way. */
  tend?(now: number): void;
  close(): void;
}

/** What one stretch of load gave. */
export interface Stretch {
  readonly seconds: number;
  /** CPU time of this thread, ns. */
  readonly cpuNs: number;
  /** Share of the time in which this thread did something for its guests, instead of looking in vain or sleeping. */
  readonly busyShare: number;
  readonly requests: number;
  readonly errors: number;
  /** Sent by the guests. */
  readonly kicks: number;
  /** Received by the guests: what was added to their call descriptors. */
  readonly calls: number;
}

/** Looks at all guests between two that are timed, one after the other: a prime, so that no rhythm of the load falls in with it. */
const LOOKS_PER_SAMPLE = 61;
/** Looks between two at the clock. */
const LOOKS_PER_CLOCK = 128;
const SLEEP_MS_MAX = 100;
const FINISH_MS_MAX = 10_000;

/**
 * Drives guests in this thread for a time; counts from zero.
 *
 * @param sleeping - guests sleep until they are called, instead of polling
 */
export function drive(parts: readonly Part[], ms: number, sleeping: boolean): Stretch {
  for (const part of parts) part.counters.clear();
  for (const part of parts) for (const fd of part.callFds) drain(fd);
  const epoll = sleeping ? epollOf(parts) : undefined;
  if (!sleeping) for (const part of parts) part.suppressCalls();
  const clockNs = readingNs();
  const [start, cpu] = [nowNs(), threadCpuNs()];
  const end = start + ms * 1e6;
  let [busyNs, emptyNs] = [0, 0];
  let now = start;
  for (let looks = 1; now < end; looks++) {
    if (looks % LOOKS_PER_SAMPLE === 0) {
      const before = nowNs();
      const found = look(parts, true);
      const took = Math.max(0, nowNs() - before - clockNs);
      if (found > 0) busyNs += took;
      else emptyNs += took;
    } else if (look(parts, true) === 0 && epoll !== undefined) sleep(parts, epoll);
    if (looks % LOOKS_PER_CLOCK !== 0 && epoll === undefined) continue;
    now = nowNs();
    for (let i = 0; i < parts.length; i++) parts[i]!.tend?.(now);
  }
  const ns = nowNs() - start;
  const cpuNs = threadCpuNs() - cpu;
  if (epoll !== undefined) close(epoll.fd);
  const sum = (pick: (counters: LoadCounters) => number) =>
    parts.reduce((total, { counters }) => total + pick(counters), 0);
  return {
    seconds: ns / 1e9,
    cpuNs,
    busyShare: sleeping ? cpuNs / ns : busyNs / Math.max(1, busyNs + emptyNs),
    requests: sum((counters) => counters.requests),
    errors: sum((counters) => counters.errors),
    kicks: sum((counters) => counters.kicks),
    calls: parts.reduce((total, { callFds }) => total + callFds.reduce((calls, fd) => calls + drain(fd), 0), 0),
  };
}

/** Lets everything in flight complete. Throws if something does not. */
export function finish(parts: readonly Part[]): void {
  for (const part of parts) part.suppressCalls();
  const deadline = nowNs() + FINISH_MS_MAX * 1e6;
  while (parts.some(({ inFlight }) => inFlight > 0)) {
    look(parts, false);
    if (nowNs() > deadline) throw new Error(`requests are still in flight after ${FINISH_MS_MAX / 1000} s`);
  }
}

/** Latencies of all guests together. */
export function latencyOf(parts: readonly Part[]): Histogram {
  const all = new Histogram();
  for (const { counters } of parts) all.merge(counters.latency);
  return all;
}

function look(parts: readonly Part[], goOn: boolean): number {
  let count = 0;
  for (let i = 0; i < parts.length; i++) count += parts[i]!.turn(goOn);
  return count;
}

function epollOf(parts: readonly Part[]): Epoll {
  const fds = parts.flatMap(({ callFds }) => callFds);
  const epoll = new Epoll(Math.max(1, fds.length));
  for (const [index, fd] of fds.entries()) epoll.add(fd, EPOLLIN | EPOLLET, index);
  return epoll;
}

function sleep(parts: readonly Part[], epoll: Epoll): void {
  let ready = false;
  for (const part of parts) ready = part.requestCalls() || ready;
  if (!ready) epoll.wait(SLEEP_MS_MAX);
}

/** What a reading of the clock takes, ns. */
function readingNs(): number {
  const readings = new Histogram();
  for (let i = 0; i < 200; i++) {
    const before = nowNs();
    readings.add(nowNs() - before);
  }
  return readings.quantile(0.5);
}
