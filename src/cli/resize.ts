import { Command, InvalidArgumentError } from 'commander';
import { readSize } from '../daemon/config.js';
import { askDaemon } from '../daemon/control-server.js';
import { controlSocketPath } from '../daemon/daemon.js';
import { deviceLabel } from './device-label.js';

export const resizeCommand = new Command('resize')
  .description('Grow a disk while its guest runs. Without a size, take over what the image’s size has become.')
  .argument('<vm/disk>', 'which disk', deviceLabel('DISK'))
  .argument('[size]', '"20GiB", "512MiB" or bytes', bytes)
  .option('--run-dir <folder>', 'run directory of the daemon', '/run/sidecore')
  .option('--json', 'answer in JSON')
  .action(async (disk: string, sizeBytes: number | undefined, options: { runDir: string; json?: boolean }) => {
    const answer = await askDaemon<{ sizeBytes: number; guestTold: boolean }>(
      controlSocketPath(options.runDir),
      'POST',
      '/resize',
      { disk, sizeBytes },
    );
    const { sizeBytes: size_bytes, guestTold: guest_told } = answer;
    if (options.json) process.stdout.write(`${JSON.stringify({ disk, size_bytes, guest_told })}\n`);
    else
      process.stdout.write(
        `${disk} has ${answer.sizeBytes} bytes now${answer.guestTold ? '' : '; no front end was told'}\n`,
      );
  });

function bytes(text: string): number {
  const { bytes, fault } = readSize(text);
  if (fault === undefined) return bytes;
  throw new InvalidArgumentError(fault);
}
