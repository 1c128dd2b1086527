import { mkdtempSync, rmSync } from 'node:fs';
import { OnExit } from '../../src/demo/interruption.js';
import { fillDisks } from './growth.js';
import { INTERPOSERS, type Interposer, NOTHING } from './interposers.js';
import { rawPoints } from './modes.js';
import type { Experiment, Figure, RawPoint, Series, Table, Verdict } from './results.js';
import type { PaperDaemon, Stand, Timing } from './stand.js';
import { median, type Rounded, ratio, spread } from './stats.js';
import { judge, percentText, timesText } from './verdicts.js';
import { type Contender, compete, plannedMs, type Windows } from './window.js';
import { BLOCK_32, connectAll, diskBytesOf, REQUEST_RESPONSE, STREAM_SMALL, type Workload } from './workloads.js';

/** Numbers of guests. */
const COUNTS = { all: [1, 4, 16], few: [1, 4], least: [1] } as const;
/** What starting the daemons of a kind of device takes, ms. */
const START_MS = 5000;
/** How long each runs before it is measured: V8 compiles, in baseline for each of its threads anew, and filters are more code. */
const SETTLE_MS = {
  all: { baseline: 1200, sidecore: 800 },
  few: { baseline: 300, sidecore: 600 },
  least: { baseline: 20, sidecore: 20 },
} as const;
/** What a guest asks for in a second, of those that are counted: it is busy, but not alone on its sidecore. */
const GUEST_PER_SECOND = 10_000;
const KEPT_MIN = 0.95;

/** A quick run has no time for cards. */
const WORKLOADS = {
  all: [BLOCK_32, REQUEST_RESPONSE, STREAM_SMALL],
  few: [BLOCK_32],
  least: [BLOCK_32, REQUEST_RESPONSE],
} as const;
const workloadsOf = ({ points }: Timing): readonly Workload[] => WORKLOADS[points];

/** Shorter than elsewhere: there are many contenders. */
const timingOf = (timing: Timing): Timing => ({
  ...timing,
  warmUpMs: Math.min(timing.warmUpMs, 30),
  windowMs: Math.min(timing.windowMs, 80),
});

interface Place {
  readonly count: number;
  readonly results: ReadonlyMap<string, Windows>;
}

export function plannedInterposition(timing: Timing): number {
  const counts = COUNTS[timing.points].length;
  const each = workloadsOf(timing).map(({ device }) => {
    const contenders = INTERPOSERS[device];
    const settling = contenders.reduce((sum, { mode }) => sum + SETTLE_MS[timing.points][mode], 0);
    return counts * plannedMs(timingOf(timing), contenders.length) + settling;
  });
  const devices = new Set(workloadsOf(timing).map(({ device }) => device));
  return devices.size * START_MS + each.reduce((sum, ms) => sum + ms, 0);
}

/** Experiment 6: what it costs that the host stands in between, and does something there. */
export async function measureInterposition(stand: Stand): Promise<Experiment> {
  const figures: Figure[] = [];
  const tables: Table[] = [];
  const raw: RawPoint[] = [];
  const timing = timingOf(stand.timing);
  for (const device of new Set(workloadsOf(timing).map((workload) => workload.device))) {
    const most = Math.max(...COUNTS[timing.points]);
    const folder = mkdtempSync('/dev/shm/sidecore-paper-');
    const removal = new OnExit(() => rmSync(folder, { recursive: true, force: true }));
    try {
      const daemons = await startAll(stand, device, most, folder);
      for (const workload of workloadsOf(timing).filter((one) => one.device === device)) {
        stand.progress.say(`6: warming up, ${workload.title}`);
        for (const [interposer, daemon] of daemons) {
          const windowMs = SETTLE_MS[timing.points][interposer.mode];
          const settling = { ...timing, rounds: 1, extra: 0, warmUpMs: 0, windowMs };
          await measurePlace(stand, workload, most, new Map([[interposer, daemon]]), settling);
        }
        const places: Place[] = [];
        for (const count of COUNTS[timing.points]) {
          stand.progress.say(`6: ${workload.title}, ${count} ${count === 1 ? 'guest' : 'guests'}`);
          const results = await measurePlace(stand, workload, count, daemons, timing);
          raw.push(...rawPoints(results, workload.key, { guests: count }));
          places.push({ count, results });
        }
        figures.push(throughputFigure(workload, places));
        tables.push(costTable(workload, places));
      }
      for (const daemon of daemons.values()) await stand.stop(daemon);
    } finally {
      removal.now();
    }
  }
  return {
    number: 6,
    title: 'Interposition: filters between guests and their devices',
    question:
      'The host is in between so that it can look at each request and do something about it. What does that cost, and how many guests does a sidecore serve that way?',
    method: [
      'Filters are modules of TypeScript in the sidecore’s own thread. Each contender is a daemon of its own whose guests all have the same filters on their disks, or on their network cards, but not on those of their partners. The limits of the throttle are not reached. Baseline has no filters: it is what the paper compares with.',
      `The firewall has rules as a security group has them, of which the last lets the guests’ frames pass, and remembers connections. Encrypted disks are files on tmpfs, those of all others are memory: their line is the cost of the file and of its encryption. Windows are of ${timing.windowMs} ms.`,
      `Guests a core: how often it could do what it does for a request in a second of busy time, by its own meter, divided by ${GUEST_PER_SECOND.toLocaleString('en')} for a guest that asks so often. In the windows of all the guests that there are; it says nothing of their latency then. The tables have that beside the back end’s busy time for each request, and the rate as a share of that of a sidecore without filters.`,
    ],
    limits: [
      'All guests are in one thread on one CPU: where that is the bottleneck, a filter that costs less than the guests’ thread takes does not show in the rate, but in the sidecore’s time for a request.',
      'Nothing is compared with filters of others: kernels’ and other programs’ have other places and other contracts. The command npm run bench -- filters holds encryption against that of qemu-storage-daemon.',
    ],
    figures,
    tables,
    raw,
  };
}

