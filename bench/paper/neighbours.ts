import type { LoadPattern } from '../../src/guest/load.js';
import { POLICIES, type PolicyName, SCHEDULER_DEFAULTS } from '../../src/scheduler/policy.js';
import { BlockPart, DirectBlock, fillDisk } from './block-parts.js';
import { rawPoints } from './modes.js';
import type { Experiment, Figure, Look, RawPoint, Series, Verdict } from './results.js';
import type { PaperDaemon, Stand, Timing } from './stand.js';
import { spread } from './stats.js';
import { judge, microsText, timesText } from './verdicts.js';
import { type Contender, compete, type Field, plannedMs, type Windows } from './window.js';

/** How many bulk guests there are. */
const COUNTS = { all: [0, 1, 2, 3, 4, 5, 6, 7], few: [0, 7], least: [0, 2] } as const;
/** Bytes of each bulk guest's requests. */
const KIB = 1024;
const BULK_BYTES = [256 * KIB, 1024 * KIB, 64 * KIB, 512 * KIB, 128 * KIB, 1024 * KIB, 64 * KIB];
const BULK_DEPTH = 4;
const DISK_BYTES = 4 * 2 ** 20;
const START_MS = 5000;
const SETTLE_MS = { all: 400, few: 200, least: 20 } as const;
/** Longest piece of work that others may have to wait for besides their own, as this project wants it, ns. */
const QUANTUM_NS = 20_000;

const latencyPattern = (seed: number): LoadPattern => ({
  depth: 1,
  requestBytes: 4096,
  readShare: 1,
  workingSetBytes: 2 ** 20,
  seed,
});
const bulkPattern = (index: number, seed: number): LoadPattern => ({
  depth: BULK_DEPTH,
  requestBytes: BULK_BYTES[index]!,
  readShare: 1,
  workingSetBytes: DISK_BYTES,
  seed: seed + 1 + index,
});

/** One of those that are compared. */
interface Kind {
  readonly key: string;
  readonly name: string;
  readonly look: Look;
  readonly mode: 'sidecore' | 'baseline';
  readonly policy?: PolicyName;
}

const LOOKS: Record<PolicyName, Look> = { fair: 'sidecore', elvis: 'third', 'round-robin': 'fourth' };
const KINDS: readonly Kind[] = [
  ...POLICIES.map(
    (policy): Kind => ({ key: policy, name: `sidecore, ${policy}`, look: LOOKS[policy], mode: 'sidecore', policy }),
  ),
  { key: 'baseline', name: 'baseline, guests sleep', look: 'baseline', mode: 'baseline' },
];
const DEFAULT = SCHEDULER_DEFAULTS.policy;

interface Place {
  readonly count: number;
  readonly results: ReadonlyMap<string, Windows>;
}

export const plannedNeighbours = (timing: Timing): number =>
  START_MS + KINDS.length * SETTLE_MS[timing.points] + COUNTS[timing.points].length * plannedMs(timing, KINDS.length);

/** Experiment 3: a guest that cares for latency beside others that care for throughput. */
export async function measureNeighbours(stand: Stand): Promise<Experiment> {
  const counts = COUNTS[stand.timing.points];
  const most = Math.max(...counts);
  const daemons = new Map<Kind, PaperDaemon>();
  stand.progress.say(`3: starting ${KINDS.length} daemons`);
  const plans = KINDS.map(({ mode, policy }) => ({
    mode,
    disks: most + 1,
    diskBytes: () => DISK_BYTES,
    ...(policy === undefined ? {} : { policy }),
  }));
  for (const [i, daemon] of (await stand.daemons(plans)).entries()) {
    daemon.process.resume();
    for (let disk = 0; disk <= most; disk++) await fillDisk(daemon.disk(disk), DISK_BYTES);
    await daemon.settle();
    daemons.set(KINDS[i]!, daemon);
  }
  stand.progress.did(START_MS);
  const settling = { ...stand.timing, rounds: 1, extra: 0, warmUpMs: 0, windowMs: SETTLE_MS[stand.timing.points] };
  await measurePlace(stand, daemons, most, settling);
  const places: Place[] = [];
  const raw: RawPoint[] = [];
  for (const count of counts) {
    stand.progress.say(`3: a latency guest beside ${count} bulk ${count === 1 ? 'guest' : 'guests'}`);
    const results = await measurePlace(stand, daemons, count, stand.timing);
    raw.push(...rawPoints(results, 'latency-guest', { bulk: count }));
    places.push({ count, results });
  }
  for (const daemon of daemons.values()) await stand.stop(daemon);
  const direct = await directAlone(stand);
  raw.push(...rawPoints(direct, 'latency-guest', { bulk: 0 }));
  return {
    number: 3,
    title: 'A latency guest beside bulk guests',
    question:
      'Can one guest read 4 KiB at a time without waiting for others that read up to a MiB at a time, on the same sidecore?',
    method: [
      `One guest reads 4 KiB at random, one request in flight. Beside it 0 to ${most} guests read ${BULK_DEPTH} requests at a time of 64 KiB to 1 MiB (${BULK_BYTES.map((bytes) => bytes / KIB).join(', ')} KiB, in this order). Percentiles are of the first guest only: of each window, then the median of windows. The default policy is ${DEFAULT}.`,
      `Without a back end the same guest, alone, takes ${microsText(direct.get('direct')!.spread('p50Ns').median)} at the median and ${microsText(direct.get('direct')!.spread('p99Ns').median)} at the 99th percentile; it has no neighbours then, for nothing is shared.`,
    ],
    limits: [
      'All guests are in one thread, but bulk guests do not touch what they have read: what the latency guest waits for is the back end.',
      'Guests on CPUs of their own would need more than two of them.',
    ],
    figures: figuresOf(places),
    tables: [],
    raw,
  };
}

