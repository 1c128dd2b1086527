import type { Look, RawPoint } from './results.js';
import type { PaperDaemon, Stand, Timing } from './stand.js';
import { type Contender, compete, type Windows } from './window.js';
import { connectAll, type Workload } from './workloads.js';

/** The modes that are compared: who serves, and how guests wait for it. */
export interface CompareMode {
  readonly key: string;
  readonly name: string;
  readonly look: Look;
  readonly mode: 'sidecore' | 'baseline' | 'adaptive' | 'direct';
  readonly sleeping: boolean;
}

export const SIDECORE: CompareMode = {
  key: 'sidecore',
  name: 'sidecore',
  look: 'sidecore',
  mode: 'sidecore',
  sleeping: false,
};
export const SIDECORE_SLEEPING: CompareMode = {
  key: 'sidecore-sleeping',
  name: 'sidecore, guests sleep',
  look: 'sidecore-light',
  mode: 'sidecore',
  sleeping: true,
};
export const BASELINE: CompareMode = {
  key: 'baseline',
  name: 'baseline',
  look: 'baseline',
  mode: 'baseline',
  sleeping: true,
};
export const BASELINE_POLLING: CompareMode = {
  key: 'baseline-polling',
  name: 'baseline, guests poll',
  look: 'baseline-light',
  mode: 'baseline',
  sleeping: false,
};
export const ADAPTIVE: CompareMode = {
  key: 'adaptive-sleeping',
  name: 'adaptive, guests sleep',
  look: 'third',
  mode: 'adaptive',
  sleeping: true,
};
export const DIRECT: CompareMode = { key: 'direct', name: 'direct', look: 'direct', mode: 'direct', sleeping: false };

/** What all pages have to say of the modes. */
export const MODE_TEXTS: readonly (readonly [string, string])[] = [
  [
    'sidecore',
    'One thread owns a CPU, polls the rings of all guests, and serves them. Guests are told not to kick, and poll for completions: an interrupt without an exit, which is what the paper’s guests have, costs them as little.',
  ],
  [
    'sidecore, guests sleep',
    'The same, but guests sleep until they are called through an event descriptor: what guests pay where interrupts are not exitless.',
  ],
  [
    'baseline',
    'Paravirtual I/O as it is today: a thread for each device, all on the sidecore’s CPU. It sleeps until it is kicked, and its guests sleep until they are called.',
  ],
  ['baseline, guests poll', 'The same threads; guests poll for completions.'],
  [
    'direct',
    'No back end: the guests’ thread copies the data itself. The limit, and our stand-in for device assignment. It uses one CPU where all others use two, so it is compared by busy core.',
  ],
];

/** Connects guests once for each daemon and measures the modes in turn. */
export async function compareModes(
  stand: Stand,
  workload: Workload,
  count: number,
  modes: readonly CompareMode[],
  daemons: ReadonlyMap<string, PaperDaemon>,
  timing: Timing,
): Promise<Map<string, Windows>> {
  const open: { close(): void }[] = [];
  const guests = new Map<PaperDaemon, Contender['parts']>();
  try {
    const contenders: Contender[] = [];
    for (const { key, mode, sleeping } of modes) {
      if (mode === 'direct') {
        const parts = Array.from({ length: count }, (_, i) => workload.direct(i, count, stand.seed));
        open.push(...parts);
        contenders.push({ key, sleeping, parts });
        continue;
      }
      const daemon = daemons.get(mode)!;
      const parts = guests.get(daemon) ?? (await connectAll(workload, daemon, count, stand.seed));
      if (!guests.has(daemon)) open.push(...parts);
      guests.set(daemon, parts);
      contenders.push({ key, daemon, sleeping, parts });
    }
    return await compete(stand, contenders, timing);
  } finally {
    for (const part of open) part.close();
    // Each daemon is to notice that its guests are gone before it stands still again.
    for (const daemon of guests.keys()) await daemon.settle();
  }
}

/** How long each mode runs before it is measured, ms: V8 compiles, in baseline for each of its threads anew. */
const SETTLE_MS = {
  all: { baseline: 1500, others: 250 },
  few: { baseline: 250, others: 100 },
  least: { baseline: 20, others: 20 },
};

export function plannedSettling({ points }: Timing, modes: readonly CompareMode[]): number {
  const { baseline, others } = SETTLE_MS[points];
  return firstOfEach(modes).reduce((sum, { mode }) => sum + (mode === 'baseline' ? baseline : others), 0);
}

/** One for each way to serve: whether guests sleep or poll makes no difference to what is compiled. */
const firstOfEach = (modes: readonly CompareMode[]): CompareMode[] =>
  modes.filter(({ mode }, i) => modes.findIndex((other) => other.mode === mode) === i);

/** Has all code and all threads that a workload uses run for a while. What that gives does not count. */
export async function settleModes(
  stand: Stand,
  workload: Workload,
  count: number,
  modes: readonly CompareMode[],
  daemons: ReadonlyMap<string, PaperDaemon>,
): Promise<void> {
  const ms = SETTLE_MS[stand.timing.points];
  for (const mode of firstOfEach(modes)) {
    const windowMs = mode.mode === 'baseline' ? ms.baseline : ms.others;
    stand.progress.say(`warming up: ${workload.title}, ${mode.mode}`);
    const timing = { ...stand.timing, rounds: 1, warmUpMs: 0, windowMs, extra: 0 };
    await compareModes(stand, workload, count, [mode], daemons, timing);
  }
}

/** Results by contender as they are written into the JSON file. */
export function rawPoints(results: ReadonlyMap<string, Windows>, workload: string, at: RawPoint['at']): RawPoint[] {
  return [...results].map(([contender, { all, disturbed }]) => ({ workload, contender, at, disturbed, windows: all }));
}
