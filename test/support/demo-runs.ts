/** Runs of the demo as they might have been, for tests of what is made of them. */
import type { Figures } from '../../src/demo/figures.js';
import { RUNS, type RunPlan } from '../../src/demo/plan.js';
import type { RunResult } from '../../src/demo/run.js';

export function exampleFigures(name: string, change: Partial<Figures> = {}): Figures {
  return {
    name,
    iops: 100_000,
    mb_per_s: 409.6,
    p50_us: 12.3,
    p99_us: 45.6,
    p999_us: 789,
    kicks_per_request: 0,
    calls_per_request: 0,
    requests: 800_000,
    checked: 560_000,
    mismatches: 0,
    errors: 0,
    ...change,
  };
}

export function exampleRun(
  key: RunPlan['key'],
  change: Partial<Figures> = {},
  more: Partial<RunResult> = {},
): RunResult {
  return {
    plan: RUNS.find((plan) => plan.key === key)!,
    seconds: 8,
    guests: [exampleFigures('guest1', change), exampleFigures('guest2', change)],
    all: exampleFigures('all', change),
    talk: exampleFigures('switch', { iops: 150_000, checked: 300_000 }),
    work_share: 0.4,
    history: [90_000, 100_000],
    others: { load: 0, core: 0.01 },
    problems: [],
    ...more,
  };
}

/** A sidecore four times as fast as the thread per disk. */
export const EXAMPLE_RUNS: readonly RunResult[] = [
  exampleRun('polled', { iops: 400_000, p50_us: 20 }),
  exampleRun('called', { iops: 200_000, p50_us: 40, calls_per_request: 0.25 }),
  exampleRun('baseline', { iops: 100_000, p50_us: 80, kicks_per_request: 0.25, calls_per_request: 0.25 }),
];

export const EXAMPLE_SETTING = { guests: 2, depth: 4, seconds: 8, coreCpu: 3, loadCpu: 2 };
