import { resolve } from 'node:path';
import { Argument, Command, InvalidArgumentError, Option } from 'commander';
import { ANSWER_MS_MAX, askDaemon } from '../daemon/control-server.js';
import { controlSocketPath } from '../daemon/daemon.js';
import type { ListedDevice } from '../daemon/filter-changes.js';
import { mergeOptions } from '../daemon/merge-options.js';
import { HOLD_MS_MAX } from '../limits.js';
import { deviceLabel } from './device-label.js';
import { type Options, readAll, readFile, readOption, readText } from './filter-options.js';
import { helpText } from './help-text.js';
import { rightColumn, table, terminalWidth } from './table.js';

/** Options of every subcommand. */
interface Common {
  readonly runDir: string;
  readonly json?: boolean;
  /** Seconds. */
  readonly wait?: number;
}

/** What can be said of a filter besides its module. */
interface Said extends Common {
  readonly onFault?: string;
  readonly timeLimitUs?: number;
  readonly deferLimitS?: number;
  readonly set?: Options;
  readonly options?: Options;
  readonly optionsFile?: string;
  readonly watch?: boolean;
  readonly quarantine?: boolean;
}

const NOT_WRITTEN =
  'These are not the filters of the configuration, which stays as it is: the daemon has those again when it is started anew.';

const HELP = `
A filter's place counts from 0, nearest to the guest; WHICH is a place, a name or what was given as USE,
a file by any path.

A value is YAML: 5, true, text, [a, list]; a.b=5 is the key b below a. Paths start where the command is called, those in options of
add and replace too.

A change stops the disk for the time that its requests in flight take; no request is lost, repeated, or moved past a flush. If it cannot be
made, the command says why, and nothing has changed. The configuration file stays as it is.`;

function command(name: string, what: string): Command {
  return new Command(name)
    .description(what)
    .option('--run-dir <folder>', 'run directory of the daemon', '/run/sidecore')
    .option('--json', 'answer in JSON')
    .addHelpText('after', helpText(HELP));
}

const device = () => new Argument('<vm/device>', 'which disk or network card').argParser(deviceLabel('DISK or VM/NIC'));
const which = () => new Argument('<which>', 'place, name, or what it was given as');

/** A command that changes filters. */
const change = (name: string, what: string) =>
  command(name, what).option(
    '--wait <seconds>',
    `how long requests in flight may take to end (default ${HOLD_MS_MAX / 1000})`,
    number(0.001, HOLD_MS_MAX / 1000, 'seconds'),
  );

/** One that says what a filter is to be like. */
const saying = (name: string, what: string) =>
  change(name, what)
    .addOption(new Option('--on-fault <policy>', 'what becomes of requests if it fails').choices(['closed', 'open']))
    .option('--time-limit-us <us>', 'how long its code may take for a request on average', number(1, 10_000, 'us'))
    .option('--defer-limit-s <seconds>', 'how long it may keep a request', number(0.001, 3600, 'seconds'))
    .option('--set <key=value>', 'an option; may be given again', readOption)
    .option('--options <yaml>', 'all its options, YAML or JSON', readAll)
    .option('--options-file <file>', 'the same in a file')
    .option('--watch', 'load it anew whenever its file, or what that imports, is saved')
    .option('--no-watch', 'do not');

export const filterCommand = new Command('filter')
  .description('Show and change the filters of disks and network cards while guests run.')
  .addCommand(
    command('list', 'List filters, of one device or of all.')
      .addArgument(device().argOptional())
      .action(async (label: string | undefined, options: Common) => {
        const { devices } = await ask<{ devices: ListedDevice[] }>(options, 'list', { device: label });
        if (options.json) print(devices);
        else process.stdout.write(listText(devices));
      }),
  )
  .addCommand(
    saying(
      'add',
      'Add a filter: last, nearest to the image or the network, but before those that have to be the last, unless a place is named.',
    )
      .addArgument(device())
      .argument('<use>', 'one of ours, a file (./filter.ts), or a package')
      .addOption(new Option('--at <place>', 'its place').argParser(place).conflicts(['before', 'after']))
      .addOption(new Option('--before <which>', 'nearer to the guest than this one').conflicts('after'))
      .option('--after <which>', 'farther from the guest than this one')
      .option('--quarantine', 'only if the device has a sidecore of its own')
      .action(async (label: string, use: string, options: Said & Position) => {
        const { at, before, after } = options;
        const body = { device: label, filter: { use: absolute(use), ...said(options) }, at, before, after };
        await changed(options, 'add', { ...body, base: process.cwd() });
      }),
  )
  .addCommand(
    change('remove', 'Remove a filter.')
      .addArgument(device())
      .addArgument(which())
      .action(async (label: string, filter: string, options: Common) => {
        await changed(options, 'remove', { device: label, which: filter, base: process.cwd() });
      }),
  )
  .addCommand(
    saying(
      'replace',
      'Put another filter into the place of one; or the same, loaded anew, with the options that it has.',
    )
      .addArgument(device())
      .addArgument(which())
      .argument('[use]', 'one of ours, a file (./filter.ts), or a package')
      .option('--quarantine', 'only if the device has a sidecore of its own')
      .action(async (label: string, filter: string, use: string | undefined, options: Said) => {
        const given = { ...(use !== undefined && { use: absolute(use) }), ...said(options) };
        await changed(options, 'replace', { device: label, which: filter, filter: given, base: process.cwd() });
      }),
  )
  .addCommand(
    saying('set', 'Change options of a filter: those that are named, the others stay.')
      .addArgument(device())
      .addArgument(which())
      .argument('[key=value...]', 'options', readOption, {})
      .action(async (label: string, filter: string, named: Options, options: Said) => {
        const given = said({ ...options, set: mergeOptions(options.set ?? {}, named) });
        await changed(options, 'set', { device: label, which: filter, filter: given, base: process.cwd() });
      }),
  )
  .addCommand(
    command(
      'ask',
      'Ask something of a filter that has commands, and print what it answers: a text as it is, all else as JSON.',
    )
      .addArgument(device())
      .addArgument(which())
      .argument('<command>', 'one of its commands')
      .argument('[key=value...]', 'what the command takes', readText, {})
      .action(async (label: string, filter: string, name: string, given: object, options: Common) => {
        const body = { device: label, which: filter, base: process.cwd(), command: name, given };
        const { answer } = await ask<{ answer: unknown }>(options, 'ask', body, Number.POSITIVE_INFINITY);
        process.stdout.write(answerText(answer, options.json === true));
      }),
  );

