import type { LoadPattern } from '../../src/guest/load.js';
import { POLICIES, type PolicyName, SCHEDULER_DEFAULTS } from '../../src/scheduler/policy.js';
import { jain, worstDeviation } from '../../src/sim/fairness.js';
import { BlockPart, DirectBlock, fillDisk } from './block-parts.js';
import type { Part } from './drive.js';
import { rawPoints } from './modes.js';
import type { Experiment, RawPoint, Table, Verdict } from './results.js';
import type { DaemonPlan, PaperDaemon, Stand, Timing } from './stand.js';
import { median, spread } from './stats.js';
import { judge, percentText } from './verdicts.js';
import { type Contender, compete, plannedMs, type Window, type Windows } from './window.js';

const KIB = 1024;
const DISK_BYTES = 2 * 2 ** 20;
const GUESTS = { all: 8, few: 8, least: 2 } as const;
const DEPTH = 32;
/** What unequal guests ask for at a time, bytes, and how often: so much that each always has more waiting than a turn of its takes. */
const UNEQUAL = [
  { bytes: 4 * KIB, depth: 128 },
  { bytes: 16 * KIB, depth: 64 },
  { bytes: 64 * KIB, depth: 16 },
  { bytes: 256 * KIB, depth: 8 },
];
const WEIGHTS = [1, 2, 3, 4];
/** Of guests with weights: for the same reason. */
const WEIGHTED = { bytes: 64 * KIB, depth: 16 };
const START_MS = 8000;
const SETTLE_MS = { all: 400, few: 150, least: 20 } as const;
const JAIN_MIN = 0.99;
const WEIGHT_ERROR_MAX = 0.02;
const DEFAULT = SCHEDULER_DEFAULTS.policy;

/** One group of guests that are served together. */
interface Group {
  readonly key: 'equal' | 'unequal' | 'weights';
  readonly title: string;
  readonly guests: (timing: Timing) => readonly LoadPattern[];
  readonly weights?: readonly number[];
  /** Policies under which it is measured, and whether in baseline too. */
  readonly policies: readonly PolicyName[];
  readonly baseline: boolean;
  /** And whether without a back end. */
  readonly direct?: boolean;
  /** Windows are so many times as long: then what all have alike when the load begins and ends does not show. */
  readonly longer?: number;
}

const pattern = (depth: number, requestBytes: number): LoadPattern => ({
  depth,
  requestBytes,
  readShare: 1,
  workingSetBytes: DISK_BYTES,
});

const GROUPS: readonly Group[] = [
  {
    key: 'equal',
    title: `equal guests: 4 KiB at depth ${DEPTH}`,
    guests: ({ points }) => Array.from({ length: GUESTS[points] }, () => pattern(DEPTH, 4 * KIB)),
    policies: POLICIES,
    baseline: true,
    direct: true,
  },
  {
    key: 'unequal',
    title: `unequal guests: ${UNEQUAL.map(({ bytes, depth }) => `${bytes / KIB} KiB at depth ${depth}`).join(', ')}`,
    guests: () => UNEQUAL.map(({ bytes, depth }) => pattern(depth, bytes)),
    policies: POLICIES,
    baseline: true,
  },
  {
    key: 'weights',
    title: `guests with weights ${WEIGHTS.join(', ')}: ${WEIGHTED.bytes / KIB} KiB at depth ${WEIGHTED.depth}`,
    guests: () => WEIGHTS.map(() => pattern(WEIGHTED.depth, WEIGHTED.bytes)),
    weights: WEIGHTS,
    policies: ['fair'],
    baseline: false,
    longer: 5,
  },
];

const timingOf = (timing: Timing, { longer = 1 }: Group): Timing => ({ ...timing, windowMs: longer * timing.windowMs });

/** A quick run does without those that no claim is about. */
const policiesOf = ({ policies }: Group, { points }: Timing): readonly PolicyName[] =>
  points === 'few' ? policies.filter((policy) => policy === 'fair' || policy === DEFAULT) : policies;

