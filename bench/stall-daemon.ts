/**
 * A daemon for the measurement of stalls, a process of its own: argument 1 is its configuration, argument 2 `spare`, or `none` for one
 * that keeps no thread in reserve. It tells its parent when it is ready, and when the watchdog has found a filter out.
 */
import { loadConfig } from '../src/daemon/config.js';
import { Daemon } from '../src/daemon/daemon.js';
import { createLog } from '../src/daemon/log.js';
import type { Stall } from '../src/daemon/watchdog.js';
import { nowNs } from '../src/host/clock.js';

/** What it tells. */
export interface StallEvent {
  readonly what: 'ready' | 'found out';
  readonly atNs: number;
}

const tell = (what: StallEvent['what']) => process.send!({ what, atNs: nowNs() } satisfies StallEvent);

const [, , file, reserve] = process.argv;
process.on('disconnect', () => process.exit());
const { cores } = await Daemon.start(loadConfig(file!), createLog('error', false));
if (reserve === 'none') await cores.threads.stop();
for (const core of cores.cores) {
  const end = core.endStalled.bind(core);
  core.endStalled = (stall: Stall) => {
    tell('found out');
    end(stall);
  };
}
tell('ready');
