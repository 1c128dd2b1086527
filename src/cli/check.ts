import { Command } from 'commander';
import { type Config, type DiskConfig, readConfig } from '../daemon/config.js';
import { type ConfigProblem, problemLine, readConfigFile } from '../daemon/config-text.js';
import { type ConfigWarning, configWarnings } from '../daemon/config-warnings.js';
import { SidecoreError } from '../errors.js';
import { statIfThere } from '../host/file-faults.js';
import { inspect } from './inspect.js';
import { placementText } from './placement-text.js';
import { sizeText, table, terminalWidth } from './table.js';
import { vlanText } from './vlan-text.js';

export const checkCommand = new Command('check')
  .description('Check a configuration without starting anything.')
  .requiredOption('-c, --config <file>', 'configuration, YAML')
  .option('--json', 'answer in JSON')
  .action((options: { config: string; json?: boolean }) => {
    const { config, problems, warnings } = checkFile(options.config);
    const ok = problems.length === 0;
    if (!ok) process.exitCode = 1;
    let answer: string;
    if (options.json) answer = `${JSON.stringify({ ok, problems, warnings, ...(config && summary(config)) })}\n`;
    else if (config === undefined || !ok) answer = problems.map(describe).join('');
    else answer = summaryText(options.config, config);
    if (!options.json) answer = `${answer}${warnings.map(describe).join('')}`;
    process.stdout.write(answer);
  });

/** What `check` found. */
interface CheckResult {
  readonly config?: Config;
  readonly problems: readonly ConfigProblem[];
  readonly warnings: readonly ConfigWarning[];
}

/** What the file says, if it can be used at all, and everything that is wrong with it here, or hardly meant, by line. */
export function checkFile(path: string): CheckResult {
  try {
    const { config, text, problems } = readConfig(readConfigFile(path), path);
    if (config === undefined) return { problems, warnings: [] };
    const { problems: found, warnings } = inspect(config, text);
    return { config, problems: found, warnings: [...configWarnings(config, text), ...warnings].sort(byLine) };
  } catch (error) {
    if (!(error instanceof SidecoreError)) throw error;
    return {
      problems: [{ code: error.code, file: path, line: 0, key: '', text: error.message, remedy: error.remedy }],
      warnings: [],
    };
  }
}

const byLine = (one: ConfigWarning, other: ConfigWarning) => one.line - other.line;

/** `FILE:LINE: key: problem [CODE]. What to do.`; of a warning there is no code. */
function describe(problem: ConfigProblem | ConfigWarning): string {
  return `${problemLine(problem)} [${'code' in problem ? problem.code : 'warning'}]${problem.remedy === '' ? '' : `. ${problem.remedy}`}\n`;
}

/** What the configuration comes to, for programs. */
function summary({ cores, mode, run_dir, vms, networks }: Config) {
  const disks = Object.entries(vms).flatMap(([vm, { disks }]) =>
    Object.entries(disks).map(([name, disk]) => ({
      disk: `${vm}/${name}`,
      backend: disk.backend.type,
      size_bytes: disk.backend.size ?? imageBytes(disk),
      read_only: disk.read_only,
      queues: disk.queues,
      role: disk.role,
      socket: disk.socket,
    })),
  );
  const nics = Object.entries(vms).flatMap(([vm, { nics }]) =>
    Object.entries(nics).map(([name, { network, vlan = null, trunk = null, mac, queue_pairs, role, socket }]) => ({
      nic: `${vm}/${name}`,
      network,
      vlan,
      trunk,
      mac,
      queue_pairs,
      role,
      socket,
    })),
  );
  const ports = Object.entries(networks).flatMap(([network, { ports }]) =>
    Object.entries(ports).map(([name, port]) => ({
      port: `${network}/${name}`,
      type: port.type,
      device: port.type === 'tap' ? port.device : null,
    })),
  );
  return { cores, mode, run_dir, vms: Object.keys(vms), disks, nics, ports };
}

/** Null for block devices, whose size cannot be told without opening them. */
function imageBytes({ backend }: DiskConfig): number | null {
  const file = backend.type === 'file' ? statIfThere(backend.path) : undefined;
  return file?.isFile() ? file.size : null;
}

function summaryText(path: string, config: Config): string {
  const { cores, mode, run_dir, vms, disks, nics, ports } = summary(config);
  const disksAt = disks.map(({ disk, backend, size_bytes, read_only, queues, role, socket }) => [
    disk,
    `${backend}${read_only ? ', read-only' : ''}`,
    size_bytes === null ? '?' : sizeText(size_bytes),
    String(queues),
    socketText(socket, role),
  ]);
  const cards = nics.map((card) => [
    card.nic,
    card.network,
    vlanText(card),
    card.mac ?? '?',
    String(card.queue_pairs),
    socketText(card.socket, card.role),
  ]);
  const counts = [count(vms.length, 'VM'), count(disks.length, 'disk')];
  if (nics.length > 0) counts.push(count(nics.length, 'network card'));
  if (ports.length > 0) counts.push(count(ports.length, 'port'));
  const head = `${path} is good: ${counts.join(', ')}, mode ${mode}, CPU ${cores.join(', ')}${placementText(config)}, run directory ${run_dir}\n`;
  const tables = [
    { columns: DISK_COLUMNS, rows: disksAt },
    { columns: NIC_COLUMNS, rows: cards },
    { columns: PORT_COLUMNS, rows: ports.map(({ port, type, device }) => [port, type, device ?? '-']) },
  ];
  const shown = tables.filter(({ rows }) => rows.length > 0);
  return [head, ...shown.map(({ columns, rows }) => table(columns, rows, terminalWidth()))].join('\n');
}

const DISK_COLUMNS = [
  { head: 'DISK' },
  { head: 'BACK END' },
  { head: 'SIZE', right: true },
  { head: 'QUEUES', right: true },
  { head: 'SOCKET' },
];
const NIC_COLUMNS = [
  { head: 'NETWORK CARD' },
  { head: 'NETWORK' },
  { head: 'VLAN' },
  { head: 'MAC' },
  { head: 'PAIRS', right: true },
  { head: 'SOCKET' },
];
const PORT_COLUMNS = [{ head: 'PORT' }, { head: 'TYPE' }, { head: 'DEVICE' }];

const socketText = (socket = '', role: string) => `${socket}${role === 'client' ? ' (client)' : ''}`;

const count = (number: number, what: string) => `${number} ${what}${number === 1 ? '' : 's'}`;