const kindsOf = (group: Group, timing: Timing): number => {
  const { baseline, direct = false } = group;
  return policiesOf(group, timing).length + (baseline ? 1 : 0) + (direct ? 1 : 0);
};

export const plannedFairness = (timing: Timing): number =>
  GROUPS.reduce(
    (sum, group) =>
      sum +
      plannedMs(timingOf(timing, group), kindsOf(group, timing)) +
      kindsOf(group, timing) * SETTLE_MS[timing.points],
    START_MS,
  );

interface Measured {
  readonly group: Group;
  readonly guests: readonly LoadPattern[];
  readonly results: ReadonlyMap<string, Windows>;
}

/** Experiment 4: whether guests get what is theirs. */
export async function measureFairness(stand: Stand): Promise<Experiment> {
  const all: Measured[] = [];
  const raw: RawPoint[] = [];
  for (const group of GROUPS) {
    stand.progress.say(`4: ${group.title}`);
    const results = await measureGroup(stand, group);
    raw.push(...rawPoints(results, group.key, {}));
    all.push({ group, guests: group.guests(stand.timing), results });
  }
  return {
    number: 4,
    title: 'Fairness',
    question: 'Do equal guests get equal shares, and unequal ones what their weights say?',
    method: [
      'All guests want more than they get. Jain’s index over their shares is 1 if all have the same, and 1/n if one of n has all; over bytes it says what guests get, over time what they cost. Time is what the sidecore’s own counters say it spent in serving each guest’s queues, the warm-up included.',
      `${all.map(({ group, guests }) => `${guests.length} ${group.title}`).join('; ')}. Policy fair shares time by weights; elvis shares bytes, within its bounds; round-robin shares batches of requests.`,
    ],
    limits: [
      'One thread drives all guests in turn, which evens them out by itself: what a scheduler does to guests that wait shows in the unequal ones and in the weights.',
      'Direct stands beside equal guests only: without a back end each guest has what it takes for itself, and its share is its turn in the guests’ thread.',
      'In baseline the kernel shares the CPU among threads; what each guest’s thread has had is not told apart here.',
    ],
    figures: [],
    tables: all.map((one) => ({ ...tableOf(one), verdicts: [verdictOn(one)] })),
    raw,
  };
}

async function measureGroup(stand: Stand, group: Group): Promise<Map<string, Windows>> {
  const guests = group.guests(stand.timing);
  const open: Part[] = [];
  const daemons: PaperDaemon[] = [];
  try {
    const contenders: Contender[] = [];
    const connect = async (key: string, daemon: PaperDaemon, sleeping: boolean) => {
      daemon.process.resume();
      const parts: Part[] = [];
      for (let i = 0; i < guests.length; i++) await fillDisk(daemon.disk(i), DISK_BYTES);
      await daemon.settle();
      daemon.process.resume();
      for (const [i, one] of guests.entries()) {
        parts.push(await BlockPart.connect(daemon.disk(i), { ...one, seed: stand.seed * 100 + i }));
        open.push(parts.at(-1)!);
      }
      daemon.process.pause();
      contenders.push({ key, daemon, sleeping, parts });
    };
    const plan = { disks: guests.length, diskBytes: () => DISK_BYTES };
    const weights = group.weights === undefined ? {} : { weights: group.weights };
    const policies = policiesOf(group, stand.timing);
    const plans: DaemonPlan[] = policies.map((policy) => ({ ...plan, mode: 'sidecore', policy, ...weights }));
    if (group.baseline) plans.push({ ...plan, mode: 'baseline' });
    daemons.push(...(await stand.daemons(plans)));
    for (const [i, daemon] of daemons.entries())
      await connect(policies[i] ?? 'baseline', daemon, daemon.mode === 'baseline');
    if (group.direct === true) {
      const parts = guests.map((one, i) => new DirectBlock({ ...one, seed: stand.seed * 100 + i }));
      open.push(...parts);
      contenders.push({ key: 'direct', sleeping: false, parts });
    }
    stand.progress.did(START_MS / GROUPS.length);
    const windowMs = SETTLE_MS[stand.timing.points];
    await compete(stand, contenders, { ...stand.timing, rounds: 1, extra: 0, warmUpMs: 0, windowMs });
    return await compete(stand, contenders, timingOf(stand.timing, group));
  } finally {
    for (const part of open) part.close();
    for (const daemon of daemons) await stand.stop(daemon);
  }
}

