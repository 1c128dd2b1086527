import { readFileSync } from 'node:fs';

/** How long a thread has waited for a CPU while it could have run, ns; NaN where the kernel does not say. */
export function cpuWaitNs(process: number | 'self', thread: number): number {
  try {
    // Time on a CPU, time waiting for one (both ns), time slices. proc(5) does not have it: Documentation/scheduler/sched-stats
    return Number(readFileSync(`/proc/${process}/task/${thread}/schedstat`, 'utf8').split(' ')[1]);
  } catch {
    return Number.NaN;
  }
}

/** Shares of the time (0 to 1) for which a polling thread had to wait, because others ran on its CPU. */
export interface CpuWaits {
  readonly load: number;
  readonly core: number;
}

/** Measures how quiet the two CPUs are while both threads poll, so that neither ever gives its CPU away. */
export class CpuWaitMeter {
  readonly #read: () => CpuWaits;
  readonly #start: CpuWaits;
  readonly #startedAt = performance.now();

  constructor(loadThread: number, daemon: number, coreThread: number) {
    this.#read = () => ({ load: cpuWaitNs('self', loadThread), core: cpuWaitNs(daemon, coreThread) });
    this.#start = this.#read();
  }

  /** Since the start; undefined where the kernel does not say. */
  read(): CpuWaits | undefined {
    const ns = (performance.now() - this.#startedAt) * 1e6;
    const { load, core } = this.#read();
    const waits = { load: (load - this.#start.load) / ns, core: (core - this.#start.core) / ns };
    return Number.isFinite(waits.load + waits.core) ? waits : undefined;
  }
}
