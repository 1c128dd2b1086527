import { Argument, Command } from 'commander';
import { askDaemon } from '../daemon/control-server.js';
import { controlSocketPath } from '../daemon/daemon.js';
import { deviceLabel } from './device-label.js';
import { sizeText } from './table.js';

interface Info {
  readonly path: string;
  readonly cluster: number;
  readonly size_bytes: number;
  readonly bytes_in_top: number;
  readonly durable: boolean;
  readonly broken: boolean;
}

export const overlayCommand = new Command('overlay')
  .description('Disks that have the filter `overlay`, clones of a base.')
  .addCommand(
    new Command('info')
      .description('How much of a clone is its own.')
      .addArgument(new Argument('<vm/disk>', 'which disk').argParser(deviceLabel('DISK')))
      .option('--run-dir <folder>', 'run directory of the daemon', '/run/sidecore')
      .option('--json', 'answer in JSON')
      .action(async (disk: string, { runDir, json }: { runDir: string; json?: boolean }) => {
        const body = { device: disk, which: 'overlay', command: 'info', given: {} };
        const path = controlSocketPath(runDir);
        const { answer } = await askDaemon<{ answer: Info }>(path, 'POST', '/filters/ask', body);
        process.stdout.write(json ? `${JSON.stringify(answer)}\n` : infoText(disk, answer));
      }),
  );

function infoText(disk: string, info: Info): string {
  const state = info.broken ? ', storage has failed' : info.durable ? ', all durable' : '';
  const own = `${sizeText(info.bytes_in_top)} of ${sizeText(info.size_bytes)}`;
  return `${disk}: ${own} in ${info.path}, clusters of ${sizeText(info.cluster)}${state}\n`;
}
