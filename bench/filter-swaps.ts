import { join } from 'node:path';
import { setImmediate as turn } from 'node:timers/promises';
import { askDaemon } from '../src/daemon/control-server.js';
import { controlSocketPath } from '../src/daemon/daemon.js';
import { BlockDriver } from '../src/guest/block-driver.js';
import { LoadedQueue, type LoadPattern } from '../src/guest/load.js';
import { LoadCounters } from '../src/guest/load-counters.js';
import { nowNs } from '../src/host/clock.js';
import { OurDaemon } from './back-ends.js';
import { type FilterContext, type PlannedFilterRows, spreadText } from './filter-context.js';
import { row } from './report.js';

const DISK_BYTES = 2 ** 20;
const WARM_UP_MS = 200;
/** Of load between two changes, and between two looks of this thread at its event loop. */
const BETWEEN_MS = 10;
const SLICE_MS = 0.5;
/** A guest that has waited for so long leaves its CPU to others, ns, for so long each time, ms. */
const PATIENCE_NS = 5e4;
const PAUSE_MS = 0.05;
const pause = new Int32Array(new SharedArrayBuffer(4));

/** What is done to a disk, again and again. Bodies of requests to the control socket. */
const DEVICE = 'bench/disk';
type Change = readonly [path: string, body: object];
const CHANGES: Readonly<Record<string, (base: string) => readonly Change[]>> = {
  'added and removed': (base) => [
    ['/filters/add', { device: DEVICE, filter: { use: 'meter' }, at: 1, base }],
    ['/filters/remove', { device: DEVICE, which: '1' }],
  ],
  replaced: (base) => [['/filters/replace', { device: DEVICE, which: '0', filter: { use: 'meter' }, base }]],
};

/** Longest time without a completion, and how long the guest itself was kept from its CPU at most, ns. */
interface Gap {
  longest: number;
  away: number;
}

/** Filters that are changed under load: for how long requests do not complete. */
export function swapRows(context: FilterContext): PlannedFilterRows {
  return { name: 'hot swap', quick: true, run: () => measure(context) };
}

async function measure({ ground, options, timing }: FilterContext): Promise<void> {
  const folder = ground.folder('/dev/shm');
  const disk = {
    backend: { type: 'memory', size: DISK_BYTES },
    filters: [{ use: 'meter', options: { latency: false } }],
  };
  const config = { cores: [ground.serverCpu], log: 'warn', vms: { bench: { disks: { disk } } } };
  const daemon = ground.keep(new OurDaemon(options.node, join(folder, 'run'), config));
  await daemon.ready([daemon.socket('disk')]);
  const control = controlSocketPath(daemon.runDir);
  for (const depth of options.quick ? [32] : [1, 32]) {
    for (const [what, changesOf] of Object.entries(CHANGES)) {
      const title = `hot swap: longest pause of a disk while a filter is ${what}, depth ${depth}`;
      options.progress(title);
      const guest = await SwappedGuest.connect(daemon.socket('disk'), depth);
      const gaps: Gap[] = [];
      for (let i = 0; i < timing.swaps; i++) {
        for (const [path, body] of changesOf(folder))
          gaps.push(await guest.during(askDaemon(control, 'POST', path, body)));
      }
      const { errors, mismatches } = guest.end();
      const ms = gaps.map(({ longest }) => longest / 1e6).sort((a, b) => a - b);
      const p90 = ms[Math.floor(0.9 * ms.length)]!.toFixed(2);
      const away = Math.max(...gaps.map((gap) => gap.away)) / 1e6;
      const note = `p90 ${p90}, ${spreadText(ms, 2)} of ${ms.length}; the guest itself was kept from its CPU for ${away.toFixed(1)} ms at most`;
      ground.add([
        row(title, 'ms', ms, null, null, note),
        row(`${title}: requests that failed or read what was not written`, 'requests', [errors + mismatches], null, {
          sense: 'at most',
          value: 0,
        }),
      ]);
    }
  }
  await daemon.stop();
}

/** A guest under load that is verified, whose thread looks at its event loop between. */
class SwappedGuest {
  readonly #guest: BlockDriver;
  readonly #counters = new LoadCounters();
  readonly #loaded: LoadedQueue;
  #lastNs = 0;

  static async connect(socket: string, depth: number): Promise<SwappedGuest> {
    const pattern: LoadPattern = {
      depth,
      requestBytes: 4096,
      readShare: 0.5,
      workingSetBytes: DISK_BYTES,
      verify: true,
    };
    const guest = await BlockDriver.connect({ socket, depth, requestBytes: pattern.requestBytes });
    const swapped = new SwappedGuest(guest, pattern);
    swapped.#loaded.start(nowNs());
    swapped.#drive(WARM_UP_MS, { longest: 0, away: 0 });
    return swapped;
  }

  private constructor(guest: BlockDriver, pattern: LoadPattern) {
    this.#guest = guest;
    this.#loaded = new LoadedQueue(guest, guest.queues[0]!, pattern, this.#counters);
  }

  /** Goes on with its load while something is done, and a while longer. */
  async during(change: Promise<unknown>): Promise<Gap> {
    const gap: Gap = { longest: 0, away: 0 };
    let done = false;
    const ended = change.finally(() => {
      done = true;
    });
    // Whatever it is, it is thrown where it is awaited.
    ended.catch(() => {});
    this.#lastNs = nowNs();
    while (!done) {
      this.#drive(SLICE_MS, gap);
      await turn();
    }
    await ended;
    this.#drive(BETWEEN_MS, gap);
    return gap;
  }

  end(): { errors: number; mismatches: number } {
    const end = nowNs() + 5e9;
    while (this.#loaded.inFlight > 0) {
      this.#loaded.turn(false, false);
      if (nowNs() > end) throw new Error(`${this.#loaded.inFlight} requests do not complete`);
    }
    const { errors, mismatches } = this.#counters;
    this.#guest.close();
    return { errors, mismatches };
  }

  #drive(ms: number, gap: Gap): void {
    const startNs = nowNs();
    const endNs = startNs + ms * 1e6;
    for (let now = startNs, lookNs = startNs; ; lookNs = now) {
      const count = this.#loaded.turn(false, true);
      now = nowNs();
      gap.away = Math.max(gap.away, now - lookNs);
      gap.longest = Math.max(gap.longest, now - this.#lastNs);
      if (count > 0) this.#lastNs = now;
      // What is done about the change shall not have to share the guest's CPU with it.
      else if (now - this.#lastNs > PATIENCE_NS) Atomics.wait(pause, 0, 0, PAUSE_MS);
      if (now >= endNs) return;
    }
  }
}
