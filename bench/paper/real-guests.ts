import { setTimeout as sleep } from 'node:timers/promises';
import type { DaemonStatus } from '../../src/daemon/daemon.js';
import { perRequest, whole } from '../../src/demo/numbers.js';
import { nowNs } from '../../src/host/clock.js';
import { exitsOfAll } from './kvm-exits.js';
import { type GuestResult, REAL_LOADS, type RealLoad } from './real-loads.js';
import { FIRST_PORT, PARTNER_ADDRESS, type RealGround, RealSide } from './real-stand.js';
import type { Experiment, Figure, RealPoint, Series, Table, Verdict } from './results.js';
import { type Stand, stampsOf, type Timing } from './stand.js';
import { ratio, spread } from './stats.js';
import { judge, timesText } from './verdicts.js';

const MODES = [
  { mode: 'baseline', look: 'baseline' },
  { mode: 'sidecore', look: 'sidecore' },
] as const;
type Mode = (typeof MODES)[number]['mode'];

const COUNTS = { all: [1, 2, 4], few: [1, 2], least: [1] } as const;
const ROUNDS = { all: 3, few: 2, least: 1 } as const;
const WINDOW_S = { all: 3, few: 2, least: 1 } as const;
/** What a boot takes, by what guests run on, and what a window takes besides, ms: for plans. */
const BOOT_MS = { kvm: 2000, tcg: 6000 } as const;
const OVERHEAD_MS = 1500;
/** What the authors have left of 109,000 to 146,000 exits a second. */
const EXITS_PER_SECOND_MAX = 800;
const KICKS_PER_REQUEST_MAX = 0.001;
/** A script may take so much longer than its load, ms: an emulated guest is slow to begin and to end. */
const SLOW_MS = 60_000;

const windowMs = ({ points }: Timing): number => 1000 * WINDOW_S[points] + OVERHEAD_MS;

export function plannedReal(timing: Timing, { accelerator }: RealGround): number {
  const { points } = timing;
  const windows = MODES.length * COUNTS[points].length * ROUNDS[points] * REAL_LOADS.length;
  return MODES.length * (Math.max(...COUNTS[points]) + 1) * BOOT_MS[accelerator] + windows * windowMs(timing);
}

/** Experiment 7: virtual machines with a stock kernel and its own drivers. */
export async function measureReal(stand: Stand, ground: RealGround): Promise<Experiment> {
  const { points } = stand.timing;
  const counts = COUNTS[points];
  const most = Math.max(...counts);
  // The harness's own files go where everything of a run does, and away with it.
  process.env['TMPDIR'] = stand.folder;
  const sides = new Map<Mode, RealSide>();
  const all: RealPoint[] = [];
  try {
    for (const { mode } of MODES) {
      sides.set(mode, await RealSide.boot(stand, ground, mode, most));
      stand.progress.did((most + 1) * BOOT_MS[ground.accelerator]);
    }
    for (const load of REAL_LOADS)
      for (const count of counts) {
        stand.progress.say(`7: ${load.title}, ${count} real ${count === 1 ? 'guest' : 'guests'}`);
        for (let round = 0; round < ROUNDS[points]; round++)
          for (const [mode, side] of sides) {
            all.push({ ...(await measure(stand, side, load, count)), mode, round });
            stand.progress.did(windowMs(stand.timing));
          }
      }
  } finally {
    for (const side of sides.values()) await side.kill();
    for (const { daemon } of sides.values()) await stand.stop(daemon);
  }
  return report(all, ground, WINDOW_S[points]);
}

/** One load on so many guests at once. */
async function measure(
  stand: Stand,
  side: RealSide,
  load: RealLoad,
  count: number,
): Promise<Omit<RealPoint, 'mode' | 'round'>> {
  await stand.breathe();
  const { daemon, guests } = side;
  const seconds = WINDOW_S[stand.timing.points];
  stand.placement();
  daemon.process.resume();
  try {
    const processes = side.pids(count);
    const [before, exitsBefore, start] = [await daemon.process.status(), exitsOfAll(processes), nowNs()];
    const outputs = await Promise.all(
      guests
        .slice(0, count)
        .map((guest, i) =>
          guest.must(load.script(seconds, PARTNER_ADDRESS, FIRST_PORT + i), { timeoutMs: seconds * 1000 + SLOW_MS }),
        ),
    );
    const [exitsAfter, took] = [exitsOfAll(processes), (nowNs() - start) / 1e9];
    const after = await daemon.process.status();
    const results = outputs.map((output) => load.read(output, seconds));
    const requests = Math.max(1, requestsOf(after, load) - requestsOf(before, load));
    const [kicks, calls] = (['kicks', 'calls'] as const).map((name) => total(after, name) - total(before, name));
    const exits = exitsBefore === undefined || exitsAfter === undefined ? undefined : exitsAfter - exitsBefore;
    return {
      workload: load.key,
      guests: count,
      perGuest: results,
      requests,
      kicksPerRequest: kicks! / requests,
      callsPerRequest: calls! / requests,
      ...(exits === undefined ? {} : { exitsPerRequest: exits / requests, exitsPerSecond: exits / took }),
    };
  } finally {
    // What guests still had to say to each other is said before the daemon stands still.
    await sleep(50);
    daemon.process.pause();
  }
}

