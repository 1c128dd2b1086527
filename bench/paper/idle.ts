import { type AlternationTiming, alternate, keptPairs, type Pair, plannedPairs, shareLeft } from './alternate.js';
import { CrowdedDaemon, CrowdedDirect, DISK_BYTES } from './idle-guests.js';
import { measureRest, plannedRest, REST_MS, type Rest, restTable } from './rest.js';
import type { Experiment, Figure, Look, Point, RawPoint, Series, Table, Verdict } from './results.js';
import type { Stand, Timing } from './stand.js';
import { type Estimate, spread } from './stats.js';
import { judge, percentText } from './verdicts.js';
import { measure, type Window } from './window.js';

/** How many guests are idle. With none nothing is switched: what comes out is what the method itself is off by. */
const COUNTS = { all: [0, 64, 256], few: [256], least: [2] } as const;
/** Most of them in baseline, where each has a thread. */
const BASELINE_COUNTS = { all: [64], few: [12], least: [2] } as const;
const DIRECT_COUNTS = { all: [64, 256], few: [256], least: [2] } as const;
const ACTIVE = { all: 4, few: 4, least: 1 } as const;
const START_MS = { all: 3500, few: 3000, least: 1500 } as const;
const COST_MAX = 0.02;

const MANY: AlternationTiming = {
  all: { pairs: 24, extra: 8, warmUpMs: 10, windowMs: 60 },
  few: { pairs: 10, extra: 2, warmUpMs: 10, windowMs: 50 },
  least: { pairs: 2, extra: 0, warmUpMs: 2, windowMs: 10 },
};
const FEW: AlternationTiming = {
  all: { pairs: 8, extra: 2, warmUpMs: 10, windowMs: 60 },
  few: { pairs: 6, extra: 1, warmUpMs: 10, windowMs: 50 },
  least: { pairs: 1, extra: 0, warmUpMs: 2, windowMs: 10 },
};

interface IdleMode {
  readonly key: 'sidecore' | 'adaptive' | 'baseline' | 'direct';
  readonly name: string;
  readonly look: Look;
  readonly counts: Record<Timing['points'], readonly number[]>;
  readonly alternation: AlternationTiming;
  /** Longer than a queue is polled without work. */
  readonly settleMs: number;
}

const MODES: readonly IdleMode[] = [
  { key: 'sidecore', name: 'sidecore', look: 'sidecore', counts: COUNTS, alternation: MANY, settleMs: 150 },
  { key: 'adaptive', name: 'adaptive', look: 'third', counts: COUNTS, alternation: MANY, settleMs: 30 },
  {
    key: 'baseline',
    name: 'baseline, guests sleep',
    look: 'baseline',
    counts: BASELINE_COUNTS,
    alternation: FEW,
    settleMs: 30,
  },
  {
    key: 'direct',
    name: 'direct, idle guests are polled too',
    look: 'direct',
    counts: DIRECT_COUNTS,
    alternation: FEW,
    settleMs: 10,
  },
];

export const plannedIdle = (timing: Timing): number =>
  MODES.reduce((sum, { key, counts, alternation, settleMs }) => {
    const pairs = counts[timing.points].length * plannedPairs(alternation[timing.points], settleMs);
    return sum + pairs + (key === 'direct' ? 0 : START_MS[timing.points]);
  }, plannedRest(timing));

/** One mode at one number of idle guests. */
interface Place {
  readonly mode: IdleMode;
  readonly count: number;
  readonly pairs: readonly Pair[];
  /** Idle guests' queues that were polled right after a window with all of them on. */
  readonly polled?: number;
}

/** Experiment 5: what guests that do nothing cost those that do something. */
export async function measureIdle(stand: Stand): Promise<Experiment> {
  const places: Place[] = [];
  let rest: Rest | undefined;
  for (const mode of MODES) {
    if (mode.key === 'direct') await measureDirect(stand, mode, places);
    else rest = (await measureMode(stand, mode, places)) ?? rest;
  }
  return report(places, rest!, stand.timing);
}

