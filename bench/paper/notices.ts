import type { Chart } from '../../src/demo/chart.js';
import { perRequest, whole } from '../../src/demo/numbers.js';
import { fillDisks } from './growth.js';
import {
  ADAPTIVE,
  BASELINE,
  BASELINE_POLLING,
  type CompareMode,
  compareModes,
  DIRECT,
  plannedSettling,
  rawPoints,
  SIDECORE,
  SIDECORE_SLEEPING,
  settleModes,
} from './modes.js';
import type { Experiment, RawPoint, Table, Verdict } from './results.js';
import type { PaperDaemon, Stand, Timing } from './stand.js';
import { judge } from './verdicts.js';
import { plannedMs, type Windows } from './window.js';
import { BLOCK_1, diskBytesOf, REQUEST_RESPONSE, STREAM_LARGE, WORKLOADS, type Workload } from './workloads.js';

/** Those that notify, or could. */
const NOTIFYING = [BASELINE, BASELINE_POLLING, ADAPTIVE, SIDECORE_SLEEPING, SIDECORE];
/** Direct has no one to notify: it is in the table, for what requests there are without. */
const MODES = [...NOTIFYING, DIRECT];
const GUESTS = { all: 4, few: 4, least: 2 } as const;
const START_MS = 3500;
/** What the authors measured with their system: exits a second, instead of 109,000 to 146,000. */
const EXITS_PER_SECOND_MAX = 800;

/** A quick run has one round, for a kick is a kick, and the loads that differ most in what they notify. */
const timingOf = (timing: Timing): Timing => (timing.points === 'few' ? { ...timing, rounds: 1 } : timing);
const workloadsOf = ({ points }: Timing): readonly Workload[] =>
  points === 'few' ? [BLOCK_1, REQUEST_RESPONSE, STREAM_LARGE] : WORKLOADS;

type Results = ReadonlyMap<string, Windows>;

export const plannedNotices = (timing: Timing): number =>
  2 * START_MS +
  workloadsOf(timing).length * (plannedMs(timingOf(timing), MODES.length) + plannedSettling(timing, MODES));

/** Experiment 2: kicks and calls, where the paper counts exits. */
export async function measureNotices(stand: Stand): Promise<Experiment> {
  const guests = GUESTS[stand.timing.points];
  const raw: RawPoint[] = [];
  const all: { workload: Workload; results: Results }[] = [];
  for (const device of ['disk', 'cards'] as const) {
    stand.progress.say(`2: starting three daemons with ${device === 'disk' ? 'disks' : 'cards'}`);
    const daemons = new Map<string, PaperDaemon>();
    const plan = device === 'disk' ? { disks: guests, diskBytes: diskBytesOf } : { pairs: guests };
    const modes = ['baseline', 'adaptive', 'sidecore'] as const;
    for (const daemon of await stand.daemons(modes.map((mode) => ({ mode, ...plan })))) {
      daemons.set(daemon.mode, daemon);
      if (device === 'disk') await fillDisks(daemon, guests);
    }
    stand.progress.did(START_MS);
    for (const workload of workloadsOf(stand.timing).filter((one) => one.device === device)) {
      await settleModes(stand, workload, guests, MODES, daemons);
      stand.progress.say(`2: ${workload.title}, ${guests} guests`);
      const results = await compareModes(stand, workload, guests, MODES, daemons, timingOf(stand.timing));
      raw.push(...rawPoints(results, workload.key, { guests }));
      all.push({ workload, results });
    }
    for (const daemon of daemons.values()) await stand.stop(daemon);
  }
  return {
    number: 2,
    title: 'Kicks and calls',
    question: 'How many notifications does a request cost, in each direction?',
    method: [
      `${guests} guests at a time. A kick is an event that the guest sends to its back end: under KVM an exit, with an ioeventfd a cheaper one. A call is an event that the back end sends to the guest: an interrupt, an exit with it unless the hardware posts it. Kicks are counted where they are sent, calls in the event descriptors where they arrive.`,
      'Mode adaptive stands beside: queues without work leave the poll list and are kicked again. So does direct, in the table: nobody is notified where there is no back end; its requests are one CPU’s, and the others’ two’s.',
    ],
    limits: [
      'Exits themselves: they need KVM with ioeventfd and irqfd. What would be one is counted instead.',
      'Guests that poll get no calls in any mode: they stand for guests whose interrupts are exitless.',
    ],
    figures: [],
    bars: all.map(({ workload, results }) => ({
      chart: chartOf(workload, results),
      verdicts: verdictsOn(workload, results),
    })),
    tables: [tableOf(all)],
    raw,
  };
}

