import type { LoadPattern } from '../../src/guest/load.js';
import { BlockPart, fillDisk } from './block-parts.js';
import { finish } from './drive.js';
import { rawPoints } from './modes.js';
import { measureRest, plannedRest, REST_MS, type Rest, restTable } from './rest.js';
import type { Experiment, Figure, Look, RawPoint, Series, Verdict } from './results.js';
import type { PaperDaemon, Stand, Timing } from './stand.js';
import { ratio, type Spread } from './stats.js';
import { judge, percentText } from './verdicts.js';
import { type Contender, compete, plannedMs, type Windows } from './window.js';

/** How many guests are idle. */
const COUNTS = { all: [0, 16, 64, 256], few: [0, 32, 256], least: [0, 2] } as const;
/** Most of them in baseline, where each has a thread. */
const BASELINE_MAX = { all: 64, few: 32, least: 2 } as const;
const ACTIVE = { all: 4, few: 4, least: 1 } as const;
const DISK_BYTES = 2 ** 20;
const START_MS = 9000;
const SETTLE_MS = { all: 400, few: 200, least: 20 } as const;
const COST_MAX = 0.02;
type IdleMode = 'sidecore' | 'adaptive' | 'baseline';
const MODES: readonly {
  readonly mode: IdleMode;
  readonly name: string;
  readonly look: Look;
  readonly sleeping: boolean;
}[] = [
  { mode: 'sidecore', name: 'sidecore', look: 'sidecore', sleeping: false },
  { mode: 'adaptive', name: 'adaptive', look: 'third', sleeping: false },
  { mode: 'baseline', name: 'baseline, guests sleep', look: 'baseline', sleeping: true },
];

const pattern = (seed: number): LoadPattern => ({
  depth: 1,
  requestBytes: 4096,
  readShare: 1,
  workingSetBytes: DISK_BYTES,
  seed,
});

/** Costs of a few percent show in many rounds only. */
const manyRounds = (timing: Timing): Timing => ({
  ...timing,
  rounds: timing.points === 'least' ? 1 : timing.rounds + 2,
});

export const plannedIdle = (timing: Timing): number => {
  const contenders = 2 * MODES.length;
  return (
    START_MS +
    contenders * SETTLE_MS[timing.points] +
    COUNTS[timing.points].length * plannedMs(manyRounds(timing), contenders) +
    plannedRest(timing)
  );
};

/** Two daemons of a mode: one with the active guests alone, and one with idle guests beside them. */
interface Pair {
  readonly mode: IdleMode;
  readonly sleeping: boolean;
  readonly alone: PaperDaemon;
  readonly crowded: PaperDaemon;
  readonly idle: BlockPart[];
  readonly idleMax: number;
}

interface Place {
  readonly count: number;
  readonly results: ReadonlyMap<string, Windows>;
}

/** Experiment 5: what guests that do nothing cost those that do something. */
export async function measureIdle(stand: Stand): Promise<Experiment> {
  const { points } = stand.timing;
  const active = ACTIVE[points];
  const pairs: Pair[] = [];
  const guests: BlockPart[] = [];
  const raw: RawPoint[] = [];
  const places: Place[] = [];
  try {
    for (const { mode, sleeping } of MODES) {
      const idleMax = mode === 'baseline' ? BASELINE_MAX[points] : Math.max(...COUNTS[points]);
      stand.progress.say(`5: starting daemons, ${mode}, ${active} and ${active + idleMax} disks`);
      const start = (disks: number) => stand.daemon({ mode, disks, diskBytes: () => DISK_BYTES });
      const pair = {
        mode,
        sleeping,
        alone: await start(active),
        crowded: await start(active + idleMax),
        idle: [],
        idleMax,
      };
      pairs.push(pair);
    }
    stand.progress.did(START_MS);
    const contenders: Contender[] = [];
    for (const { mode, sleeping, alone, crowded } of pairs) {
      for (const [key, daemon] of [
        [mode, alone],
        [`${mode}-crowded`, crowded],
      ] as const) {
        const parts = await connectActive(daemon, active, stand.seed);
        guests.push(...parts);
        contenders.push({ key, daemon, sleeping, parts });
      }
    }
    const windowMs = SETTLE_MS[points];
    await compete(stand, contenders, { ...stand.timing, rounds: 1, extra: 0, warmUpMs: 0, windowMs });
    for (const count of COUNTS[points]) {
      stand.progress.say(`5: ${active} active guests beside ${count} idle ones`);
      for (const pair of pairs) await addIdle(pair, Math.min(count, pair.idleMax), active, stand);
      const here = contenders.filter(({ daemon }) =>
        pairs.some(({ alone, crowded, idleMax }) => count <= idleMax && (daemon === alone || daemon === crowded)),
      );
      const results = await compete(stand, here, manyRounds(stand.timing));
      raw.push(...rawPoints(results, 'active-guests', { idle: count }));
      places.push({ count, results });
    }
    for (const part of guests) part.close();
    guests.length = 0;
    const resting = pairs.find(({ mode }) => mode === 'adaptive')!;
    const rest = await measureRest(stand, resting.crowded, resting.idle);
    return report(places, rest, active, raw);
  } finally {
    for (const part of guests) part.close();
    for (const { idle } of pairs) for (const part of idle) part.close();
    for (const { alone, crowded } of pairs) for (const daemon of [alone, crowded]) await stand.stop(daemon);
  }
}

