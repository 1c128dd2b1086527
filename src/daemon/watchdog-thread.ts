/** Entry of the watchdog's thread: it looks at sidecores, whatever they and the main thread are busy with. */
import { type MessagePort, workerData } from 'node:worker_threads';
import { cpuNsOf, nowNs } from '../host/clock.js';
import { pingCpus, waitsInCall } from '../host/thread-probe.js';
import { FILTER_COLD_MS_MAX, FILTER_MAKING_MS_MAX } from '../limits.js';
import { CoreState } from '../sidecore/core-state.js';
import { IDLE_LOOK_MS, LOOK_MS, StallMeter } from './stall-meter.js';
import type { Stall, WatchdogSetup } from './watchdog.js';

function main({ states, boundMs, control, port }: WatchdogSetup): void {
  const words = new Int32Array(control);
  const probe = { nowNs, cpuNs: cpuNsOf, pingNs: pingCpus, waits: waitsInCall };
  const cores = states.map((state) => ({ state: new CoreState(state), meter: new StallMeter(probe), told: false }));
  const boundNs = 1e6 * boundMs;
  const coldNs = 1e6 * Math.max(boundMs, FILTER_COLD_MS_MAX);
  const makingNs = 1e6 * Math.max(boundMs, FILTER_MAKING_MS_MAX);
  let pauseMs = IDLE_LOOK_MS;
  while (Atomics.wait(words, 0, 0, pauseMs) === 'timed-out') {
    pauseMs = IDLE_LOOK_MS;
    for (const [index, core] of cores.entries()) {
      const ns = core.meter.look(core.state);
      if (ns === 0) core.told = false;
      const { filter, beat, cold } = core.meter;
      if (filter !== 0) pauseMs = LOOK_MS;
      if (core.told || ns < (filter < 0 ? makingNs : cold ? coldNs : boundNs)) continue;
      core.told = true;
      port.postMessage({ core: index, filter, beat, ms: ns / 1e6 } satisfies Stall);
    }
  }
  port.close();
}

main(workerData as WatchdogSetup & { port: MessagePort });
