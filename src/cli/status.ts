import { Command } from 'commander';
import { askDaemon } from '../daemon/control-server.js';
import { controlSocketPath, type DaemonStatus } from '../daemon/daemon.js';

export const statusCommand = new Command('status')
  .description('Show what a running daemon does.')
  .option('--run-dir <folder>', 'run directory of the daemon', '/run/sidecore')
  .option('--json', 'all counters, as JSON')
  .action(async (options: { runDir: string; json?: boolean }) => {
    const status = await askDaemon<DaemonStatus>(controlSocketPath(options.runDir), 'GET', '/status');
    process.stdout.write(`${JSON.stringify(status, null, 2)}\n`);
  });
