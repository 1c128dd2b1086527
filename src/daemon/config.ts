import { createHash } from 'node:crypto';
import { dirname, join, resolve } from 'node:path';
import { SERIAL_BYTES } from '../block/features.js';
import { SidecoreError } from '../errors.js';
import { explain } from '../filter/explain.js';
import { snapshot } from '../filters/block/snapshot/filter.js';
import { snapshotView } from '../filters/block/snapshot/view.js';
import { SOCKET_PATH_BYTES_MAX } from '../host/unix-socket.js';
import { MAC_PORTS_MAX, NETWORKS_MAX } from '../limits.js';
import { copyProblems } from './config-copies.js';
import type { DiskConfig } from './config-disks.js';
import { BLOCK_MAKER, completeFilters, FRAME_MAKER, isQuarantined, ownFilter } from './config-filters.js';
import type { GeneratorConfig, NicConfig, PortConfig } from './config-networks.js';
import { type Config, configSchema } from './config-schema.js';
import { type ConfigProblem, ConfigText, type KeyPath, problemLine, readConfigFile } from './config-text.js';

export type { DiskConfig } from './config-disks.js';
export { type GeneratorConfig, type NicConfig, type PortConfig, portVlans, type TapConfig } from './config-networks.js';
export type { Config, VmConfig } from './config-schema.js';
export { parseSize, readSize } from './config-values.js';

/** A configuration and its text; without a configuration if anything is wrong with it. */
export interface ReadConfig {
  readonly config: Config | undefined;
  readonly text: ConfigText;
  readonly problems: readonly ConfigProblem[];
}

/** Reads and checks a configuration file. Throws one error that names file, line and key of everything that is wrong. */
export function loadConfig(path: string): Config {
  return loadConfigText(path).config;
}

/** The same, with where its keys stand. */
export function loadConfigText(path: string): { config: Config; text: ConfigText } {
  return good(readConfig(readConfigFile(path), path));
}

/** The same for the text of a configuration. Relative paths start at the file's folder. */
export function parseConfig(text: string, path: string): Config {
  return good(readConfig(text, path)).config;
}

function good({ config, text, problems }: ReadConfig): { config: Config; text: ConfigText } {
  if (config !== undefined) return { config, text };
  throw new SidecoreError(
    'CONFIG_INVALID',
    problems.map(problemLine).join('\n'),
    'docs/configuration.md lists every key.',
  );
}

/** The same, without throwing: for `check`, which knows of more that can be wrong. */
export function readConfig(text: string, path: string): ReadConfig {
  const source = new ConfigText(text, path);
  if (source.problems.length > 0) return { config: undefined, text: source, problems: source.problems };
  const result = configSchema.safeParse(source.value, { error: explain });
  const problems = result.success
    ? complete(result.data, source)
    : result.error.issues.flatMap((issue) => fromIssue(issue, source));
  problems.sort((one, other) => one.line - other.line);
  return { config: problems.length === 0 ? result.data : undefined, text: source, problems };
}

/** An issue of the schema; unknown keys are one problem each. */
function fromIssue(
  issue: { code: string; path: PropertyKey[]; message: string; keys?: string[] },
  source: ConfigText,
): ConfigProblem[] {
  const keys = issue.path as (string | number)[];
  if (issue.keys === undefined) return [source.problem(keys, issue.message)];
  return issue.keys.map((key) => source.problem([...keys, key], issue.message));
}

/** Notes a problem of a key. */
type Complain = (keys: KeyPath, text: string) => void;

