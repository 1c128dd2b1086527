import { execFileSync } from 'node:child_process';
import { constants, type Stats } from 'node:fs';
import { freemem } from 'node:os';
import { dirname } from 'node:path';
import { formatFault } from '../block/backends/file/format.js';
import type { FileOptions } from '../block/backends/file/open.js';
import { bytesOf } from '../block/backends/file/probe.js';
import { SECTOR_BYTES } from '../block/features.js';
import type { Config, DiskConfig, NicConfig, TapConfig } from '../daemon/config.js';
import type { ConfigProblem, ConfigText, KeyPath } from '../daemon/config-text.js';
import { type ConfigWarning, warning } from '../daemon/config-warnings.js';
import type { ErrorCode } from '../errors.js';
import { allowedCpus } from '../host/affinity.js';
import { accessFault, folderFault, nearestFolder, statIfThere } from '../host/file-faults.js';
import { type FoundFilters, lookAtCardFilters, lookAtDiskFilters } from './check-filters.js';
import { tapFaults } from './check-tap.js';
import { sizeText } from './table.js';

/** What is wrong with a configuration on this machine, and what is hardly meant. */
interface Inspection {
  readonly problems: ConfigProblem[];
  readonly warnings: ConfigWarning[];
}

/** Holds a configuration against this machine, as the user who asks. Opens, makes and changes nothing. */
export function inspect(config: Config, text: ConfigText): Inspection {
  const inspector = new Inspector(text);
  config.cores.forEach((cpu, index) => inspector.cpu(cpu, ['cores', index]));
  if (config.sqpoll_cpu !== undefined) inspector.cpu(config.sqpoll_cpu, ['sqpoll_cpu']);
  inspector.accounts(config.socket, ['socket']);
  inspector.runDirectory(config.run_dir);
  for (const [vm, { disks, nics }] of Object.entries(config.vms)) {
    for (const [name, disk] of Object.entries(disks)) {
      const keys = ['vms', vm, 'disks', name];
      inspector.socket(disk, keys, config.run_dir);
      const isSound = inspector.backend(disk, keys, `${vm}/${name}`);
      inspector.filters(lookAtDiskFilters(vm, name, config, isSound), keys, `${vm}/${name}`);
    }
    for (const [name, nic] of Object.entries(nics)) {
      const keys = ['vms', vm, 'nics', name];
      inspector.socket(nic, keys, config.run_dir);
      inspector.filters(lookAtCardFilters(vm, name, nic), keys, `${vm}/${name}`);
    }
  }
  for (const [network, { ports }] of Object.entries(config.networks)) {
    for (const [name, port] of Object.entries(ports))
      if (port.type === 'tap') inspector.tap(port, ['networks', network, 'ports', name]);
  }
  const problems = inspector.problems.sort((one, other) => one.line - other.line);
  return { problems, warnings: inspector.warnings };
}

class Inspector {
  readonly problems: ConfigProblem[] = [];
  readonly warnings: ConfigWarning[] = [];
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
    const there = nearestFolder(path);
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
      const fault =
        statIfThere(folder) === undefined ? 'does not exist' : role === 'server' ? folderFault(folder) : undefined;
      if (fault !== undefined)
        this.#complain('SOCKET_PERMISSION', key, `${folder} ${fault}`, 'Make the folder, or choose another.');
    }
    const file = statIfThere(socket);
    if (file === undefined || file.isSocket()) return;
    this.#complain(
      'SOCKET_INVALID',
      key,
      `${socket} exists and is no socket`,
      'Choose another path, or remove the file.',
    );
  }

  /** Returns whether nothing is wrong with it. */
  backend({ backend, read_only }: DiskConfig, keys: KeyPath, label: string): boolean {
    const before = this.problems.length;
    if (backend.type === 'file') {
      const { path, size } = backend;
      const readOnly = read_only || backend.read_only;
      this.#image({ type: 'file', path, size, readOnly }, [...keys, 'backend', 'path'], `the image of ${label}`);
    } else if (backend.type === 'memory' && backend.size > freemem()) {
      const free = `${sizeText(backend.size)} do not fit the ${sizeText(freemem())} of memory that are free`;
      this.#complain('MEMORY_EXHAUSTED', [...keys, 'backend', 'size'], free, 'Make it smaller, or use a file.');
    }
    return this.problems.length === before;
  }

  /** What a device's filters have to say, and the images that they want for themselves. */
  filters({ faults, notes, disks }: FoundFilters, keys: KeyPath, label: string): void {
    for (const { keys: own, error } of faults)
      this.#complain(error.code, [...keys, ...own], error.message, error.remedy);
    for (const { keys: own, text } of notes) this.warnings.push(warning(this.#text, [...keys, ...own], text));
    for (const { keys: own, use, options } of disks)
      this.#image(options, [...keys, ...own], `that of the filter ${use} of ${label}`);
  }

  #image(options: FileOptions, keys: KeyPath, by: string): void {
    const { path, size, readOnly = false } = options;
    const file = statIfThere(path);
    if (file === undefined) {
      this.#missingImage(options, keys);
    } else if (!file.isFile() && !file.isBlockDevice()) {
      this.#complain('IMAGE_INVALID', keys, `${path} is neither a file nor a block device`, 'Name an image.');
      return;
    } else {
      this.#presentImage(path, file, size, readOnly, keys);
    }
    this.#sharedImage(path, file, readOnly, keys, by);
  }

  #missingImage({ path, size, readOnly = false, makesFolder = false }: FileOptions, keys: KeyPath): void {
    const folder = makesFolder ? nearestFolder(dirname(path)) : dirname(path);
    const fault = folderFault(folder);
    if (accessFault(path, constants.F_OK) === 'EACCES') {
      const remedy = 'Change the mode of the folders above it.';
      this.#complain('IMAGE_PERMISSION', keys, `${path} cannot be reached (EACCES)`, remedy);
    } else if (statIfThere(folder) === undefined) {
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

  #sharedImage(path: string, file: Stats | undefined, readOnly: boolean, keys: KeyPath, by: string): void {
    const id = file === undefined ? path : file.isBlockDevice() ? `device ${file.rdev}` : `${file.dev} ${file.ino}`;
    const other = this.#images.get(id);
    if (other === undefined) {
      this.#images.set(id, { by, alone: !readOnly });
    } else if (other.alone || !readOnly) {
      const text = `${path} is the same file as ${other.by}`;
      this.#complain('IMAGE_BUSY', keys, text, 'Give each its own, or make both `read_only`.');
    }
  }
}