async function measurePlace(
  stand: Stand,
  daemons: ReadonlyMap<Kind, PaperDaemon>,
  bulk: number,
  timing: Timing,
): Promise<Map<string, Windows>> {
  const open: BlockPart[] = [];
  try {
    const contenders: Contender[] = [];
    for (const [kind, daemon] of daemons) {
      daemon.process.resume();
      const first = await BlockPart.connect(daemon.disk(0), latencyPattern(stand.seed));
      open.push(first);
      const parts = [first];
      for (let i = 0; i < bulk; i++) {
        const part = await BlockPart.connect(daemon.disk(i + 1), bulkPattern(i, stand.seed));
        open.push(part);
        parts.push(part);
      }
      daemon.process.pause();
      contenders.push({ key: kind.key, daemon, sleeping: kind.mode === 'baseline', parts, watched: [first] });
    }
    return await compete(stand, contenders, timing);
  } finally {
    for (const part of open) part.close();
    for (const daemon of daemons.values()) await daemon.settle();
  }
}

async function directAlone(stand: Stand): Promise<Map<string, Windows>> {
  const parts = [new DirectBlock(latencyPattern(stand.seed))];
  try {
    return await compete(stand, [{ key: 'direct', sleeping: false, parts }]);
  } finally {
    for (const part of parts) part.close();
  }
}

function figuresOf(places: readonly Place[]): Figure[] {
  const series = (field: Field, scale: number): Series[] =>
    KINDS.map(({ key, name, look }) => ({
      name,
      look,
      points: places.map(({ count, results }) => {
        const windows = results.get(key)!;
        return {
          x: count,
          y: spread(windows.of(field).map(({ value }) => value * scale)),
          disturbed: windows.disturbed,
        };
      }),
    }));
  const less = { xLabel: 'bulk guests', yLabel: 'µs', better: 'less is better', log: true } as const;
  const last = places.at(-1)!;
  const against = (field: Field, policy: PolicyName) =>
    timesText(last.results.get(policy)!.spread(field).median / last.results.get('round-robin')!.spread(field).median);
  const note = (field: Field) =>
    `Beside ${last.count} bulk guests, against round-robin: ${POLICIES.filter((one) => one !== 'round-robin')
      .map((policy) => `${policy} ${against(field, policy)}`)
      .join(', ')}.`;
  return [
    { title: 'Latency guest: median', ...less, series: series('p50Ns', 1e-3), note: note('p50Ns') },
    { title: 'Latency guest: 99th percentile', ...less, series: series('p99Ns', 1e-3), verdicts: verdictsOn(places) },
    { title: 'Latency guest: 99.9th percentile', ...less, series: series('p999Ns', 1e-3), note: note('p999Ns') },
    {
      title: 'All guests: throughput',
      xLabel: 'bulk guests',
      yLabel: 'GB/s',
      better: 'more is better',
      log: false,
      series: series('bytesPerSecond', 1e-9),
      note: note('bytesPerSecond'),
    },
  ];
}

function verdictsOn(places: readonly Place[]): Verdict[] {
  const [alone, last] = [places[0]!, places.at(-1)!];
  const of = `beside ${last.count} bulk guests`;
  const p99 = (place: Place, key: string) => place.results.get(key)!.spread('p99Ns').median;
  const disturbed = (key: string) => alone.results.get(key)!.disturbed || last.results.get(key)!.disturbed;
  const added = (policy: PolicyName) => ({
    of: `${of}: ${microsText(p99(last, policy))}, alone ${microsText(p99(alone, policy))}`,
    value: p99(last, policy) - p99(alone, policy),
    disturbed: disturbed(policy),
  });
  const against = (policy: PolicyName): Verdict =>
    judge({
      claim: `Policy ${policy} keeps a latency guest from waiting for bulk guests: its 99th percentile against round-robin`,
      by: policy === 'elvis' ? 'paper' : 'goal',
      bound: { sense: 'at most', value: 0.5 },
      text: timesText,
      figures: [
        {
          of: `${of}: ${microsText(p99(last, policy))} instead of ${microsText(p99(last, 'round-robin'))}`,
          value: p99(last, policy) / p99(last, 'round-robin'),
          disturbed: disturbed(policy) || disturbed('round-robin'),
        },
      ],
    });
  return [
    judge({
      claim: `Default policy (${DEFAULT}): the 99th percentile is at most that of the guest alone and one quantum`,
      by: 'goal',
      bound: { sense: 'at most', value: QUANTUM_NS },
      text: (ns) => `${microsText(ns)} more than alone`,
      figures: [added(DEFAULT)],
    }),
    against('elvis'),
    against('fair'),
  ];
}
