import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import type { AloneTask, AloneTimes } from './filter-alone.js';
import type { ChainRow } from './filter-chain.js';
import type { FirewallRow } from './firewall.js';
import type { BenchGround, BenchOptions } from './ground.js';

/** How long and how often everything is measured. */
export interface FilterTiming {
  readonly pairs: number;
  /** A window that does not count, before any others with the same filters; half of it without: V8 compiles, on the guest's CPU. */
  readonly settleMs: number;
  readonly warmUpMs: number;
  readonly windowMs: number;
  /** Of measurements in one thread, each of as many requests or frames. */
  readonly rounds: number;
  readonly count: number;
  /** Filters that loop. */
  readonly stalls: number;
  /** Changes of a chain under load. */
  readonly swaps: number;
}

/** What the rows of the benchmark of filters are made with. */
export interface FilterContext {
  readonly ground: BenchGround;
  readonly options: BenchOptions;
  readonly timing: FilterTiming;
}

/** Rows that are measured together, which they add to the ground. */
export interface PlannedFilterRows {
  readonly name: string;
  /** Measured in a quick run too. */
  readonly quick: boolean;
  run(): Promise<void>;
}

const ALONE = fileURLToPath(new URL('./filter-alone.js', import.meta.url));
type Times<Task extends AloneTask> = Task extends { readonly what: `${string} chains` }
  ? ChainRow[]
  : Task extends { readonly what: 'firewall' }
    ? FirewallRow[]
    : AloneTimes;

/** Has something measured in a process of its own, on the sidecores' CPU and by their Node. */
export function alone<Task extends AloneTask>({ ground, options }: FilterContext, task: Task): Times<Task> {
  const args = ['-c', String(ground.serverCpu), options.node, ALONE, JSON.stringify(task)];
  return JSON.parse(execFileSync('taskset', args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] }));
}

/** "1.2 to 3.4": what figures varied by. */
export function spreadText(values: readonly number[], digits = 1): string {
  return `${Math.min(...values).toFixed(digits)} to ${Math.max(...values).toFixed(digits)}`;
}
