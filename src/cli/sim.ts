import { Command, InvalidArgumentError, Option } from 'commander';
import { SIM_CORES_MAX, SIM_DEPTH_MAX, SIM_GUESTS_MAX } from '../limits.js';
import { POLICIES } from '../scheduler/policy.js';
import { type Costs, DEFAULT_COSTS } from '../sim/costs.js';
import { readCosts } from '../sim/costs-file.js';
import { type ScenarioOptions, scenario } from '../sim/scenario.js';
import { prepareOutput } from './output-file.js';

interface Options {
  readonly calibrate?: string;
  readonly costs?: string;
  readonly seed: number;
  readonly node: string;
  readonly mode: 'sidecore' | 'adaptive' | 'baseline';
  readonly policy: (typeof POLICIES)[number];
  readonly guests: number;
  readonly idle: number;
  readonly bulk: number;
  readonly cores: number;
  readonly depth: number;
  readonly bytes: number;
  readonly work: 'disk' | 'stream' | 'talk';
  readonly sleeping?: boolean;
  readonly oneThread?: boolean;
  readonly ms: number;
  readonly experiments?: boolean;
  readonly json?: boolean;
}

const whole = (least: number, most: number) => (text: string) => {
  const value = Number(text);
  if (!Number.isInteger(value) || value < least || value > most)
    throw new InvalidArgumentError(`A whole number from ${least} to ${most}.`);
  return value;
};

export const simCommand = new Command('sim')
  .description('Simulate guests and sidecores under a virtual clock: more of them than this machine has.')
  .option('--guests <number>', 'guests', whole(0, SIM_GUESTS_MAX), 1)
  .option('--idle <number>', 'guests that do nothing, besides', whole(0, SIM_GUESTS_MAX), 0)
  .option('--bulk <number>', 'guests that read 1 MiB at a time, eight in flight, besides', whole(0, SIM_GUESTS_MAX), 0)
  .option('--cores <number>', 'sidecores, or CPUs for the threads of devices', whole(1, SIM_CORES_MAX), 1)
  .option('--depth <number>', 'requests in flight, each guest', whole(1, SIM_DEPTH_MAX), 1)
  .option('--bytes <number>', 'bytes of each request', whole(1, 2 ** 22), 4096)
  .addOption(new Option('--work <kind>', 'what guests do').choices(['disk', 'stream', 'talk']).default('disk'))
  .addOption(
    new Option('--mode <mode>', 'as of the daemon').choices(['sidecore', 'adaptive', 'baseline']).default('sidecore'),
  )
  .addOption(new Option('--policy <policy>', 'of the scheduler').choices(POLICIES).default('fair'))
  .option('--sleeping', 'guests sleep until they are called, instead of polling')
  .option('--one-thread', 'all guests in one thread on one CPU, as the benchmarks drive them; otherwise each has a CPU')
  .option('--ms <number>', 'time simulated, ms', whole(1, 10_000), 20)
  .option('--experiments', 'all experiments of the evaluation, up to 256 guests and 32 cores')
  .option('--seed <number>', 'the same seed gives the same run', whole(0, 2 ** 31), 1)
  .option(
    '--calibrate <file>',
    'measure the costs of this machine into a file, and how good predictions are with them: about a minute',
  )
  .option('--costs <file>', 'costs that were measured with --calibrate')
  .option('--node <path>', 'Node that runs the daemon that is measured', process.execPath)
  .option('--json', 'print JSON')
  .action(async (options: Options) => {
    if (options.calibrate !== undefined) return calibrate(options, options.calibrate);
    const costs = options.costs === undefined ? DEFAULT_COSTS : readCosts(options.costs);
    if (options.experiments) return experiments(options, costs);
    return one(options, costs);
  });

async function calibrate({ node, seed, json }: Options, file: string): Promise<void> {
  prepareOutput(file);
  const { calibrate, calibrationText, writeCalibration } = await import('../../bench/sim/calibrate.js');
  const calibration = await calibrate({ node, seed, progress: (line) => process.stderr.write(`${line}\n`) });
  writeCalibration(calibration, file);
  process.stdout.write(json ? `${JSON.stringify(calibration)}\n` : calibrationText(calibration));
}

async function experiments({ seed, json }: Options, costs: Costs): Promise<void> {
  const { experimentText, simulateExperiments } = await import('../sim/experiments.js');
  const results = simulateExperiments(costs, seed);
  process.stdout.write(json ? `${JSON.stringify(results)}\n` : experimentText(results));
}

async function one(options: Options, costs: Costs): Promise<void> {
  const { guests, idle, bulk, cores, depth, bytes, work, mode, policy, sleeping, oneThread, ms, seed, json } = options;
  const plan: ScenarioOptions = {
    mode,
    cores,
    scheduler: { policy },
    sleeping: sleeping === true,
    guestCpus: oneThread ? 'one' : 'own',
    guests: [
      { name: 'guests', count: guests, work, depth: work === 'talk' ? 1 : depth, bytes },
      { name: 'bulk', count: bulk, depth: 8, bytes: 2 ** 20 },
      { name: 'idle', count: idle, work: 'idle' },
    ],
    durationNs: ms * 1e6,
  };
  const [{ simulate }, { resultText }] = await Promise.all([
    import('../sim/simulate.js'),
    import('../sim/result-text.js'),
  ]);
  const result = simulate(scenario(plan), costs, seed);
  process.stdout.write(json ? `${JSON.stringify(result)}\n` : resultText(result));
}