/** Fills in what depends on other keys, makes paths absolute, and checks what concerns several keys. */
function complete(config: Config, source: ConfigText): ConfigProblem[] {
  const problems: ConfigProblem[] = [];
  const complain: Complain = (keys, text) => problems.push(source.problem(keys, text));
  const base = dirname(resolve(source.file));
  config.run_dir = resolve(base, config.run_dir);
  config.cores.forEach((cpu, index) => {
    if (config.cores.indexOf(cpu) !== index) complain(['cores', index], `CPU ${cpu} is named twice`);
  });
  requireCoresMin(config, complain);
  requireByteOrder(config, source, complain);
  const claims = new Claims(complain);
  const control = join(config.run_dir, 'control.sock');
  requireShortPath(control, SOCKET_PATH_BYTES_MAX, ['run_dir'], complain);
  claims.take(control, ['run_dir'], 'the control socket', true);
  const completeSocket = (device: DiskConfig | NicConfig, what: 'disk' | 'card', label: string, keys: KeyPath) => {
    device.socket = resolve(base, device.socket ?? join(config.run_dir, `${label.replace('/', '.')}.sock`));
    requireShortPath(device.socket, DEVICE_SOCKET_BYTES_MAX[device.role], [...keys, 'socket'], complain);
    claims.take(device.socket, [...keys, 'socket'], `the ${what} ${label}`, true);
  };
  for (const [vm, { disks, nics }] of Object.entries(config.vms)) {
    for (const [name, disk] of Object.entries(disks)) {
      const keys = ['vms', vm, 'disks', name];
      const label = `${vm}/${name}`;
      disk.serial ??= serialOf(label, name);
      completeSocket(disk, 'disk', label, keys);
      completeBackend(disk, keys, base, complain);
      problems.push(...completeFilters(BLOCK_MAKER, disk.filters, keys, base, source));
      if (disk.backend.type === 'file')
        claims.take(
          disk.backend.path,
          [...keys, 'backend', 'path'],
          `the disk ${label}`,
          !disk.read_only && !disk.backend.read_only,
        );
    }
    for (const [name, nic] of Object.entries(nics)) {
      const keys = ['vms', vm, 'nics', name];
      const label = `${vm}/${name}`;
      nic.mac ??= macOf(label);
      completeSocket(nic, 'card', label, keys);
      problems.push(...completeFilters(FRAME_MAKER, nic.filters, keys, base, source));
      requireOneVlanKey(nic, keys, complain);
      claims.take(claimOf(nic.network, nic.mac), [...keys, 'mac'], `the card ${label}`, true);
    }
  }
  completeViews(config, complain);
  completeNetworks(config, claims, complain);
  requirePortNumbers(config, complain);
  problems.push(...copyProblems(config, source));
  return problems;
}

/** How many devices have a sidecore of their own for their filters' sake. */
export function countQuarantines({ vms }: Pick<Config, 'vms'>): number {
  const devices = Object.values(vms).flatMap(({ disks, nics }) => [...Object.values(disks), ...Object.values(nics)]);
  return devices.filter(({ filters }) => isQuarantined(filters)).length;
}

/** Sidecores are taken out of use only where what they serve can move. */
function requireCoresMin({ cores, cores_min: coresMin, balance, mode }: Config, complain: Complain): void {
  if (coresMin === undefined) return;
  const { length } = cores;
  if (coresMin > length) complain(['cores_min'], `at most ${length}, the number of CPUs under \`cores\``);
  if (coresMin < length && !balance)
    complain(
      ['cores_min'],
      `fewer than all ${length} under \`cores\` need \`balance\`, by which queues move: leave one of the two out`,
    );
  if (mode === 'baseline')
    complain(['cores_min'], 'not in mode baseline, where each device has a thread of its own: leave it out');
}

/** Told at the key that is written, if only one is. */
function requireByteOrder({ scheduler }: Config, source: ConfigText, complain: Complain): void {
  const { min_bytes: min, max_bytes: max } = scheduler;
  if (min <= max) return;
  const written = (source.value as { scheduler?: { min_bytes?: unknown } }).scheduler;
  if (written?.min_bytes === undefined) complain(['scheduler', 'max_bytes'], `at least ${min}, which is \`min_bytes\``);
  else complain(['scheduler', 'min_bytes'], `at most ${max}, which is \`max_bytes\``);
}

/** Every card and port has a number of its own, and so has the way to every sidecore, from the other end. */
function requirePortNumbers({ vms, networks, cores, cores_min: coresMin, mode }: Config, complain: Complain): void {
  const count = (things: object[]) => things.reduce((sum, named) => sum + Object.keys(named).length, 0);
  const cards = count(Object.values(vms).map(({ nics }) => nics));
  const ports = cards + count(Object.values(networks).map(({ ports }) => ports));
  const disks = count(Object.values(vms).map(({ disks }) => disks));
  const others = (coresMin === 0 ? 1 : 0) + countQuarantines({ vms });
  const sidecores = mode === 'baseline' ? disks + ports : cores.length + others;
  if (ports === 0 || ports + sidecores <= MAC_PORTS_MAX) return;
  const all = `network cards and ports (${ports}) and sidecores (${sidecores})`;
  complain(
    ['vms'],
    `at most ${MAC_PORTS_MAX} ${all} together${mode === 'baseline' ? '; in mode baseline each device has one' : ''}`,
  );
}

/** The networks' ports, and the networks that only cards name. */
function completeNetworks(config: Config, claims: Claims, complain: Complain): void {
  const networks = { ...config.networks };
  for (const { nics } of Object.values(config.vms))
    for (const { network } of Object.values(nics)) networks[network] ??= { ports: {} };
  config.networks = networks;
  const count = Object.keys(networks).length;
  if (count > NETWORKS_MAX) complain(['networks'], `at most ${NETWORKS_MAX} networks, these are ${count}`);
  for (const [network, { ports }] of Object.entries(networks)) {
    for (const [name, port] of Object.entries(ports)) {
      const keys = ['networks', network, 'ports', name];
      const label = `port ${name} of network ${network}`;
      requireOneVlanKey(port, keys, complain);
      if (port.type === 'tap') claims.take(`network device ${port.device}`, [...keys, 'device'], label, true);
      else completeGenerator(port, label);
      if (port.mac !== undefined) claims.take(claimOf(network, port.mac), [...keys, 'mac'], label, true);
    }
  }
}

