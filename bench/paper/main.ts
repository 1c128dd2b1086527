import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { dirname, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Command, InvalidArgumentError } from 'commander';
import { prepareOutput } from '../../src/cli/output-file.js';
import { version } from '../../src/daemon/version.js';
import { messageOf, SidecoreError } from '../../src/errors.js';
import { machine } from '../report.js';
import { beyond } from './beyond.js';
import { EXPERIMENTS, type PlannedExperiment, plannedFor, REAL_GUESTS, realGuests } from './experiments.js';
import { countText, renderPage } from './page.js';
import { plannedCosts, predictions, type SimCosts, simCosts } from './predicted.js';
import { Progress } from './progress.js';
import { claimText, type Evaluation, type Experiment, verdictsOf } from './results.js';
import { Stand, type Timing } from './stand.js';
import { spread } from './stats.js';
import { renderSummary } from './summary.js';

const FULL: Timing = { rounds: 3, warmUpMs: 50, windowMs: 200, extra: 1, points: 'all' };
const QUICK: Timing = { rounds: 2, warmUpMs: 15, windowMs: 45, extra: 1, points: 'few' };
/** For the tests: seconds. */
const SHORT: Timing = { rounds: 1, warmUpMs: 5, windowMs: 20, extra: 0, points: 'least' };
/** A second signal counts only so long after the first, ms: npm passes on what the terminal has sent already. */
const SAME_SIGNAL_MS = 500;

interface Options {
  readonly quick?: boolean;
  readonly short?: boolean;
  readonly json?: string;
  readonly out: string;
  readonly seed: number;
  readonly only: readonly number[];
  readonly node: string;
  readonly vm?: boolean;
  readonly tcg?: boolean;
  readonly costs?: string;
}

function parseOnly(text: string): number[] {
  const numbers = text.split(',').map(Number);
  const known = [...EXPERIMENTS.map(({ number }) => number), REAL_GUESTS];
  if (!numbers.every((number) => known.includes(number)))
    throw new InvalidArgumentError(`There are the experiments ${known.join(', ')}.`);
  return numbers;
}

function parseSeed(text: string): number {
  const seed = Number(text);
  if (!Number.isInteger(seed) || seed < 0 || seed > 1e6)
    throw new InvalidArgumentError('A seed is a whole number up to 1,000,000.');
  return seed;
}

const command = new Command('npm run paper --')
  .description(
    'Measures what the paper claims: baseline, sidecore and direct, in turn. Writes a page, a summary and raw values. About seven minutes. Let nothing else run.',
  )
  .option('--quick', 'fewer points and shorter windows: about one minute')
  .option('--short', 'the least of everything, for tests: figures mean nothing')
  .option('--only <numbers>', 'experiments, such as 1,3', parseOnly, [])
  .option('--out <folder>', 'where the page, the summary and the raw values go', 'paper-results')
  .option('--json <file>', 'the raw values, in another place')
  .option('--seed <number>', 'of what guests read', parseSeed, 1)
  .option('--node <path>', 'Node that runs the daemon', process.execPath)
  .option('--vm', 'real guests, under QEMU and KVM (needs a checkout): experiment 7, alone unless --only names others')
  .option('--tcg', 'the same with emulated guests, where KVM boots none; figures are marked as such')
  .option('--costs <file>', 'costs of the simulator, as `sidecore sim --calibrate` writes them')
  .action(run);

async function run(options: Options): Promise<void> {
  const controller = new AbortController();
  let abortedAt = 0;
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
    process.on(name, () => {
      if (abortedAt > 0 && performance.now() - abortedAt > SAME_SIGNAL_MS) process.exit(130);
      if (abortedAt > 0) return;
      abortedAt = performance.now();
      controller.abort(new Error('interrupted'));
    });
  try {
    process.exitCode = await evaluate(options, controller.signal);
  } catch (error) {
    if (controller.signal.aborted) {
      process.stderr.write('\nInterrupted: the daemons have ended, their folders are removed, nothing was written.\n');
      process.exitCode = 130;
      return;
    }
    process.stderr.write(`\n${error instanceof SidecoreError ? error.line : messageOf(error)}\n`);
    process.exitCode = 1;
  }
}

