import { execFileSync } from 'node:child_process';
import { accessSync, constants, type Stats, statSync } from 'node:fs';
import { freemem } from 'node:os';
import { dirname } from 'node:path';
import { Command } from 'commander';
import { formatFault } from '../block/backends/file/format.js';
import { bytesOf } from '../block/backends/file/probe.js';
import { SECTOR_BYTES } from '../block/features.js';
import { type Config, type DiskConfig, type NicConfig, readConfig, type TapConfig } from '../daemon/config.js';
import {
  type ConfigProblem,
  type ConfigText,
  type KeyPath,
  problemLine,
  readConfigFile,
} from '../daemon/config-text.js';
import { type ConfigWarning, configWarnings } from '../daemon/config-warnings.js';
import { type ErrorCode, SidecoreError } from '../errors.js';
import { allowedCpus } from '../host/affinity.js';
import { tapFaults } from './check-tap.js';
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
    return { config, problems: inspect(config, text), warnings: configWarnings(config, text) };
  } catch (error) {
    if (!(error instanceof SidecoreError)) throw error;
    return {
      problems: [{ code: error.code, file: path, line: 0, key: '', text: error.message, remedy: error.remedy }],
      warnings: [],
    };
  }
}

/** `FILE:LINE: key: problem [CODE]. What to do.`; of a warning there is no code. */
function describe(problem: ConfigProblem | ConfigWarning): string {
  return `${problemLine(problem)} [${'code' in problem ? problem.code : 'warning'}]${problem.remedy === '' ? '' : `. ${problem.remedy}`}\n`;
}

/** Holds a configuration against this machine, as the user who asks. Opens, makes and changes nothing. */
export function inspect(config: Config, text: ConfigText): ConfigProblem[] {
  const inspector = new Inspector(text);
  config.cores.forEach((cpu, index) => inspector.cpu(cpu, ['cores', index]));
  if (config.sqpoll_cpu !== undefined) inspector.cpu(config.sqpoll_cpu, ['sqpoll_cpu']);
  inspector.accounts(config.socket, ['socket']);
  inspector.runDirectory(config.run_dir);
  for (const [vm, { disks, nics }] of Object.entries(config.vms)) {
    for (const [name, disk] of Object.entries(disks)) {
      const keys = ['vms', vm, 'disks', name];
      inspector.socket(disk, keys, config.run_dir);
      inspector.backend(disk, keys, `${vm}/${name}`);
    }
    for (const [name, nic] of Object.entries(nics)) inspector.socket(nic, ['vms', vm, 'nics', name], config.run_dir);
  }
  for (const [network, { ports }] of Object.entries(config.networks)) {
    for (const [name, port] of Object.entries(ports))
      if (port.type === 'tap') inspector.tap(port, ['networks', network, 'ports', name]);
  }
  return inspector.problems.sort((one, other) => one.line - other.line);
}

class Inspector {
  readonly problems: ConfigProblem[] = [];
  readonly #text: ConfigText;
  /** Images by device and inode: one file may have several paths. */
  readonly #images = new Map<string, { by: string; alone: boolean }>();

  constructor(text: ConfigText) {
    this.#text = text;
  }

  #complain(code: ErrorCode, keys: KeyPath, text: string, remedy: string): void {
    this.problems.push(this.#text.problem(keys, text, remedy, code));
  }

  cpu(cpu: number, keys: KeyPath): void {
    const allowed = allowedCpus();
    if (allowed.includes(cpu)) return;
    const remedy = 'Choose another, or widen the CPU set (taskset, cgroup cpuset, AllowedCPUs=).';
    this.#complain('CPU_UNUSABLE', keys, `CPU ${cpu} cannot be used, only CPU ${allowed.join(', ')}`, remedy);
  }

  accounts({ owner, group }: Pick<TapConfig, 'owner' | 'group'>, keys: KeyPath): void {
    this.#account(owner, 'passwd', 'user', [...keys, 'owner']);
    this.#account(group, 'group', 'group', [...keys, 'group']);
  }