const requestsOf = ({ vms, nics }: DaemonStatus, { key }: RealLoad): number =>
  key === 'block' ? stampsOf(vms, {}).requests : stampsOf({}, nics).requests;

/** A counter of all queues together, the partner's too. */
function total({ vms, nics }: DaemonStatus, name: 'kicks' | 'calls'): number {
  const devices: Record<string, Record<string, { queues: readonly { kicks: number; calls: number }[] }>>[] = [
    vms,
    nics,
  ];
  const queues = devices.flatMap((all) =>
    Object.values(all).flatMap((named) => Object.values(named).flatMap((device) => device.queues)),
  );
  return queues.reduce((sum, queue) => sum + queue[name], 0);
}

const sum = (results: readonly GuestResult[], field: 'perSecond' | 'bytesPerSecond'): number =>
  results.reduce((all, one) => all + one[field], 0);

const rateOf = (point: RealPoint): number => sum(point.perGuest, 'perSecond');

/** Mean over guests, each as often as it has requests. */
const latencyOf = ({ perGuest }: RealPoint): number =>
  perGuest.reduce((all, { latencyNs = Number.NaN, perSecond }) => all + latencyNs * perSecond, 0) /
  sum(perGuest, 'perSecond');

const guestsText = (count: number): string => `${count} ${count === 1 ? 'guest' : 'guests'}`;

const EMULATED_WHY =
  'guests are emulated: what their instructions take hides what a back end does, and there are no exits';

export function report(all: readonly RealPoint[], { accelerator }: RealGround, seconds: number): Experiment {
  const emulated = accelerator === 'tcg';
  const exitsKnown = all.some(({ exitsPerSecond }) => exitsPerSecond !== undefined);
  const counts = [...new Set(all.map(({ guests }) => guests))];
  return {
    number: 7,
    title: emulated ? 'Real guests, emulated' : 'Real guests',
    question: 'What do virtual machines with a stock kernel and its own drivers have of a sidecore?',
    method: [
      `Debian’s kernel, as it is, under QEMU (${emulated ? 'emulated, by TCG' : 'KVM'}), one virtual CPU each; ${counts.join(', ')} guests at a time. Each has a disk in memory (64 MiB) and a card; one guest more is the partner that all talk to. Their interrupts are not exitless, and they sleep: mode sidecore saves the kicks. Windows of ${seconds} s, baseline and sidecore in turn; who is not measured stands still.`,
      'Measured in the guest: reads by its kernel’s own counters of the disk, streams by iperf3 where they arrive, questions by ping. Kicks and calls are the daemon’s counters, of all queues, the partner’s too.',
    ],
    limits: [
      ...(emulated
        ? [`This machine boots no guest under KVM. ${EMULATED_WHY[0]!.toUpperCase()}${EMULATED_WHY.slice(1)}.`]
        : []),
      ...(exitsKnown ? [] : ['Exits: /sys/kernel/debug/kvm does not tell them here (it takes KVM, root and debugfs).']),
      'All guests and the partner share the CPUs that the back end leaves.',
    ],
    figures: REAL_LOADS.flatMap((load) => figuresOf(load, all, emulated)),
    tables: [tableOf(all, emulated)],
    raw: [],
    real: all,
  };
}

const pointsOf = (all: readonly RealPoint[], load: RealLoad, mode: Mode, count?: number): RealPoint[] =>
  all.filter((one) => one.workload === load.key && one.mode === mode && (count === undefined || one.guests === count));

