import { Command } from 'commander';
import { loadConfigText } from '../daemon/config.js';
import { problemLine } from '../daemon/config-text.js';
import { configWarnings } from '../daemon/config-warnings.js';
import { Daemon } from '../daemon/daemon.js';
import { createLog } from '../daemon/log.js';
import { onStopSignal } from './stop-signals.js';

export const serveCommand = new Command('serve')
  .description('Serve the disks and network cards of a configuration until SIGTERM, SIGHUP or Ctrl-C.')
  .requiredOption('-c, --config <file>', 'configuration, YAML')
  .option('--json', 'log in JSON')
  .action(async (options: { config: string; json?: boolean }) => {
    const { config, text } = loadConfigText(options.config);
    const log = createLog(config.log, options.json === true);
    for (const warning of configWarnings(config, text)) log.warn(`${problemLine(warning)}. ${warning.remedy}`);
    // Before it says that it serves: whoever waits for that may send one at once.
    const stopSignal = new Promise<void>(onStopSignal);
    const daemon = await Daemon.start(config, log, (vm, disk) => {
      const line = text.lineOf(['vms', vm, 'disks', disk]);
      return `${options.config}:${line}: ${vm}/${disk}`;
    });
    await stopSignal;
    log.info('stopping: finishing what is in flight (another Ctrl-C, half a second later, ends at once)');
    await daemon.stop();
    log.info('stopped');
  });