async function measureMode(stand: Stand, mode: IdleMode, places: Place[]): Promise<Rest | undefined> {
  const { key, counts, alternation, settleMs } = mode;
  if (key === 'direct') throw new Error('direct has no daemon');
  const { points } = stand.timing;
  const active = ACTIVE[points];
  const most = Math.max(...counts[points]);
  stand.progress.say(`5: starting a daemon, ${key}, ${active + most} disks`);
  const daemon = await stand.daemon({ mode: key, disks: active + most, diskBytes: () => DISK_BYTES });
  const crowd = new CrowdedDaemon(stand, daemon);
  try {
    await crowd.connectActive(active);
    // All of them from the beginning: those that are not switched stay as they are when others are.
    for (const count of counts[points]) {
      await crowd.connectIdle(count);
      if (count === counts[points][0]) stand.progress.did(START_MS[points]);
      stand.progress.say(`5: ${active} active guests, ${count} idle ones switched on and off, ${mode.name}`);
      const switched = crowd.switched(key, count, key === 'baseline', settleMs);
      const pairs = await alternate(stand, switched, alternation[points]);
      await switched.turn(true);
      await measure(stand, switched.contender(true), 0, { warmUpMs: settleMs, windowMs: alternation[points].windowMs });
      places.push({ mode, count, pairs, polled: await crowd.polled() });
    }
    if (key !== 'adaptive') return undefined;
    crowd.leave();
    return await measureRest(stand, daemon, crowd.idle);
  } finally {
    crowd.close();
    await stand.stop(daemon);
  }
}

async function measureDirect(stand: Stand, mode: IdleMode, places: Place[]): Promise<void> {
  const { points } = stand.timing;
  const counts = mode.counts[points];
  const crowd = new CrowdedDirect(stand, ACTIVE[points], Math.max(...counts));
  try {
    for (const count of counts) {
      stand.progress.say(`5: ${ACTIVE[points]} active guests, ${count} idle ones looked at or not, direct`);
      places.push({ mode, count, pairs: await alternate(stand, crowd.switched(count), mode.alternation[points]) });
    }
  } finally {
    crowd.close();
  }
}

const isDisturbed = ({ pairs }: Place): boolean => !pairs.some(({ undisturbed }) => undisturbed);

/** What so many idle guests cost, as a share of the throughput without them. */
function cost({ pairs }: Place): Estimate {
  const { median, low, high, confidence, count } = shareLeft(pairs);
  return { median: 1 - median, low: 1 - high, high: 1 - low, confidence, count };
}

/** The windows of a mode at one number of idle guests. Guests that only stand by are left out of the list of rates. */
function raw({ mode, count, pairs }: Place, active: number): RawPoint[] {
  const windows = (pick: (pair: Pair) => Window) =>
    pairs.map((pair) => ({ ...pick(pair), guests: pick(pair).guests.slice(0, active) }));
  const point = (contender: string, all: Window[]): RawPoint => ({
    workload: 'active-guests',
    contender,
    at: { idle: count },
    disturbed: isDisturbed({ mode, count, pairs }),
    windows: all,
  });
  return [
    point(
      `${mode.key}, idle guests off`,
      windows(({ off }) => off),
    ),
    point(
      `${mode.key}, idle guests on`,
      windows(({ on }) => on),
    ),
  ];
}

function report(places: readonly Place[], rest: Rest, { points }: Timing): Experiment {
  const active = ACTIVE[points];
  const { pairs, windowMs } = MANY[points];
  return {
    number: 5,
    title: 'Idle guests',
    question: 'What do guests that do nothing cost those that do something?',
    method: [
      `${active} guests read 4 KiB at random, one request in flight each. The same daemon has idle guests, and these are switched on and off between adjacent windows of ${windowMs} ms: off, their rings are disabled (SET_VRING_ENABLE), and no sidecore knows of them; on, they are enabled, each has made one request, and then nothing more for longer than its queue is polled without work. So everything else, memory, CPUs, compiled code, is the same on both sides.`,
      `The cost is the ratio within a pair of adjacent windows, off then on and on then off by turns; the median of ${pairs} pairs, and as whiskers where the true median lies with at least 95% by the sign test (all pairs, where they are fewer than six). With 0 idle guests nothing is switched: that is what the method itself is off by.`,
      'Direct has no back end; its idle guests cost nothing as long as nobody looks at them. What is shown is what the guests’ thread pays if it looks at all of them each time round: what a poll loop pays that lets nobody leave.',
      `Then all rest, in mode adaptive: ${rest.guests} guests, each of which makes a request now and then, after ${REST_MS} ms in which nothing happened.`,
    ],
    limits: [
      `Baseline has a thread for each device: it is measured with ${Math.max(...places.filter(({ mode }) => mode.key === 'baseline').map(({ count }) => count))} idle guests. These threads are there on both sides; what is switched is whether they have a ring to wait for.`,
      'Idle guests of an operating system wake now and then for their own timers; these do not.',
    ],
    figures: figuresOf(places),
    tables: [costTable(places), restTable(rest)],
    raw: places.flatMap((place) => raw(place, active)),
  };
}