  #account(name: string | number | undefined, database: string, what: string, keys: KeyPath): void {
    if (name === undefined || typeof name === 'number') return;
    try {
      execFileSync('getent', [database, name], { stdio: 'ignore' });
    } catch {
      const remedy = `Make the ${what}, or name another.`;
      this.#complain('CONFIG_INVALID', keys, `there is no ${what} ${name} on this machine`, remedy);
    }
  }

  tap(tap: TapConfig, keys: KeyPath): void {
    this.accounts(tap, keys);
    for (const { code, key, text, remedy } of tapFaults(tap)) this.#complain(code, [...keys, key], text, remedy);
  }

  /** The daemon makes it, and everything above it. */
  runDirectory(path: string): void {
    let there = path;
    while (stat(there) === undefined && dirname(there) !== there) there = dirname(there);
    const fault = folderFault(there);
    if (fault === undefined) return;
    this.#complain(
      'SOCKET_PERMISSION',
      ['run_dir'],
      `${there} ${fault}`,
      'Run as root, or choose a folder of your own.',
    );
  }

  socket({ socket = '', role }: DiskConfig | NicConfig, keys: KeyPath, runDirectory: string): void {
    const key = [...keys, 'socket'];
    const folder = dirname(socket);
    if (folder !== runDirectory) {
      const fault = stat(folder) === undefined ? 'does not exist' : role === 'server' ? folderFault(folder) : undefined;
      if (fault !== undefined)
        this.#complain('SOCKET_PERMISSION', key, `${folder} ${fault}`, 'Make the folder, or choose another.');
    }
    const file = stat(socket);
    if (file === undefined || file.isSocket()) return;
    this.#complain(
      'SOCKET_INVALID',
      key,
      `${socket} exists and is no socket`,
      'Choose another path, or remove the file.',
    );
  }

  backend({ backend, read_only }: DiskConfig, keys: KeyPath, label: string): void {
    if (backend.type === 'file') {
      this.#image(backend.path, backend.size, read_only, [...keys, 'backend', 'path'], label);
    } else if (backend.type === 'memory' && backend.size > freemem()) {
      const free = `${sizeText(backend.size)} do not fit the ${sizeText(freemem())} of memory that are free`;
      this.#complain('MEMORY_EXHAUSTED', [...keys, 'backend', 'size'], free, 'Make it smaller, or use a file.');
    }
  }

  #image(path: string, size: number | undefined, readOnly: boolean, keys: KeyPath, label: string): void {
    const file = stat(path);
    if (file === undefined) {
      this.#missingImage(path, size, readOnly, keys);
    } else if (!file.isFile() && !file.isBlockDevice()) {
      this.#complain('IMAGE_INVALID', keys, `${path} is neither a file nor a block device`, 'Name an image.');
    } else {
      this.#presentImage(path, file, size, readOnly, keys);
      this.#sharedImage(path, file, readOnly, keys, label);
    }
  }

  #missingImage(path: string, size: number | undefined, readOnly: boolean, keys: KeyPath): void {
    const folder = dirname(path);
    const fault = folderFault(folder);
    if (accessFault(path, constants.F_OK) === 'EACCES') {
      const remedy = 'Change the mode of the folders above it.';
      this.#complain('IMAGE_PERMISSION', keys, `${path} cannot be reached (EACCES)`, remedy);
    } else if (stat(folder) === undefined) {
      const text = `${path} cannot be: folder ${folder} does not exist`;
      this.#complain('IMAGE_MISSING', keys, text, 'Make the folder, or correct the path.');
    } else if (size === undefined || readOnly) {
      const remedy = readOnly ? '' : ', or give the disk a `size` to have it made';
      this.#complain('IMAGE_MISSING', keys, `${path} does not exist`, `Check the path${remedy}.`);
    } else if (fault !== undefined) {
      const text = `${path} is to be made, but ${folder} ${fault}`;
      this.#complain('IMAGE_PERMISSION', keys, text, 'Choose another folder.');
    }
  }

  #presentImage(path: string, file: Stats, size: number | undefined, readOnly: boolean, keys: KeyPath): void {
    const fault = accessFault(path, readOnly ? constants.R_OK : constants.R_OK | constants.W_OK);
    if (fault !== undefined) {
      const text = `${path} may not be ${readOnly ? 'read' : 'read and written'} (${fault})`;
      const remedy = readOnly ? '' : ', or make the disk `read_only`';
      this.#complain('IMAGE_PERMISSION', keys, text, `Change its owner or mode${remedy}.`);
    }
    const format = accessFault(path, constants.R_OK) === undefined && formatFault(path, size, bytesOf(file));
    if (format) this.#complain('IMAGE_INVALID', keys, format.text, format.remedy);
    const bytesMin = size ?? SECTOR_BYTES;
    if (file.isFile() && file.size < bytesMin && !format) {
      const text = `${path} has ${file.size} bytes, less than the ${bytesMin} of its disk`;
      this.#complain('IMAGE_INVALID', keys, text, 'Is it the right file? If so, grow it (truncate -s).');
    }
  }

  #sharedImage(path: string, file: Stats, readOnly: boolean, keys: KeyPath, label: string): void {
    const id = file.isBlockDevice() ? `device ${file.rdev}` : `${file.dev} ${file.ino}`;
    const other = this.#images.get(id);
    if (other === undefined) {
      this.#images.set(id, { by: label, alone: !readOnly });
    } else if (other.alone || !readOnly) {
      const text = `${path} is the same file as the image of ${other.by}`;
      this.#complain('IMAGE_BUSY', keys, text, 'Give each its own, or make both `read_only`.');
    }
  }
}

/** Undefined if the file is not there, or not to be seen. */
function stat(path: string): Stats | undefined {
  try {
    return statSync(path);
  } catch {
    return undefined;
  }
}

/** Why nothing can be made in a folder. */
function folderFault(path: string): string | undefined {
  if (stat(path)?.isDirectory() === false) return 'is no folder';
  const fault = accessFault(path, constants.W_OK | constants.X_OK);
  return fault && `cannot be written to (${fault})`;
}

function accessFault(path: string, mode: number): string | undefined {
  try {
    accessSync(path, mode);
    return undefined;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code;
  }
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
  const file = backend.type === 'file' ? stat(backend.path) : undefined;
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
