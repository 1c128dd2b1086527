/** Entry of the watchdog's thread: it looks at sidecores, whatever they and the main thread are busy with. */
import { type MessagePort, workerData } from 'node:worker_threads';
import { cpuNsOf, nowNs } from '../host/clock.js';
import { pingCpus, waitsInCall } from '../host/thread-probe.js';
import { CoreState } from '../sidecore/core-state.js';
import { allowanceNs, LOOK_MS, StallMeter } from './stall-meter.js';
import type { Stall, WatchdogSetup } from './watchdog.js';

/** Shortest pause between two looks, ms. */
const LOOK_MS_MIN = 0.1;

function main({ states, stallMs, control, port }: WatchdogSetup): void {
  const words = new Int32Array(control);
  const probe = { nowNs, cpuNs: cpuNsOf, pingNs: pingCpus, waits: waitsInCall };
  const cores = states.map((state) => ({ state: new CoreState(state), meter: new StallMeter(probe), told: false }));
  // The first time takes milliseconds.
  pingCpus();
  let pauseMs = LOOK_MS;
  while (Atomics.wait(words, 0, 0, pauseMs) === 'timed-out') {
    pauseMs = LOOK_MS;
    for (const [index, core] of cores.entries()) {
      const ns = core.meter.look(core.state);
      if (ns === 0) core.told = false;
      const { filter, beat } = core.meter;
      if (core.told) continue;
      const leftMs = (allowanceNs(stallMs, core.meter) - ns) / 1e6;
      core.told = leftMs <= 0;
      if (core.told) port.postMessage({ core: index, filter, beat, ms: ns / 1e6 } satisfies Stall);
      else pauseMs = Math.min(pauseMs, Math.max(leftMs, LOOK_MS_MIN));
    }
  }
  port.close();
}

main(workerData as WatchdogSetup & { port: MessagePort });
