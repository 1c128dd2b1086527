import { readFileSync } from 'node:fs';
import { dirname, isAbsolute, join, resolve } from 'node:path';
import { isMap, LineCounter, type Node, parseDocument } from 'yaml';
import { z } from 'zod';
import { SidecoreError } from '../errors.js';
import { SECTOR_BYTES, SERIAL_BYTES } from '../block/features.js';
import { DISK_BYTES_MAX, QUEUES_MAX } from '../limits.js';

const UNITS: Record<string, number> = { '': 1, KiB: 2 ** 10, MiB: 2 ** 20, GiB: 2 ** 30, TiB: 2 ** 40, KB: 1e3, MB: 1e6, GB: 1e9, TB: 1e12 };

/** Reads "512MiB", "1.5 GiB", "1073741824" or a number as bytes; undefined if it is none of these. */
export function parseSize(text: string | number): number | undefined {
  const match = /^(\d+(?:\.\d+)?)\s*([KMGT]i?B)?$/.exec(String(text).trim());
  const unit = UNITS[match?.[2] ?? ''];
  return match?.[1] === undefined || unit === undefined ? undefined : Math.floor(Number(match[1]) * unit);
}

const size = z
  .union([z.string(), z.number()])
  .transform((text, context) => {
    const bytes = parseSize(text);
    if (bytes !== undefined && bytes >= SECTOR_BYTES && bytes <= DISK_BYTES_MAX && bytes % SECTOR_BYTES === 0) return bytes;
    context.addIssue(`not a size: ${JSON.stringify(text)}. Write "10GiB", "512MiB" or bytes, a multiple of ${SECTOR_BYTES}`);
    return z.NEVER;
  })
  .describe('bytes, or a number with KiB, MiB, GiB, TiB');

const name = z.string().regex(/^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$/, 'a name has letters, digits, - and _, at most 63');

const backend = z.discriminatedUnion('type', [
  z.strictObject({ type: z.literal('null'), size }),
  z.strictObject({ type: z.literal('memory'), size }),
  z.strictObject({
    type: z.literal('file'),
    path: z.string().min(1),
    size: size.optional().describe('makes a sparse image of this size if there is none'),
    direct: z.boolean().optional().describe('O_DIRECT: past the page cache'),
    engine: z.enum(['auto', 'io_uring', 'sync']).optional(),
    sqpoll: z.boolean().optional().describe('a kernel thread submits; needs a CPU of its own'),
  }),
]);

const disk = z.strictObject({
  backend,
  read_only: z.boolean().default(false),
  block_size: z.union([z.literal(512), z.literal(4096)]).default(512),
  queues: z.int().min(1).max(QUEUES_MAX).default(1),
  serial: z.string().max(SERIAL_BYTES).optional(),
  cache: z.enum(['writeback', 'writethrough']).default('writeback'),
  socket: z.string().min(1).optional(),
  role: z.enum(['server', 'client']).default('server'),
});

const socket = z
  .strictObject({
    owner: z.union([z.string(), z.int()]).optional(),
    group: z.union([z.string(), z.int()]).optional(),
    mode: z
      .union([z.string(), z.int()])
      .transform((text, context) => {
        // YAML reads 0660 as a number in base 8 or 10, depending on its version: only a string is unambiguous.
        if (typeof text === 'string' && /^0?[0-7]{3}$/.test(text)) return Number.parseInt(text, 8);
        context.addIssue('write the mode as a string of octal digits: "0660"');
        return z.NEVER;
      })
      .optional(),
  })
  .default({});

const schema = z.strictObject({
  run_dir: z.string().min(1).default('/run/sidecore'),
  cores: z.array(z.int().min(0).max(1023)).min(1, 'name at least one CPU').default([1]),
  mode: z.enum(['sidecore', 'adaptive', 'baseline']).default('sidecore'),
  log: z.enum(['error', 'warn', 'info', 'debug']).default('info'),
  socket,
  vms: z
    .record(name, z.strictObject({ unsealed_memory: z.enum(['refuse', 'allow']).default('refuse'), disks: z.record(name, disk).default({}) }))
    .default({}),
});

