import { setTimeout as pause } from 'node:timers/promises';
import { Histogram } from '../../src/filter/histogram.js';
import { nowNs } from '../../src/host/clock.js';
import type { BlockPart } from './block-parts.js';
import { finish } from './drive.js';
import type { Table, Verdict } from './results.js';
import type { PaperDaemon, Stand, Timing } from './stand.js';
import { judge, microsText, percentText } from './verdicts.js';

/** Guests that are at rest while what they cost is measured. */
const RESTING = { all: 100, few: 100, least: 2 } as const;
/** Longer than a queue of mode adaptive is polled without work, ms. */
export const REST_MS = 3;
const WAKES = { all: 500, few: 200, least: 20 } as const;
const REST_WINDOW_MS = { all: 1500, few: 600, least: 50 } as const;
/** Wakes that do not count: until V8 has compiled the way of a sidecore that wakes. */
const WAKES_WARM_UP = { all: 300, few: 150, least: 5 } as const;

const CPU_MAX = 0.02;
const WAKE_P50_MAX_NS = 200_000;
const WAKE_P99_MAX_NS = 500_000;

/** What measuring guests at rest is planned to take, ms. */
export const plannedRest = ({ points }: Timing): number =>
  (WAKES[points] + WAKES_WARM_UP[points]) * (REST_MS + 1) + REST_WINDOW_MS[points];

/** What guests at rest cost, and how fast one is served that begins again. */
export interface Rest {
  readonly guests: number;
  /** CPU time of all the daemon's threads, as a share of one CPU. */
  readonly cpu: number;
  readonly p50Ns: number;
  readonly p99Ns: number;
  readonly wakes: number;
}

/** Mode adaptive with guests at rest, all of a daemon’s: what its daemon has of the CPUs, and how long first requests take. */
export async function measureRest(stand: Stand, crowded: PaperDaemon, idle: BlockPart[]): Promise<Rest> {
  const { points } = stand.timing;
  const wanted = RESTING[points];
  while (idle.length > wanted) idle.pop()!.close();
  crowded.process.resume();
  stand.progress.say(`5: ${idle.length} guests at rest, mode adaptive`);
  const latency = new Histogram();
  const wakes = WAKES_WARM_UP[points] + WAKES[points];
  for (let i = 0; i < wakes; i++) {
    if (i % 64 === 0) await stand.breathe();
    await pause(REST_MS);
    const part = idle[i % idle.length]!;
    part.counters.clear();
    part.start();
    finish([part]);
    if (i >= WAKES_WARM_UP[points]) latency.merge(part.counters.latency);
  }
  stand.progress.did(wakes * (REST_MS + 1));
  await pause(100);
  const [start, before] = [nowNs(), crowded.process.cpuNs()];
  await pause(REST_WINDOW_MS[points]);
  const cpu = (crowded.process.cpuNs() - before) / (nowNs() - start);
  crowded.process.pause();
  stand.progress.did(REST_WINDOW_MS[points]);
  return {
    guests: idle.length,
    cpu,
    p50Ns: latency.quantile(0.5),
    p99Ns: latency.quantile(0.99),
    wakes: latency.total,
  };
}

export const restTable = (rest: Rest): Table => ({
  title: `${rest.guests} guests at rest, mode adaptive`,
  columns: ['what', 'value'],
  rows: [
    ['CPU of the daemon, all threads, nobody asking for anything', percentText(rest.cpu)],
    [`first request after ${REST_MS} ms of rest, median of ${rest.wakes}`, microsText(rest.p50Ns)],
    ['the same, 99th percentile', microsText(rest.p99Ns)],
  ],
  verdicts: restVerdicts(rest),
});

function restVerdicts(rest: Rest): Verdict[] {
  const of = `${rest.guests} guests at rest`;
  return [
    judge({
      claim: 'Mode adaptive: guests at rest cost next to no CPU',
      by: 'goal',
      bound: { sense: 'at most', value: CPU_MAX },
      text: (value) => `${percentText(value)} of a CPU`,
      figures: [{ of, value: rest.cpu }],
    }),
    judge({
      claim: 'Mode adaptive: a first request after a rest is answered soon, median',
      by: 'goal',
      bound: { sense: 'at most', value: WAKE_P50_MAX_NS },
      text: microsText,
      figures: [{ of, value: rest.p50Ns }],
    }),
    judge({
      claim: 'Mode adaptive: a first request after a rest is answered soon, 99th percentile',
      by: 'goal',
      bound: { sense: 'at most', value: WAKE_P99_MAX_NS },
      text: microsText,
      figures: [{ of, value: rest.p99Ns }],
    }),
  ];
}