function figuresOf(places: readonly Place[]): Figure[] {
  const series = (value: (place: Place) => Point['y'], modes: readonly IdleMode[] = MODES): Series[] =>
    modes.map(({ key, name, look }) => ({
      name,
      look,
      points: places
        .filter(({ mode }) => mode.key === key)
        .map((place) => ({ x: place.count, y: value(place), disturbed: isDisturbed(place) })),
    }));
  const on = (field: 'perSecond' | 'p99Ns', scale: number) => (place: Place) =>
    spread(keptPairs(place.pairs).map((pair) => scale * pair.on[field]));
  const served = MODES.filter(({ key }) => key !== 'direct');
  return [
    {
      title: 'Active guests: throughput, of what they have without idle ones',
      xLabel: 'idle guests',
      yLabel: '%',
      better: 'more is better',
      log: false,
      series: series((place) => {
        const { median, low, high, count } = shareLeft(place.pairs);
        return { median: 100 * median, min: 100 * low, max: 100 * high, count };
      }),
      verdicts: [costs(places, 'sidecore'), costs(places, 'adaptive')],
      note: controlNote(places),
    },
    {
      title: 'Active guests beside idle ones: throughput',
      xLabel: 'idle guests',
      yLabel: 'thousand requests/s',
      better: 'more is better',
      log: false,
      series: series(on('perSecond', 1e-3)),
      note: 'Points of one line were measured one after the other, and whiskers are the least and the most: the figure before has what was measured in turn.',
    },
    {
      title: 'Active guests beside idle ones: 99th percentile of latency',
      xLabel: 'idle guests',
      yLabel: 'µs',
      better: 'less is better',
      log: true,
      series: series(on('p99Ns', 1e-3), served),
      note: 'A guest that does nothing is not to be waited for.',
    },
  ];
}

/** What the first figure has, in numbers. */
function costTable(places: readonly Place[]): Table {
  return {
    title: 'What idle guests cost, by pairs of windows',
    columns: [
      'mode',
      'idle guests',
      'cost, median',
      'where it lies',
      'as surely as',
      'pairs, undisturbed of all',
      'idle queues polled',
    ],
    rows: places.map((place) => {
      const { median, low, high, confidence, count } = cost(place);
      return [
        place.mode.name,
        String(place.count),
        percentText(median),
        `${percentText(low)} to ${percentText(high)}`,
        percentText(confidence),
        `${isDisturbed(place) ? 0 : count} of ${place.pairs.length}`,
        place.polled === undefined ? '-' : String(place.polled),
      ];
    }),
  };
}

/** What came out where nothing was switched. */
function controlNote(places: readonly Place[]): string {
  const controls = places.filter(({ count }) => count === 0);
  if (controls.length === 0) return 'A whole run has a control beside: pairs between which nothing is switched.';
  const texts = controls.map((place) => {
    const { median, low, high } = cost(place);
    return `${place.mode.name} ${percentText(median)} (${percentText(low)} to ${percentText(high)})`;
  });
  return `Between windows between which nothing is switched, the same method finds a cost of: ${texts.join(', ')}.`;
}

function costs(places: readonly Place[], key: IdleMode['key']): Verdict {
  return judge({
    claim: `Mode ${key}: idle guests cost active ones next to nothing`,
    by: 'goal',
    bound: { sense: 'at most', value: COST_MAX },
    text: (value) => `${percentText(value)} of the throughput`,
    figures: places
      .filter((place) => place.count > 0 && place.mode.key === key)
      .map((place) => {
        const found = cost(place);
        return {
          of: `${place.count} idle guests`,
          value: found.median,
          estimate: found,
          disturbed: isDisturbed(place),
        };
      }),
  });
}
