import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { allowedCpus } from '../src/host/affinity.js';
import { ALIGNMENTS, SIZES } from './copy-measure.js';
import { WAYS } from './copy-ways.js';

const MEASURE = fileURLToPath(new URL('./copy-measure.js', import.meta.url));
/** Processes for each way, in turn with those of the others: what else runs on the machine slows some of them down. */
const ROUNDS = 3;

/** How the benchmark of copies is run. */
export interface CopyBenchOptions {
  /** What to measure on. */
  readonly nodes: readonly string[];
  readonly quick: boolean;
  /** Ways whose name holds this. */
  readonly only: string;
  readonly progress: (line: string) => void;
}

/** Times of one way, ns, by alignment and size; null where it cannot copy. */
type WayTimes = (number | null)[][];

/** CPU time of a copy by Node's version and way: the median of many runs, in the quietest of the processes. */
export type CopyTimes = Record<string, Record<string, WayTimes>>;

/** Measures every way to copy, each in processes of its own on one CPU. */
export function benchCopy({ nodes, quick, only, progress }: CopyBenchOptions): CopyTimes {
  const cpu = String(allowedCpus().at(-1));
  const ways = WAYS.filter((way) => way.name.includes(only));
  const times: CopyTimes = {};
  for (const node of nodes) {
    const version = execFileSync(node, ['--version'], { encoding: 'utf8' }).trim();
    const quietest: Record<string, WayTimes> = {};
    for (let round = 0; round < (quick ? 1 : ROUNDS); round++) {
      for (const { name } of ways) {
        progress(`Node ${version}: ${name}`);
        const found: WayTimes = JSON.parse(
          execFileSync('taskset', ['-c', cpu, node, MEASURE, name], { encoding: 'utf8' }),
        );
        quietest[name] = lesser(quietest[name] ?? found, found);
      }
    }
    times[version] = quietest;
  }
  return times;
}

const lesser = (a: WayTimes, b: WayTimes): WayTimes =>
  a.map((row, i) => row.map((ns, j) => (ns === null ? null : Math.min(ns, b[i]![j]!))));

/** The same as Markdown tables, one for each Node and alignment. */
export function copyTables(times: CopyTimes): string {
  const lines: string[] = [];
  for (const [version, ways] of Object.entries(times)) {
    ALIGNMENTS.forEach(([from, to], index) => {
      lines.push(`Node ${version}, source at ${from}, target at ${to} beside a multiple of 64, ns:`, '');
      lines.push(
        `| way | ${SIZES.map((size) => `${size} B`).join(' | ')} |`,
        `| --- |${' --- |'.repeat(SIZES.length)}`,
      );
      for (const [name, table] of Object.entries(ways)) {
        const row = table[index]!;
        if (row.every((ns) => ns === null)) continue;
        lines.push(`| ${name} | ${row.map((ns) => (ns === null ? '' : figure(ns))).join(' | ')} |`);
      }
      lines.push('');
    });
  }
  return lines.join('\n');
}

const figure = (ns: number): string => (ns < 10 ? ns.toFixed(1) : String(Math.round(ns)));