function figuresOf(load: RealLoad, all: readonly RealPoint[], emulated: boolean): Figure[] {
  const counts = [...new Set(all.map(({ guests }) => guests))];
  const marked = emulated ? ', emulated' : '';
  const series = (value: (point: RealPoint) => number): Series[] =>
    MODES.map(({ mode, look }) => ({
      name: `${mode}${marked}`,
      look,
      points: counts.map((count) => ({ x: count, y: spread(pointsOf(all, load, mode, count).map(value)) })),
    }));
  const throughput: Figure = {
    title: `Real guests${marked}: ${load.title}`,
    xLabel: 'guests',
    yLabel: load.stream ? 'received, Gbit/s' : 'thousand requests/s',
    better: 'more is better',
    log: false,
    series: series((point) => (load.stream ? (8 * sum(point.perGuest, 'bytesPerSecond')) / 1e9 : rateOf(point) / 1e3)),
    verdicts: verdictsOn(load, all, counts, emulated),
  };
  if (load.stream) return [throughput];
  const latency: Figure = {
    title: `Real guests${marked}: ${load.title}, mean latency`,
    xLabel: 'guests',
    yLabel: 'µs',
    better: 'less is better',
    log: true,
    series: series((point) => latencyOf(point) / 1e3),
  };
  return [throughput, latency];
}

function verdictsOn(
  load: RealLoad,
  all: readonly RealPoint[],
  counts: readonly number[],
  emulated: boolean,
): Verdict[] {
  const rounds = (mode: Mode, count: number) =>
    pointsOf(all, load, mode, count).map((one) => ({ round: one.round, value: rateOf(one) }));
  const subject = `Real guests, ${load.title}`;
  const faster = judge({
    subject,
    claim: 'a sidecore is faster than baseline',
    by: 'paper',
    bound: { sense: 'at least', value: 1.2 },
    text: timesText,
    figures: counts.map((count) => {
      const times = ratio(rounds('sidecore', count), rounds('baseline', count));
      return { of: guestsText(count), value: times.median, spread: times };
    }),
  });
  // A kick is a kick, whatever the guest's instructions take.
  const kicks = judge({
    subject,
    claim: 'next to no kicks for a request',
    by: 'goal',
    bound: { sense: 'at most', value: KICKS_PER_REQUEST_MAX },
    text: (value) => value.toFixed(5),
    figures: counts.map((count) => {
      const values = spread(pointsOf(all, load, 'sidecore', count).map((one) => one.kicksPerRequest));
      return { of: guestsText(count), value: values.median, spread: values };
    }),
  });
  if (emulated) return [{ ...faster, holds: null, why: EMULATED_WHY }, kicks];
  const exits = judge({
    subject,
    claim: 'exits fall to what the paper has left of them',
    by: 'paper',
    bound: { sense: 'at most', value: EXITS_PER_SECOND_MAX },
    text: (value) => `${whole(value)} a second`,
    figures: counts.map((count) => {
      const values = spread(pointsOf(all, load, 'sidecore', count).map((one) => one.exitsPerSecond ?? Number.NaN));
      return { of: `${guestsText(count)}, with exits that are for no I/O`, value: values.median, spread: values };
    }),
  });
  return [faster, kicks, exits];
}

function tableOf(all: readonly RealPoint[], emulated: boolean): Table {
  const counts = [...new Set(all.map(({ guests }) => guests))];
  const rows = REAL_LOADS.flatMap((load) =>
    counts.flatMap((count) =>
      MODES.map(({ mode }) => {
        const points = pointsOf(all, load, mode, count);
        const of = (value: (point: RealPoint) => number) => spread(points.map(value)).median;
        const exits = of((one) => one.exitsPerRequest ?? Number.NaN);
        const exitsPerSecond = of((one) => one.exitsPerSecond ?? Number.NaN);
        const known = !Number.isNaN(exits);
        return [
          `${load.title}: ${load.request}`,
          `${count}, ${mode}`,
          perRequest(of((one) => one.kicksPerRequest)),
          perRequest(of((one) => one.callsPerRequest)),
          known ? perRequest(exits) : '-',
          known ? whole(exitsPerSecond) : '-',
        ];
      }),
    ),
  );
  return {
    title: `Real guests${emulated ? ', emulated' : ''}: kicks, calls and exits (medians)`,
    columns: [
      'load: what a request is',
      'guests',
      'kicks per request',
      'calls per request',
      'exits per request',
      'exits/s',
    ],
    rows,
  };
}