function chartOf({ title }: Workload, results: Results): Chart {
  return {
    title: `${title}: notifications`,
    unit: 'for 1,000 requests: kicks dark, calls light (less is better)',
    bars: NOTIFYING.map((mode) => {
      const windows = results.get(mode.key)!;
      const colour = mode.mode === 'baseline' ? 'theirs' : 'ours';
      const [kicks, calls] = [windows.spread('kicksPerRequest').median, windows.spread('callsPerRequest').median];
      return {
        label: [mode.mode, mode.sleeping ? 'guests sleep' : 'guests poll'],
        segments: [
          { value: 1000 * kicks, colour },
          { value: 1000 * calls, colour: `${colour}-light` },
        ],
        text: `${whole(1000 * (kicks + calls))}${windows.disturbed ? ' (disturbed)' : ''}`,
      };
    }),
  };
}

function tableOf(all: readonly { workload: Workload; results: Results }[]): Table {
  const cells = (mode: CompareMode, results: Results) => {
    const windows = results.get(mode.key)!;
    const [kicks, calls] = [windows.spread('kicksPerSecond').median, windows.spread('callsPerSecond').median];
    return [
      `${mode.mode === 'direct' ? 'direct' : `${mode.mode}, guests ${mode.sleeping ? 'sleep' : 'poll'}`}${windows.disturbed ? ' (disturbed)' : ''}`,
      whole(windows.spread('perSecond').median),
      whole(kicks),
      whole(calls),
      perRequest(windows.spread('kicksPerRequest').median),
      perRequest(windows.spread('callsPerRequest').median),
    ];
  };
  return {
    title: 'Kicks and calls, all guests together (medians)',
    columns: ['', 'mode', 'requests/s', 'kicks/s', 'calls/s', 'kicks per request', 'calls per request'],
    rows: all.flatMap(({ workload, results }) => MODES.map((mode) => [workload.title, ...cells(mode, results)])),
  };
}

function verdictsOn({ title }: Workload, results: Results): Verdict[] {
  const of = (mode: CompareMode, value: (windows: Windows) => number) => {
    const windows = results.get(mode.key)!;
    // Whatever else runs, a kick is a kick.
    return [{ of: mode.name, value: value(windows) }];
  };
  const perSecond = (value: number) => `${whole(value)} a second`;
  const exits = { by: 'paper', bound: { sense: 'at most', value: EXITS_PER_SECOND_MAX }, text: perSecond } as const;
  return [
    judge({
      subject: title,
      claim: 'kicks and calls together fall to what the paper has left of exits',
      ...exits,
      figures: of(SIDECORE, (one) => one.spread('kicksPerSecond').median + one.spread('callsPerSecond').median),
    }),
    judge({
      subject: title,
      claim: 'so do kicks alone where guests sleep (calls may be posted by the hardware)',
      ...exits,
      figures: of(SIDECORE_SLEEPING, (one) => one.spread('kicksPerSecond').median),
    }),
    judge({
      subject: title,
      claim: 'next to no kicks for a request',
      by: 'goal',
      bound: { sense: 'at most', value: 0.001 },
      text: perRequest,
      figures: of(SIDECORE, (one) => one.spread('kicksPerRequest').median),
    }),
  ];
}
