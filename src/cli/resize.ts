import { Command } from 'commander';
import { parseSize } from '../daemon/config.js';
import { askDaemon } from '../daemon/control-server.js';
import { controlSocketPath } from '../daemon/daemon.js';
import { SidecoreError } from '../errors.js';

export const resizeCommand = new Command('resize')
  .description('Grow a disk while its guest runs. Without a size, take over what the image’s size has become.')
  .argument('<vm/disk>', 'which disk')
  .argument('[size]', '"20GiB", "512MiB" or bytes')
  .option('--run-dir <folder>', 'run directory of the daemon', '/run/sidecore')
  .option('--json', 'answer in JSON')
  .action(async (disk: string, size: string | undefined, options: { runDir: string; json?: boolean }) => {
    const sizeBytes = size === undefined ? undefined : parseSize(size);
    if (size !== undefined && sizeBytes === undefined) {
      throw new SidecoreError('CONFIG_INVALID', `not a size: ${size}`, 'Write "20GiB", "512MiB" or bytes.');
    }
    const answer = await askDaemon<{ sizeBytes: number; guestTold: boolean }>(
      controlSocketPath(options.runDir),
      'POST',
      '/resize',
      { disk, sizeBytes },
    );
    if (options.json) process.stdout.write(`${JSON.stringify(answer)}\n`);
    else
      process.stdout.write(
        `${disk} has ${answer.sizeBytes} bytes now${answer.guestTold ? '' : '; no front end was told'}\n`,
      );
  });
