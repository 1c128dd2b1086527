import { mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { SidecoreError } from '../src/errors.js';
import { allowedCpus, pinAllThreads } from '../src/host/affinity.js';
import type { BackEndProcess } from './back-ends.js';
import { type InTurn, inTurn, type Measured } from './duel.js';
import { PlacementProbe } from './placement.js';
import { machine, median, type Report, type Row, undecided, versions } from './report.js';

/** What every benchmark is told. */
export interface BenchOptions {
  readonly quick: boolean;
  /** Node that runs the daemon. */
  readonly node: string;
  readonly progress: (line: string) => void;
}

/**
 * What a benchmark stands on: one CPU for the back ends and one for the client, folders and processes that are gone at the
 * end, however it comes, and the rows so far.
 */
export class BenchGround {
  readonly clientCpu: number;
  readonly serverCpu: number;
  readonly #rows: Row[] = [];
  /** The last comparison had no pair of windows that was undisturbed; its rows are not added yet. */
  #disturbed = false;
  readonly #options: BenchOptions;
  readonly #probe: PlacementProbe;
  readonly #processes: BackEndProcess[] = [];
  readonly #folders: string[] = [];
  readonly #probes: number[] = [];

  constructor(options: BenchOptions) {
    const cpus = allowedCpus();
    this.clientCpu = cpus[0]!;
    this.serverCpu = cpus.at(-1)!;
    if (this.clientCpu === this.serverCpu)
      throw new SidecoreError('CPU_UNUSABLE', 'the benchmark needs two CPUs, this process may run on one');
    pinAllThreads([this.clientCpu]);
    this.#options = options;
    this.#probe = new PlacementProbe(this.serverCpu);
  }

  /** A new folder. */
  folder(parent: string): string {
    const folder = mkdtempSync(join(parent, 'sidecore-bench-'));
    this.#folders.push(folder);
    return folder;
  }

  /** A process that is ended at the end, if it was not before. */
  readonly keep = <P extends BackEndProcess>(process: P): P => {
    this.#processes.push(process);
    return process;
  };

  /** Measures two sides in turn. */
  async inTurn<W extends Measured>(
    name: string,
    a: () => Promise<W>,
    b: () => Promise<W>,
    pairs: number,
  ): Promise<InTurn<W>> {
    this.#options.progress(name);
    const result = await inTurn(a, b, pairs, this.#probe);
    this.#probes.push(...result.probes);
    this.#disturbed = result.disturbed;
    const undisturbed = result.disturbed ? 0 : result.a.length;
    if (undisturbed < pairs) this.#options.progress(`  ${undisturbed} of ${pairs} pairs of windows were undisturbed`);
    return result;
  }

  /** Adds the rows of the last comparison; without a verdict if all of it was disturbed. */
  add(rows: readonly Row[]): void {
    this.#rows.push(...(this.#disturbed ? rows.map(undecided) : rows));
    this.#disturbed = false;
  }

  report(experiment: string, besides: Record<string, number>): Report {
    const probes = this.#probes.sort((a, b) => a - b);
    return {
      experiment,
      date: new Date().toISOString(),
      machine: { ...machine(), ...besides },
      versions: versions(this.#options.node),
      probe: { median: median(probes), min: probes[0] ?? 0, max: probes.at(-1) ?? 0 },
      rows: this.#rows,
    };
  }

  /** Ends at once: back ends end with this process. Returns its exit code. */
  abandon(): number {
    this.#removeFolders();
    return 130;
  }

  async stop(): Promise<void> {
    for (const process of this.#processes.reverse()) await process.stop();
    await this.#probe.close();
    this.#removeFolders();
  }

  #removeFolders(): void {
    for (const folder of this.#folders) rmSync(folder, { recursive: true, force: true });
  }
}

/** Runs a benchmark on its ground, and clears that away, whatever happens. */
export async function onGround(options: BenchOptions, run: (ground: BenchGround) => Promise<Report>): Promise<Report> {
  const ground = new BenchGround(options);
  // A window may be a loop that no signal handler gets into; an interrupt is heard between two windows.
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(ground.abandon()));
  try {
    return await run(ground);
  } finally {
    await ground.stop();
  }
}