async function evaluate(options: Options, signal: AbortSignal): Promise<number> {
  const timing = options.short ? SHORT : options.quick ? QUICK : FULL;
  const files = outputsOf(options);
  for (const file of Object.values(files)) prepareOutput(file);
  const wanted = await wantedOf(options);
  const progress = new Progress(plannedFor(wanted, timing) + plannedCosts(timing, options.costs), {
    write: (text) => process.stderr.write(text),
    terminal: process.stderr.isTTY === true,
  });
  const started = performance.now();
  const stand = new Stand({ node: options.node, timing, seed: options.seed, signal, progress });
  const experiments: Experiment[] = [];
  let costs: SimCosts;
  try {
    costs = await simCosts(stand, options.costs);
    for (const { measure } of wanted) experiments.push(await measure(stand));
  } finally {
    progress.clear();
    await stand.close();
  }
  process.stderr.write('Simulating what is beyond this machine …\n');
  const evaluation: Evaluation = {
    format: 1,
    date: new Date().toISOString(),
    command: `npm run paper --${process.argv.slice(2).length === 0 ? '' : ` ${process.argv.slice(2).join(' ')}`}`,
    seed: options.seed,
    quick: timing !== FULL,
    took_s: Math.round((performance.now() - started) / 1000),
    machine: { ...machine(), load_cpu: stand.loadCpu, core_cpu: stand.coreCpu },
    versions: { sidecore: version, node: process.version, node_daemon: versionOf(options.node) },
    commit: commit(),
    timing: { rounds: timing.rounds, warm_up_ms: timing.warmUpMs, window_ms: timing.windowMs },
    placement_ns: spread(stand.probes),
    experiments: experiments.map((one) => ({
      ...one,
      tables: [...one.tables, ...predictions(one, costs, options.seed)],
      simulated: beyond(one, timing, costs.costs, options.seed),
    })),
    simulated_with: costs.whose,
  };
  write(evaluation, files);
  return 0;
}

/** Experiments that were asked for, in their order. */
async function wantedOf({ only, vm = false, tcg = false }: Options): Promise<PlannedExperiment[]> {
  const real = vm || tcg || only.includes(REAL_GUESTS);
  const wanted = EXPERIMENTS.filter(({ number }) => (only.length === 0 ? !real : only.includes(number)));
  if (real) wanted.push(await realGuests(tcg, (line) => process.stderr.write(`${line}\n`)));
  return wanted;
}

function outputsOf({ out, json }: Options) {
  const [page, summary] = [resolve(out, 'paper.html'), resolve(out, 'paper.md')];
  return { page, summary, raw: json === undefined ? resolve(out, 'paper.json') : resolve(json) };
}

function write(evaluation: Evaluation, { page, summary, raw }: ReturnType<typeof outputsOf>): void {
  const rawName = relative(dirname(page), raw);
  writeFileSync(raw, `${JSON.stringify(evaluation, null, 1)}\n`);
  writeFileSync(page, renderPage(evaluation, rawName));
  writeFileSync(summary, renderSummary(evaluation, 'paper.html', rawName));
  const verdicts = evaluation.experiments.flatMap(verdictsOf);
  for (const one of verdicts) {
    const mark = one.holds === null ? '?' : one.holds ? '+' : '-';
    process.stdout.write(`${mark} ${claimText(one)}: ${one.measured}; ${one.threshold}\n`);
  }
  process.stdout.write(`\n${countText(verdicts)}.\nPage: ${page}\nSummary: ${summary}\nRaw values: ${raw}\n`);
}

function versionOf(node: string): string {
  try {
    return execFileSync(node, ['--version'], { encoding: 'utf8' }).trim();
  } catch {
    throw new SidecoreError('CONFIG_INVALID', `${node} is no Node that can be run`, 'Name another with --node.');
  }
}

/** What is measured, if this is a checkout. */
function commit(): string {
  try {
    const root = fileURLToPath(new URL('.', import.meta.url));
    const git = (...args: string[]) =>
      execFileSync('git', args, { cwd: root, encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim();
    const hash = git('rev-parse', '--short', 'HEAD');
    const changed = git('status', '--porcelain', '--untracked-files=no') !== '';
    return `commit ${hash}${changed ? ', with changes' : ''}`;
  } catch {
    return 'no checkout';
  }
}

await command.parseAsync();
