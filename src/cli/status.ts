import { setTimeout as sleep } from 'node:timers/promises';
import { Command, InvalidArgumentError } from 'commander';
import { askDaemon } from '../daemon/control-server.js';
import { controlSocketPath, type DaemonStatus } from '../daemon/daemon.js';
import { helpText } from './help-text.js';
import { renderStatus, type StatusSample } from './status-view.js';
import { terminalWidth } from './table.js';

const WATCH_SECONDS = 2;

interface StatusOptions {
  readonly runDir: string;
  readonly json?: boolean;
  /** Seconds between two looks; true if none were named. */
  readonly watch?: number | true;
}

const HELP = `
FROM and TO are seen from the switch: what came from a guest (or the host) and what went to it, frames_in and frames_out in JSON.
LINK is that of \`sidecore link\`. PHASE is of the queues that the guest has set up: polled, watched (for a kick), stopped or faulted;
without the receive queues of cards, which are passive: they are filled as frames come. CORE counts queues in the same way.`;

export const statusCommand = new Command('status')
  .description('Show what a running daemon does.')
  .option('--run-dir <folder>', 'run directory of the daemon', '/run/sidecore')
  .option('--json', 'all counters, as JSON; with --watch one line each time')
  .option('--watch [seconds]', `again and again, with rates (default ${WATCH_SECONDS} s)`, watchSeconds)
  .addHelpText('after', helpText(HELP))
  .action(async ({ runDir, json, watch }: StatusOptions) => {
    let before: StatusSample | undefined;
    for (;;) {
      const now = await sample(runDir);
      // Another daemon counts from zero.
      if (before?.status.pid !== now.status.pid) before = undefined;
      if (json) process.stdout.write(`${JSON.stringify(now.status, null, watch === undefined ? 2 : 0)}\n`);
      else
        process.stdout.write((watch === undefined ? '' : clearScreen()) + renderStatus(now, before, terminalWidth()));
      if (watch === undefined) return;
      before = now;
      await sleep(1000 * (watch === true ? WATCH_SECONDS : watch));
    }
  });

async function sample(runDir: string): Promise<StatusSample> {
  const status = await askDaemon<DaemonStatus>(controlSocketPath(runDir), 'GET', '/status');
  return { status, at: performance.now() / 1000 };
}

function watchSeconds(text: string): number {
  const seconds = Number(text);
  if (seconds >= 0.1 && seconds <= 86_400) return seconds;
  throw new InvalidArgumentError('Write seconds, from 0.1 to 86400.');
}

/** On a terminal, each look replaces the one before; elsewhere they follow each other. */
function clearScreen(): string {
  return process.stdout.isTTY ? '\x1b[H\x1b[2J' : '\n';
}