/** What each guest moved, bytes a second. */
const bytesOf = (window: Window, guests: readonly LoadPattern[]): number[] =>
  window.guests.map((rate, i) => rate * guests[i]!.requestBytes);

/** Jain's index of each window, by bytes or by time. */
function indexes({ guests, results }: Measured, key: string, by: 'bytes' | 'time'): number[] {
  return results
    .get(key)!
    .kept()
    .map((one) => jain(by === 'bytes' ? bytesOf(one, guests) : one.guestNs));
}

/** Contenders of which it is not known what each guest’s requests took, and their names. */
const WITHOUT_TIME: Readonly<Record<string, string>> = { baseline: 'baseline, guests sleep', direct: 'direct' };

function tableOf({ group, guests, results }: Measured): Table {
  const keys = [...results.keys()];
  const shares = (values: readonly number[]) => {
    const sum = values.reduce((total, value) => total + value, 0);
    return values.map((value) => `${((100 * value) / sum).toFixed(1)}%`).join(', ');
  };
  const rows = keys.map((key) => {
    const windows = results.get(key)!.kept();
    const each = (of: (window: Window) => readonly number[]) =>
      guests.map((_, i) => median(windows.map((one) => of(one)[i]!)));
    const bytes = each((one) => bytesOf(one, guests));
    const time = each((one) => one.guestNs);
    const timeKnown = !(key in WITHOUT_TIME);
    return [
      WITHOUT_TIME[key] ?? `sidecore, ${key}`,
      jain(bytes).toFixed(4),
      timeKnown ? jain(time).toFixed(4) : '-',
      shares(bytes),
      timeKnown ? shares(time) : '-',
    ];
  });
  return {
    title: `${group.title[0]!.toUpperCase()}${group.title.slice(1)} (medians of windows)`,
    columns: ['', 'Jain, bytes', 'Jain, time', 'bytes, guest by guest', 'time, guest by guest'],
    rows,
  };
}

function verdictOn(one: Measured): Verdict {
  const { group, results } = one;
  const figure = (key: string, values: readonly number[], of: string) => {
    const all = spread(values);
    return [{ of, value: all.median, spread: all, disturbed: results.get(key)!.disturbed }];
  };
  const index = {
    by: 'goal',
    bound: { sense: 'at least', value: JAIN_MIN },
    text: (value: number) => value.toFixed(4),
  } as const;
  switch (group.key) {
    case 'equal':
      return judge({
        claim: `Equal guests get equal shares under the default policy (${DEFAULT}): Jain’s index`,
        ...index,
        figures: figure(DEFAULT, indexes(one, DEFAULT, 'bytes'), 'by bytes'),
      });
    case 'unequal':
      return judge({
        claim: 'Unequal guests get equal time under policy fair: Jain’s index',
        ...index,
        figures: figure('fair', indexes(one, 'fair', 'time'), 'by time'),
      });
    case 'weights': {
      const errors = results
        .get('fair')!
        .kept()
        .map((window) => worstDeviation(window.guestNs, WEIGHTS));
      return judge({
        claim: 'Guests with weights get time by their weights under policy fair',
        by: 'goal',
        bound: { sense: 'at most', value: WEIGHT_ERROR_MAX },
        text: (value) => `${percentText(value)} off`,
        figures: figure('fair', errors, 'the guest that is furthest off'),
      });
    }
  }
}