/** A whole configuration, defaults filled in, all paths absolute. */
export type Config = z.output<typeof schema>;
export type DiskConfig = z.output<typeof disk>;
export type VmConfig = Config['vms'][string];

/** Reads and checks a configuration file. Throws one error that names file, line and key of everything that is wrong. */
export function loadConfig(path: string): Config {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    throw new SidecoreError(
      'CONFIG_UNREADABLE',
      `cannot read ${path}: ${(error as NodeJS.ErrnoException).code ?? error}`,
      'Name the configuration with -c FILE. examples/ has some to start from.',
    );
  }
  return parseConfig(text, path);
}

/** The same for the text of a configuration. Relative paths start at the file's folder. */
export function parseConfig(text: string, path: string): Config {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false });
  const at = (offset: number | undefined) => (offset === undefined ? path : `${path}:${lines.linePos(offset).line}`);
  if (document.errors.length > 0) {
    throw invalid(document.errors.map((error) => `${at(error.pos[0])}: ${error.message}`));
  }
  const result = schema.safeParse(document.toJS() ?? {});
  if (!result.success) {
    throw invalid(
      result.error.issues.flatMap((issue) => {
        const keys = issue.path as (string | number)[];
        if (issue.code === 'unrecognized_keys') {
          return issue.keys.map((key) => `${at(offsetOf(document.contents, [...keys, key]))}: ${[...keys, key].join('.')}: unknown key`);
        }
        return [`${at(offsetOf(document.contents, keys))}: ${keys.join('.') || 'configuration'}: ${issue.message}`];
      }),
    );
  }
  return complete(result.data, path, (keys) => at(offsetOf(document.contents, keys)));
}

function invalid(problems: readonly string[]): SidecoreError {
  return new SidecoreError('CONFIG_INVALID', problems.join('\n'), 'docs/configuration.md lists every key.');
}

/** Where a key stands in the text; the nearest one above it that is there. */
function offsetOf(root: Node | null, keys: readonly (string | number)[]): number | undefined {
  let node: unknown = root;
  let offset = root?.range?.[0];
  for (const key of keys) {
    if (isMap(node)) {
      const pair = node.items.find((item) => String((item.key as { value?: unknown }).value) === String(key));
      if (pair === undefined) return offset;
      offset = (pair.key as Node).range?.[0] ?? offset;
      node = pair.value;
    } else {
      node = (node as { get?: (key: string | number, keep: boolean) => unknown } | null)?.get?.(key, true);
      offset = (node as Node | undefined)?.range?.[0] ?? offset;
    }
  }
  return offset;
}

/** Makes paths absolute and checks what concerns several keys. */
function complete(config: Config, path: string, at: (keys: (string | number)[]) => string): Config {
  const base = dirname(resolve(path));
  const absolute = (file: string) => (isAbsolute(file) ? file : join(base, file));
  const problems: string[] = [];
  if (new Set(config.cores).size !== config.cores.length) problems.push(`${at(['cores'])}: cores: a CPU is named twice`);
  config.run_dir = absolute(config.run_dir);
  const sockets = new Map<string, string>();
  const images = new Map<string, string>();
  const claim = (taken: Map<string, string>, file: string, keys: string[]) => {
    const other = taken.get(file);
    if (other !== undefined) problems.push(`${at(keys)}: ${keys.join('.')}: ${file} is used by ${other} already`);
    taken.set(file, keys.slice(1, 4).join('.'));
  };
  for (const [vm, { disks }] of Object.entries(config.vms)) {
    for (const [name, disk] of Object.entries(disks)) {
      const keys = ['vms', vm, 'disks', name];
      disk.socket = absolute(disk.socket ?? join(config.run_dir, `${vm}.${name}.sock`));
      claim(sockets, disk.socket, [...keys, 'socket']);
      if (disk.backend.type !== 'file') continue;
      disk.backend.path = absolute(disk.backend.path);
      if (!disk.read_only) claim(images, disk.backend.path, [...keys, 'backend', 'path']);
    }
  }
  if (problems.length > 0) throw invalid(problems);
  return config;
}