/** Its own address, and one that is nobody's. */
function completeGenerator(generator: GeneratorConfig, label: string): void {
  generator.mac ??= macOf(label);
  generator.destination ??= macOf(`${label}, destination`);
}

function requireOneVlanKey({ vlan, trunk }: NicConfig | PortConfig, keys: KeyPath, complain: Complain): void {
  if (vlan !== undefined && trunk !== undefined)
    complain([...keys, 'trunk'], 'a port has either `vlan` or `trunk`: leave one of them out');
}

/** The disk that another one shows a snapshot of, and its filter `snapshot`; undefined if there is none. */
export function sourceOf(of: string, { vms }: Pick<Config, 'vms'>) {
  const [vm, name] = of.split('/') as [string, string];
  const disk = vms[vm]?.disks[name];
  const filter = disk?.filters.find(({ use }) => use === snapshot.name);
  return disk && filter && { disk, filter };
}

/** What shows a snapshot of another disk needs that disk, and a view as part of its back end. */
function completeViews(config: Config, complain: Complain): void {
  for (const [vm, { disks }] of Object.entries(config.vms)) {
    for (const [name, { backend }] of Object.entries(disks)) {
      if (backend.type !== 'snapshot') continue;
      const { of } = backend;
      const { ready } = sourceOf(of, config)?.filter ?? {};
      // Of one with wrong options these are told.
      if (ready !== undefined) {
        const { path } = ready.options as { path: string };
        backend.view = ownFilter(snapshotView, { of, name: backend.name, path }, ready.base);
      } else if (sourceOf(of, config) === undefined) {
        complain(['vms', vm, 'disks', name, 'backend', 'of'], `there is no disk ${of} with the filter snapshot`);
      }
    }
  }
}

function completeBackend(disk: DiskConfig, keys: KeyPath, base: string, complain: Complain): void {
  const { backend, block_size } = disk;
  if (backend.type === 'file') backend.path = resolve(base, backend.path);
  if (backend.size === undefined || backend.size % block_size === 0) return;
  complain(
    [...keys, 'backend', 'size'],
    `${backend.size} bytes are no multiple of the disk's block_size, ${block_size}`,
  );
}

/** An address as it is spoken for: in its network only. */
const claimOf = (network: string, mac: string) => `in network ${network}, ${mac}`;

/** Paths and other names that are spoken for, and by whom. Several may read one, but a writer has it alone. */
class Claims {
  readonly #complain: Complain;
  readonly #taken = new Map<string, { by: string; alone: boolean }>();

  constructor(complain: Complain) {
    this.#complain = complain;
  }

  take(path: string, keys: KeyPath, by: string, alone: boolean): void {
    const other = this.#taken.get(path);
    if (other === undefined) this.#taken.set(path, { by, alone });
    else if (alone || other.alone) this.#complain(keys, `${path} is used by ${other.by} already`);
  }
}

/** A device's listening socket is made under a name that is one byte longer, and moved into place. */
const DEVICE_SOCKET_BYTES_MAX = { server: SOCKET_PATH_BYTES_MAX - 1, client: SOCKET_PATH_BYTES_MAX };

function requireShortPath(path: string, bytesMax: number, keys: KeyPath, complain: Complain): void {
  const bytes = Buffer.byteLength(path);
  if (bytes > bytesMax) complain(keys, `a socket path has at most ${bytesMax} bytes, this has ${bytes}: ${path}`);
}

/**
 * The serial number of a disk that is given none: as much of its label as fits, and never the same for two disks of a VM,
 * because guests find disks by it.
 */
function serialOf(label: string, name: string): string {
  if (label.length <= SERIAL_BYTES) return label;
  if (name.length <= SERIAL_BYTES) return name;
  const hash = createHash('sha256').update(name).digest('hex').slice(0, 8);
  return `${name.slice(0, SERIAL_BYTES - hash.length - 1)}-${hash}`;
}

/** The address of a card that is given none: always the same for the same card. QEMU's prefix for local addresses. */
function macOf(label: string): string {
  const hash = createHash('sha256').update(label).digest('hex');
  return `52:54:00:${hash.slice(0, 2)}:${hash.slice(2, 4)}:${hash.slice(4, 6)}`;
}