async function connectActive(daemon: PaperDaemon, count: number, seed: number): Promise<BlockPart[]> {
  daemon.process.resume();
  for (let i = 0; i < count; i++) await fillDisk(daemon.disk(i), DISK_BYTES);
  await daemon.settle();
  daemon.process.resume();
  const parts: BlockPart[] = [];
  for (let i = 0; i < count; i++) parts.push(await BlockPart.connect(daemon.disk(i), pattern(seed * 100 + i)));
  daemon.process.pause();
  return parts;
}

/** Connects idle guests up to so many. Each has made a request, so that its queue has been started, and makes no other. */
async function addIdle({ crowded, idle }: Pair, count: number, active: number, stand: Stand): Promise<void> {
  if (idle.length >= count) return;
  crowded.process.resume();
  while (idle.length < count) {
    const part = await BlockPart.connect(crowded.disk(active + idle.length), pattern(stand.seed));
    idle.push(part);
    part.start();
    finish([part]);
    if (idle.length % 16 === 0) await stand.breathe();
  }
  crowded.process.pause();
}

/** What so many idle guests cost, as a share of the throughput without them. */
function cost({ results }: Place, mode: IdleMode): Spread {
  const left = ratio(results.get(`${mode}-crowded`)!.of('perSecond'), results.get(mode)!.of('perSecond'));
  return { median: 1 - left.median, min: 1 - left.max, max: 1 - left.min, count: left.count };
}

const isDisturbed = ({ results }: Place, mode: IdleMode): boolean =>
  [mode, `${mode}-crowded`].some((key) => results.get(key)!.disturbed);

const has = ({ results }: Place, mode: IdleMode): boolean => results.has(mode);

function report(places: readonly Place[], rest: Rest, active: number, raw: readonly RawPoint[]): Experiment {
  return {
    number: 5,
    title: 'Idle guests',
    question: 'What do guests that do nothing cost those that do something?',
    method: [
      `${active} guests read 4 KiB at random, one request in flight each. A second daemon serves as many beside 0 to ${places.at(-1)!.count} guests that are connected, have made one request, and then nothing more. The two are measured in turn; the cost is the ratio within a round.`,
      `Then all rest, in mode adaptive: ${rest.guests} guests, each of which makes a request now and then, after ${REST_MS} ms in which nothing happened.`,
    ],
    limits: [
      `Baseline has a thread for each device: it is measured with at most ${Math.max(...places.filter((place) => has(place, 'baseline')).map(({ count }) => count))} idle guests.`,
      'Idle guests of an operating system wake now and then for their own timers; these do not.',
    ],
    figures: figuresOf(places),
    tables: [restTable(rest)],
    raw,
  };
}

function figuresOf(places: readonly Place[]): Figure[] {
  const series = (field: 'perSecond' | 'p99Ns', scale: number): Series[] =>
    MODES.map(({ mode, name, look }) => ({
      name,
      look,
      points: places
        .filter((place) => has(place, mode))
        .map(({ count, results }) => {
          const windows = results.get(`${mode}-crowded`)!;
          const { median, min, max, count: rounds } = windows.spread(field);
          const y = { median: median * scale, min: min * scale, max: max * scale, count: rounds };
          return { x: count, y, disturbed: windows.disturbed };
        }),
    }));
  const left: Series[] = MODES.map(({ mode, name, look }) => ({
    name,
    look,
    points: places
      .filter((place) => has(place, mode))
      .map((place) => {
        const { median, min, max, count } = cost(place, mode);
        const y = { median: 100 * (1 - median), min: 100 * (1 - max), max: 100 * (1 - min), count };
        return { x: place.count, y, disturbed: isDisturbed(place, mode) };
      }),
  }));
  return [
    {
      title: 'Active guests: throughput, of what they have without idle ones',
      xLabel: 'idle guests',
      yLabel: '%',
      better: 'more is better',
      log: false,
      series: left,
      verdicts: [costs(places, 'sidecore'), costs(places, 'adaptive')],
    },
    {
      title: 'Active guests: throughput',
      xLabel: 'idle guests',
      yLabel: 'thousand requests/s',
      better: 'more is better',
      log: false,
      series: series('perSecond', 1e-3),
      note: 'Points of one line were measured one after the other: what the figure before has was measured in turn.',
    },
    {
      title: 'Active guests: 99th percentile of latency',
      xLabel: 'idle guests',
      yLabel: 'µs',
      better: 'less is better',
      log: true,
      series: series('p99Ns', 1e-3),
      note: 'A guest that does nothing is not to be waited for.',
    },
  ];
}

function costs(places: readonly Place[], mode: IdleMode): Verdict {
  return judge({
    claim: `Mode ${mode}: idle guests cost active ones next to nothing`,
    by: 'goal',
    bound: { sense: 'at most', value: COST_MAX },
    text: (value) => `${percentText(value)} of the throughput`,
    figures: places
      .filter((place) => place.count > 0 && has(place, mode))
      .map((place) => {
        const spread = cost(place, mode);
        const disturbed = isDisturbed(place, mode);
        return { of: `${place.count} idle guests`, value: spread.median, spread, disturbed };
      }),
  });
}
