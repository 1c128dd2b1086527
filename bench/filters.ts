import { SidecoreError } from '../src/errors.js';
import { encryptRows } from './encrypt.js';
import { chainAloneRows, chainRows, entryRows } from './filter-block.js';
import { type FilterContext, type FilterTiming, type PlannedFilterRows, spreadText } from './filter-context.js';
import { firewallRows, frameChainAloneRows, frameChainRows, frameEntryRows } from './filter-frames.js';
import { stallRows } from './filter-stalls.js';
import { type BenchOptions, onGround } from './ground.js';
import { measureSwaps } from './hot-swap.js';
import { type Report, row } from './report.js';

/** How the benchmark of filters is run. */
export interface FilterBenchOptions extends BenchOptions {
  /** Rows whose name holds this. */
  readonly only: string;
  /** For tests: the least of everything, and figures mean nothing. */
  readonly timing?: FilterTiming;
}

const TIMING: FilterTiming = {
  pairs: 3,
  settleMs: 800,
  warmUpMs: 30,
  windowMs: 120,
  rounds: 9,
  count: 100_000,
  stalls: 8,
  swaps: 50,
};
const QUICK: FilterTiming = { ...TIMING, pairs: 2, rounds: 5, count: 40_000, stalls: 5, swaps: 20 };
export const SHORT: FilterTiming = {
  pairs: 1,
  settleMs: 10,
  warmUpMs: 5,
  windowMs: 20,
  rounds: 1,
  count: 640,
  stalls: 1,
  swaps: 1,
};

/** What filters cost: chains that do nothing and each of ours, alone and in a daemon, in turn with none. */
export function benchFilters(options: FilterBenchOptions): Promise<Report> {
  return onGround(options, async (ground) => {
    const { quick, only, progress, timing = quick ? QUICK : TIMING } = options;
    const context: FilterContext = { ground, options, timing };
    const wanted = plan(context).filter((rows) => rows.name.includes(only) && (rows.quick || !quick || only !== ''));
    for (const { name, run } of wanted) {
      try {
        await run();
      } catch (error) {
        // What cannot be measured is said, and does not take the other rows with it.
        if (!(error instanceof SidecoreError)) throw error;
        progress(`${name}: ${error.line}`);
        ground.add([row(name, '', [Number.NaN], null, null, error.code)]);
      }
    }
    return ground.report('filters', {});
  });
}

const plan = (context: FilterContext): PlannedFilterRows[] => [
  chainAloneRows(context),
  chainRows(context),
  ...entryRows(context),
  frameChainAloneRows(context),
  frameChainRows(context),
  ...frameEntryRows(context),
  firewallRows(context),
  peerRows(context),
  loopRows(context),
  swapRows(context),
];

/** The filter `encrypt` against qemu-storage-daemon's `luks` driver, with the same image. */
function peerRows({ ground, options, timing }: FilterContext): PlannedFilterRows {
  const only = options.quick ? { only: '4 KiB random read' } : {};
  const own = timing === SHORT ? { timing } : {};
  const run = () => encryptRows(ground, { ...options, quick: true }, { ...only, ...own });
  return { name: 'encrypt against qemu-storage-daemon', quick: true, run };
}

/** Filters that loop for ever. */
function loopRows({ ground, options, timing }: FilterContext): PlannedFilterRows {
  const kinds = (['memory', 'file'] as const).flatMap((backend) => [true, false].map((spare) => ({ backend, spare })));
  const run = async () => {
    options.progress('filters that loop');
    const of = { node: options.node, cpu: ground.serverCpu, stalls: timing.stalls };
    ground.add(await stallRows(of, options.quick ? kinds.slice(0, 1) : kinds));
  };
  return { name: 'a filter loops', quick: true, run };
}

/** Filters that are changed under load: for how long requests do not complete. */
function swapRows({ ground, options, timing }: FilterContext): PlannedFilterRows {
  const kinds = (['memory', 'file'] as const).flatMap((backend) => [1, 32].map((depth) => ({ backend, depth })));
  const run = async () => {
    for (const { backend, depth } of options.quick ? kinds.slice(1, 2) : kinds) {
      const title = `a filter is changed under load: longest pause of the disk, in ${backend}, depth ${depth}`;
      options.progress(title);
      const how = { node: options.node, cpu: ground.serverCpu, changes: timing.swaps, backend, depth };
      const { changed, unchanged } = await measureSwaps(how);
      const sorted = [...changed].sort((one, other) => one - other);
      const p90 = sorted[Math.floor(0.9 * sorted.length)]!.toFixed(2);
      const note = `p90 ${p90}, ${spreadText(sorted, 2)} of ${sorted.length}; peer: the daemon is asked and changes nothing`;
      ground.add([row(title, 'ms', changed, unchanged, null, note)]);
    }
  };
  return { name: 'a filter is changed under load', quick: true, run };
}
