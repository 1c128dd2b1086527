import { readFileSync } from 'node:fs';
import { Command, Option } from 'commander';
import type { Report } from '../../bench/report.js';
import { messageOf, SidecoreError } from '../errors.js';

interface Options {
  readonly quick?: boolean;
  readonly json?: string;
  readonly node: string;
  readonly only: string;
  readonly peerSocket?: string[];
  readonly costs?: string;
}

const EXPERIMENTS: Record<string, (options: Options) => Promise<void>> = { block, net, copy, filters };

const progress = (line: string): boolean => process.stderr.write(`${line}\n`);

export const benchCommand = new Command('bench')
  .description('Measure this system beside another back end, in turn, on this machine.')
  .argument('<experiment>', Object.keys(EXPERIMENTS).join(', '))
  .option('--quick', 'one row for each goal: block and filters in less than a minute, net in about two')
  .addOption(new Option('--json <file>', 'write the results as JSON'))
  .option('--node <path>', 'Node that runs the daemon', process.execPath)
  .option('--only <text>', 'net, filters: rows whose name holds it; copy: ways', '')
  .addOption(
    new Option('--costs <file>', 'filters: the table of what each costs, from results in JSON; measures nothing'),
  )
  .option('--peer-socket <path...>', 'block: measure against another vhost-user-blk back end that listens here')
  .action(async (experiment: string, options: Options) => {
    const run = EXPERIMENTS[experiment];
    if (run === undefined) {
      const all = Object.keys(EXPERIMENTS).join(', ');
      throw new SidecoreError('CONFIG_INVALID', `there is no experiment ${experiment}`, `There are: ${all}.`);
    }
    await run(options);
  });

async function block({ quick, node, peerSocket, json }: Options): Promise<void> {
  const { benchBlock } = await import('../../bench/block.js');
  const { printReport, writeJson } = await import('../../bench/report.js');
  const report = await benchBlock({ quick: quick === true, node, peerSockets: peerSocket ?? [], progress });
  printReport(report, report.versions['qemu_storage_daemon']!);
  if (json !== undefined) writeJson(report, json);
}

async function net({ quick, node, only, json }: Options): Promise<void> {
  const { benchNet } = await import('../../bench/net.js');
  const { printReport, writeJson } = await import('../../bench/report.js');
  const report = await benchNet({ quick: quick === true, node, only, progress });
  printReport(report, `${report.versions['dpdk']}; ${report.versions['open_vswitch']}`);
  if (json !== undefined) writeJson(report, json);
}

async function filters({ quick, node, only, json, costs }: Options): Promise<void> {
  if (costs !== undefined) {
    const { costTables } = await import('../../bench/filter-costs.js');
    process.stdout.write(`${costTables(readReport(costs))}\n`);
    return;
  }
  const { benchFilters } = await import('../../bench/filters.js');
  const { printReport, writeJson } = await import('../../bench/report.js');
  const report = await benchFilters({ quick: quick === true, node, only, progress });
  printReport(report, report.versions['qemu_storage_daemon']!);
  if (json !== undefined) writeJson(report, json);
}

async function copy({ quick, node, only, json }: Options): Promise<void> {
  const { benchCopy, copyTables } = await import('../../bench/copy.js');
  const { writeJson } = await import('../../bench/report.js');
  const times = benchCopy({ nodes: [...new Set([process.execPath, node])], quick: quick === true, only, progress });
  process.stdout.write(copyTables(times));
  if (json !== undefined) writeJson(times, json);
}

/** Results that `--json` has written. */
function readReport(file: string): Report {
  try {
    return JSON.parse(readFileSync(file, 'utf8'));
  } catch (error) {
    const remedy = 'Write it with `npm run bench -- filters --json FILE`.';
    throw new SidecoreError('CONFIG_UNREADABLE', `${file}: ${messageOf(error)}`, remedy, { cause: error });
  }
}
