import { Worker } from 'node:worker_threads';
import { nowNs } from '../src/host/clock.js';
import type { PlacementSetup } from './placement-thread.js';

/** Round trips of one reading. */
const ROUND_TRIPS = 4000;
/** Round trips timed together. */
const CHUNK = 40;

/**
 * Measures how far apart two CPUs are: the time that a cache line takes to the other CPU and back. On a virtual machine
 * the host may move either of them at any moment, and rates change by several times; so each window of a measurement is
 * tagged with it, and only windows of like placement are compared.
 */
export class PlacementProbe {
  readonly #line: Int32Array;
  readonly #worker: Worker;

  /** @param otherCpu - where the other end waits; the caller's thread is pinned already */
  constructor(otherCpu: number) {
    const shared = new SharedArrayBuffer(64);
    this.#line = new Int32Array(shared);
    const setup: PlacementSetup = { cpu: otherCpu, shared };
    this.#worker = new Worker(new URL('./placement-thread.js', import.meta.url), { workerData: setup });
  }

  /** Median time of a round trip, ns. Nothing else may poll on the other CPU. */
  read(): number {
    const times: number[] = [];
    Atomics.store(this.#line, 1, 1);
    Atomics.notify(this.#line, 1);
    let turn = Atomics.load(this.#line, 0);
    for (let trip = 0; trip < ROUND_TRIPS; trip += CHUNK) {
      const before = nowNs();
      for (let i = 0; i < CHUNK; i++) {
        Atomics.store(this.#line, 0, turn + 1);
        turn += 2;
        while (Atomics.load(this.#line, 0) !== turn);
      }
      times.push((nowNs() - before) / CHUNK);
    }
    Atomics.store(this.#line, 1, 0);
    return times.sort((a, b) => a - b)[times.length >> 1]!;
  }

  async close(): Promise<void> {
    await this.#worker.terminate();
  }
}