async function startAll(
  stand: Stand,
  device: Workload['device'],
  count: number,
  folder: string,
): Promise<Map<Interposer, PaperDaemon>> {
  const interposers = INTERPOSERS[device];
  stand.progress.say(
    `6: starting ${interposers.length} daemons with ${device === 'disk' ? `${count} disks` : `${2 * count} cards`}`,
  );
  const plans = interposers.map(({ mode, plan }) => ({
    mode,
    ...(device === 'disk' ? { disks: count, diskBytes: diskBytesOf } : { pairs: count }),
    folder,
    ...plan(folder, count),
  }));
  const started = await stand.daemons(plans);
  if (device === 'disk') for (const daemon of started) await fillDisks(daemon, count);
  stand.progress.did(START_MS);
  return new Map(started.map((daemon, i) => [interposers[i]!, daemon]));
}

async function measurePlace(
  stand: Stand,
  workload: Workload,
  count: number,
  daemons: ReadonlyMap<Interposer, PaperDaemon>,
  timing: Timing,
): Promise<Map<string, Windows>> {
  const open: { close(): void }[] = [];
  try {
    const contenders: Contender[] = [];
    for (const [{ key, mode }, daemon] of daemons) {
      const parts = await connectAll(workload, daemon, count, stand.seed);
      open.push(...parts);
      contenders.push({ key, daemon, sleeping: mode === 'baseline', parts });
    }
    return await compete(stand, contenders, timing);
  } finally {
    for (const part of open) part.close();
    for (const daemon of daemons.values()) await daemon.settle();
  }
}

const guestsText = (count: number): string => `${count} ${count === 1 ? 'guest' : 'guests'}`;

function throughputFigure(workload: Workload, places: readonly Place[]): Figure {
  const { title, stream, requestBytes, device } = workload;
  const [scale, unit] = stream ? [(8 * requestBytes) / 1e9, 'received, Gbit/s'] : [1e-3, 'thousand requests/s'];
  const series: Series[] = INTERPOSERS[device].map(({ key, name, look }) => ({
    name,
    look,
    points: places.map(({ count, results }) => {
      const windows = results.get(key)!;
      return {
        x: count,
        y: spread(windows.of('perSecond').map(({ value }) => value * scale)),
        disturbed: windows.disturbed,
      };
    }),
  }));
  return {
    title: `Interposed. ${title}`,
    xLabel: 'guests',
    yLabel: unit,
    better: 'more is better',
    log: false,
    series,
    verdicts: verdictsOn(workload, places),
  };
}

function verdictsOn({ title, device }: Workload, places: readonly Place[]): Verdict[] {
  const subject = `Interposed. ${title}`;
  const against = (key: string, other: string) =>
    places.map(({ count, results }) => {
      const [one, two] = [results.get(key)!, results.get(other)!];
      const varied = ratio(one.of('perSecond'), two.of('perSecond'));
      return { of: guestsText(count), value: varied.median, spread: varied, disturbed: one.disturbed || two.disturbed };
    });
  const filters = INTERPOSERS[device].filter(({ what }) => what !== undefined);
  const verdicts = filters.map(({ key, what }) =>
    judge({
      subject,
      claim: `with ${what} a sidecore is faster than baseline with nothing, at every number of guests`,
      by: 'paper',
      bound: { sense: 'at least', value: 1.2 },
      text: timesText,
      figures: against(key, 'baseline'),
    }),
  );
  const passing = filters.find(({ look }) => look === 'third')!;
  const little = judge({
    subject,
    claim: `${passing.what} leave a sidecore its throughput`,
    by: 'goal',
    bound: { sense: 'at least', value: KEPT_MIN },
    text: (value) => `${percentText(value)} of that without`,
    figures: against(passing.key, NOTHING.key),
  });
  return [...verdicts, little];
}

/** Of each number of guests: what a filter takes of the rate, and of the sidecore's time. */
function costTable({ title, device }: Workload, places: readonly Place[]): Table {
  const rows = places.flatMap(({ count, results }) =>
    INTERPOSERS[device].map(({ key, short }) => {
      const windows = results.get(key)!;
      const kept = ratio(windows.of('perSecond'), results.get(NOTHING.key)!.of('perSecond'));
      const rate = median(valuesOf(windows.of('perSecond')));
      const busyNs = median(windows.kept().map(({ coreBusy, perSecond }) => (1e9 * coreBusy) / perSecond));
      return [
        `${count}, ${short}${windows.disturbed ? ' (disturbed)' : ''}`,
        Math.round(rate).toLocaleString('en'),
        key === NOTHING.key ? '' : percentText(kept.median),
        (median(valuesOf(windows.of('p50Ns'))) / 1000).toFixed(2),
        (median(valuesOf(windows.of('p99Ns'))) / 1000).toFixed(2),
        Math.round(busyNs).toLocaleString('en'),
        Math.floor(1e9 / busyNs / GUEST_PER_SECOND).toLocaleString('en'),
      ];
    }),
  );
  return {
    title: `Interposed. ${title}: what it costs`,
    columns: [
      'guests, filters',
      'requests/s',
      'of none',
      'median µs',
      '99th percentile µs',
      'busy ns each',
      'guests a core',
    ],
    rows,
  };
}

const valuesOf = (rounded: readonly Rounded[]): number[] => rounded.map(({ value }) => value);
