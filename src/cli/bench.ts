import { Command, Option } from 'commander';
import { SidecoreError } from '../errors.js';

export const benchCommand = new Command('bench')
  .description('Measure this system beside another back end, in turn, on this machine.')
  .argument('<experiment>', 'block')
  .option('--quick', 'one row for each goal, in less than a minute')
  .addOption(new Option('--json <file>', 'write the results as JSON'))
  .option('--node <path>', 'Node that runs the daemon', process.execPath)
  .option('--peer-socket <path...>', 'measure against another vhost-user-blk back end that listens here')
  .action(
    async (experiment: string, options: { quick?: boolean; json?: string; node: string; peerSocket?: string[] }) => {
      if (experiment !== 'block')
        throw new SidecoreError('CONFIG_INVALID', `there is no experiment ${experiment}`, 'There is: block.');
      const { benchBlock } = await import('../../bench/block.js');
      const { TABLE_HEAD, tableLine, writeReport } = await import('../../bench/report.js');
      const report = await benchBlock({
        quick: options.quick === true,
        node: options.node,
        peerSockets: options.peerSocket ?? [],
        progress: (line) => process.stderr.write(`${line}\n`),
      });
      const { machine, versions, probe, date } = report;
      process.stdout.write(
        `${date.slice(0, 10)}, ${machine['cpus']} × ${machine['cpu']}, Linux ${machine['kernel']}; daemon on Node ${versions['node_daemon']}, client on Node ${versions['node_client']}; ${versions['qemu_storage_daemon']}; cache line round trip ${Math.round(probe.median)} ns (${Math.round(probe.min)} to ${Math.round(probe.max)})\n\n`,
      );
      process.stdout.write(`${[TABLE_HEAD, ...report.rows.map(tableLine)].join('\n')}\n`);
      if (options.json !== undefined) writeReport(report, options.json);
    },
  );
