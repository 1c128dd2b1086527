import { resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Argument, Command } from 'commander';
import { askDaemon } from '../daemon/control-server.js';
import { controlSocketPath } from '../daemon/daemon.js';
import { SidecoreError } from '../errors.js';
import type { Job } from '../filters/block/snapshot/jobs.js';
import { deviceLabel } from './device-label.js';
import { rightColumn, sizeText, table, terminalWidth } from './table.js';

/** How often a job is asked how far it is, ms. */
const LOOK_MS = 200;

interface Options {
  readonly runDir: string;
  readonly json?: boolean;
  readonly filter: string;
}

interface Listed {
  readonly name: string | null;
  readonly created: string;
  readonly bytes: number;
  readonly damaged: boolean;
  readonly in_use: number;
}

function command(name: string, what: string): Command {
  return new Command(name)
    .description(what)
    .addArgument(new Argument('<vm/disk>', 'which disk').argParser(deviceLabel('DISK')))
    .option('--filter <which>', 'place of the filter, if the disk has several', 'snapshot')
    .option('--run-dir <folder>', 'run directory of the daemon', '/run/sidecore')
    .option('--json', 'answer in JSON');
}

export const snapshotCommand = new Command('snapshot')
  .description('Snapshots of disks that have the filter `snapshot`, while their guests run.')
  .addCommand(
    command('create', 'The disk as it is at this instant.')
      .argument('<name>', 'letters, digits, `.`, `_` and `-`')
      .action(async (disk: string, name: string, options: Options) => {
        const entry = await ask<{ created: string }>(disk, options, 'create', { name });
        say(options, entry, `${disk} has the snapshot ${name}, as of ${entry.created}`);
      }),
  )
  .addCommand(
    command('list', 'What there is, oldest first.').action(async (disk: string, options: Options) => {
      const { snapshots } = await ask<{ snapshots: Listed[] }>(disk, options, 'list', {});
      say(options, snapshots, listText(snapshots));
    }),
  )
  .addCommand(
    command('delete', 'One less; older ones keep what they need of it.')
      .argument('<name>')
      .action(async (disk: string, name: string, options: Options) => {
        const answer = await ask(disk, options, 'delete', { name });
        say(options, answer, `${disk} has no snapshot ${name} any more`);
      }),
  )
  .addCommand(
    command('merge', 'The disk goes back to a snapshot, which stays. Only while no front end is connected.')
      .argument('<name>')
      .action(async (disk: string, name: string, options: Options) => {
        await follow(disk, options, await ask<Job>(disk, options, 'merge', { name }));
        if (!options.json) process.stdout.write(`${disk} is as it was at ${name}\n`);
      }),
  )
  .addCommand(
    command(
      'export',
      'Write a snapshot to a new raw file, while the guest runs. Ends, and removes the file, at Ctrl-C.',
    )
      .argument('<name>')
      .argument('<file>', 'is made')
      .action(async (disk: string, name: string, file: string, options: Options) => {
        await follow(disk, options, await ask<Job>(disk, options, 'export', { name, file: resolve(file) }));
        if (!options.json) process.stdout.write(`${name} of ${disk} is in ${file}\n`);
      }),
  );

function ask<T>(disk: string, { runDir, filter }: Options, what: string, given: Record<string, string>): Promise<T> {
  const body = { device: disk, which: filter, command: what, given };
  return askDaemon<{ answer: T }>(
    controlSocketPath(runDir),
    'POST',
    '/filters/ask',
    body,
    Number.POSITIVE_INFINITY,
  ).then(({ answer }) => answer);
}

function say({ json }: Options, answer: unknown, text: string): void {
  process.stdout.write(`${json ? JSON.stringify(answer) : text}\n`);
}

/** Shows how far a job is until it has ended: a line of JSON for each look, or one that changes. Throws what went wrong. */
async function follow(disk: string, options: Options, first: Job): Promise<void> {
  const given = { job: String(first.job) };
  const cancel = () => void ask(disk, options, 'cancel', given).catch(() => {});
  process.once('SIGINT', cancel);
  let job = first;
  for (;;) {
    if (options.json) process.stdout.write(`${JSON.stringify(job)}\n`);
    else if (process.stderr.isTTY) process.stderr.write(`\r${percent(job)}`);
    if (job.state !== 'running') break;
    await sleep(LOOK_MS);
    job = await ask<Job>(disk, options, 'job', given);
  }
  process.off('SIGINT', cancel);
  if (!options.json && process.stderr.isTTY) process.stderr.write('\r        \r');
  if (job.state === 'done') return;
  throw new SidecoreError('IMAGE_INVALID', `${job.kind}: ${job.error ?? job.state}`, 'Nothing of it is left.');
}

const percent = ({ done_bytes: done, total_bytes: total }: Job): string =>
  total === 0 ? '  0 %' : `${Math.floor((100 * done) / total)} %`.padStart(5);

const COLUMNS = [{ head: 'SNAPSHOT' }, { head: 'CREATED' }, rightColumn('SIZE'), { head: '' }];

function listText(snapshots: readonly Listed[]): string {
  const rows = snapshots.map(({ name, created, bytes, damaged, in_use: uses }) => [
    name ?? '(deleted)',
    created,
    sizeText(bytes),
    damaged ? 'damaged' : uses > 0 ? 'in use' : '',
  ]);
  return table(COLUMNS, rows, terminalWidth()).trimEnd();
}
