import { Histogram } from '../../src/filter/histogram.js';
import type { BlockDriver } from '../../src/guest/block-driver.js';
import { LoadedQueue, type LoadPattern } from '../../src/guest/load.js';
import { LoadCounters } from '../../src/guest/load-counters.js';
import { nowNs, threadCpuNs } from '../../src/host/clock.js';
import { EPOLLET, EPOLLIN, Epoll } from '../../src/host/epoll.js';
import { drain } from '../../src/host/eventfd.js';
import { close } from '../../src/host/libc.js';

/** Looks at one guest between two that are timed: a prime, so that no rhythm of the load falls in with it. */
const TURNS_PER_SAMPLE = 61;
const TURNS_PER_CLOCK = 256;
/** Completions of one turn, at most. */
const BATCH_MAX = 16;

/** What a stretch of load gave, and what its thread did. */
export interface Stretch {
  readonly seconds: number;
  readonly requests: number;
  readonly perSecond: number;
  readonly p50Ns: number;
  readonly p99Ns: number;
  readonly kicks: number;
  readonly calls: number;
  /** Requests a second of each guest. */
  readonly guests: readonly number[];
  /** Share of its CPU that this thread had. */
  readonly cpuShare: number;
  /** By the number of completions: how many turns were timed, and what they took together, ns. */
  readonly turns: readonly { readonly count: number; readonly ns: number }[];
}

/** Many guests with disks, driven by this thread, in turn. */
export class GuestLoad {
  readonly #queues: LoadedQueue[];
  readonly #sleeping: boolean;
  readonly #epoll: Epoll | undefined;
  readonly #clockNs: number;

  constructor(guests: readonly BlockDriver[], pattern: LoadPattern, sleeping: boolean, clockNs: number) {
    this.#clockNs = clockNs;
    this.#sleeping = sleeping;
    this.#queues = guests.map((guest, i) => {
      return new LoadedQueue(guest, guest.queues[0]!, { ...pattern, seed: i + 1 }, new LoadCounters());
    });
    if (!sleeping) return;
    this.#epoll = new Epoll(guests.length);
    for (const [i, { queue }] of this.#queues.entries()) this.#epoll.add(queue.callFd, EPOLLIN | EPOLLET, i);
  }

  start(): void {
    const now = nowNs();
    for (const queue of this.#queues) queue.start(now);
  }

  /** Goes on for a time; counts from zero. */
  run(ms: number): Stretch {
    const queues = this.#queues;
    for (const { counters, queue } of queues) {
      counters.clear();
      drain(queue.callFd);
    }
    const turns = Array.from({ length: BATCH_MAX + 1 }, () => ({ count: 0, ns: 0 }));
    const [start, cpu] = [nowNs(), threadCpuNs()];
    const end = start + ms * 1e6;
    let untilSample = TURNS_PER_SAMPLE;
    let untilClock = TURNS_PER_CLOCK;
    for (let now = start; now < end; ) {
      let found = 0;
      for (let i = 0; i < queues.length; i++) {
        if (--untilSample > 0) {
          found += queues[i]!.turn(true, true);
          continue;
        }
        untilSample = TURNS_PER_SAMPLE;
        const before = nowNs();
        const count = queues[i]!.turn(true, true);
        const sample = turns[count]!;
        sample.ns += nowNs() - before - this.#clockNs;
        sample.count++;
        found += count;
      }
      if (found === 0 && this.#sleeping) this.#sleep();
      if (!this.#sleeping && --untilClock > 0) continue;
      untilClock = TURNS_PER_CLOCK;
      now = nowNs();
    }
    const seconds = (nowNs() - start) / 1e9;
    const cpuShare = (threadCpuNs() - cpu) / (seconds * 1e9);
    const latency = new Histogram();
    for (const { counters } of queues) latency.merge(counters.latency);
    const guests = queues.map(({ counters }) => counters.requests / seconds);
    const requests = queues.reduce((sum, { counters }) => sum + counters.requests, 0);
    return {
      seconds,
      requests,
      perSecond: requests / seconds,
      p50Ns: latency.quantile(0.5),
      p99Ns: latency.quantile(0.99),
      kicks: queues.reduce((sum, { counters }) => sum + counters.kicks, 0),
      calls: queues.reduce((sum, { queue }) => sum + drain(queue.callFd), 0),
      guests,
      cpuShare,
      turns,
    };
  }

  /** Lets everything in flight complete. */
  finish(): void {
    for (const { queue } of this.#queues) queue.ring.suppressCalls();
    const deadline = nowNs() + 10e9;
    while (this.#queues.some(({ inFlight }) => inFlight > 0)) {
      for (const queue of this.#queues) queue.turn(true, false);
      if (nowNs() > deadline) throw new Error('requests are still in flight after 10 s');
    }
    if (this.#epoll !== undefined) close(this.#epoll.fd);
    const errors = this.#queues.reduce((sum, { counters }) => sum + counters.errors, 0);
    if (errors > 0) throw new Error(`${errors} requests failed`);
  }

  /** What a look at a guest takes that has nothing, ns. */
  lookNs(looks = 50_000): number {
    const before = nowNs();
    for (let i = 0; i < looks; i++) for (let j = 0; j < this.#queues.length; j++) this.#queues[j]!.turn(true, false);
    return (nowNs() - before) / (looks * this.#queues.length);
  }

  /** What it takes to ask for calls at one guest, ns. */
  armNs(times = 20_000): number {
    const before = nowNs();
    for (let i = 0; i < times; i++)
      for (let j = 0; j < this.#queues.length; j++) this.#queues[j]!.queue.ring.requestCalls();
    const ns = (nowNs() - before) / (times * this.#queues.length);
    for (const { queue } of this.#queues) queue.ring.suppressCalls();
    return ns;
  }

  #sleep(): void {
    let ready = false;
    for (const { queue } of this.#queues) ready = queue.ring.requestCalls() || ready;
    if (!ready) this.#epoll!.wait(100);
  }
}