interface Position {
  readonly at?: number;
  readonly before?: string;
  readonly after?: string;
}

/** What a configuration would say of the filter. */
function said(options: Said): object {
  const { onFault, timeLimitUs, deferLimitS, watch, quarantine } = options;
  const { set, options: whole, optionsFile } = options;
  const parts = [optionsFile === undefined ? undefined : readFile(optionsFile), whole, set].filter(
    (part) => part !== undefined,
  );
  const isEmpty = parts.every((part) => Object.keys(part).length === 0);
  return {
    ...(onFault !== undefined && { on_fault: onFault }),
    ...(timeLimitUs !== undefined && { time_limit_us: timeLimitUs }),
    ...(deferLimitS !== undefined && { defer_limit_s: deferLimitS }),
    ...(watch !== undefined && { watch }),
    ...(quarantine !== undefined && { quarantine }),
    ...(!isEmpty && { options: parts.reduce(mergeOptions, {}) }),
  };
}

async function changed(options: Common, what: string, body: object): Promise<void> {
  const waitMsMax = options.wait === undefined ? undefined : 1000 * options.wait;
  // What was asked for before comes first.
  const answerMsMax = 3 * HOLD_MS_MAX + ANSWER_MS_MAX;
  const answer = await ask<ListedDevice>(options, what, { ...body, waitMsMax }, answerMsMax);
  if (options.json) print(answer);
  else process.stdout.write(listText([answer]));
}

function ask<T>({ runDir }: Common, what: string, body: object, answerMsMax?: number): Promise<T> {
  return askDaemon<T>(controlSocketPath(runDir), 'POST', `/filters/${what}`, body, answerMsMax);
}

/** What a filter has answered: a text as it is, unless JSON is asked for. */
function answerText(answer: unknown, asJson: boolean): string {
  if (typeof answer !== 'string' || asJson) return `${JSON.stringify(answer, null, asJson ? 0 : 2)}\n`;
  return answer === '' || answer.endsWith('\n') ? answer : `${answer}\n`;
}

const print = (answer: unknown) => process.stdout.write(`${JSON.stringify(answer)}\n`);

/** Files are named from here; the daemon is elsewhere. */
const absolute = (use: string) => (/^\.{1,2}\//.test(use) ? resolve(use) : use);

const COLUMNS = [
  { head: 'DEVICE' },
  rightColumn('AT'),
  { head: 'FILTER' },
  { head: 'STATE' },
  { head: 'ON FAULT' },
  { head: 'USE' },
  { head: 'OPTIONS' },
];

function listText(devices: readonly ListedDevice[]): string {
  const rows = devices.flatMap(({ device, filters }) =>
    filters.map(({ at, name, in_service, on_fault, use, options, watch }) => [
      device,
      String(at),
      name,
      in_service ? 'in service' : 'failed',
      on_fault,
      use === name ? '-' : `${use}${watch ? ', watched' : ''}`,
      JSON.stringify(options),
    ]),
  );
  const failed = devices.flatMap(({ device, filters }) =>
    filters
      .filter(({ in_service }) => !in_service)
      .map(({ at, name, last_fault }) => `${device} ${at}, ${name}, failed: ${last_fault ?? 'not known why'}\n`),
  );
  const none = devices.length === 1 ? `${devices[0]!.device} has no filters\n` : 'there are no filters\n';
  const others = devices.filter(({ changed }) => changed).map(({ device }) => device);
  const note = devices.length === 1 ? NOT_WRITTEN : `${others.join(', ')}: ${NOT_WRITTEN}`;
  return `${rows.length === 0 ? none : table(COLUMNS, rows, terminalWidth())}${failed.join('')}${others.length > 0 ? `${note}\n` : ''}`;
}

function place(text: string): number {
  if (/^\d{1,3}$/.test(text)) return Number(text);
  throw new InvalidArgumentError('Write a whole number, from 0.');
}

/** Reads a number between two. */
function number(min: number, max: number, unit: string): (text: string) => number {
  return (text) => {
    const value = text.trim() === '' ? Number.NaN : Number(text);
    if (value >= min && value <= max) return value;
    throw new InvalidArgumentError(`Write ${unit}, from ${min} to ${max}.`);
  };
}
