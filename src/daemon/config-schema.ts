import { z } from 'zod';
import { SECTOR_BYTES, SERIAL_BYTES } from '../block/features.js';
import { DISK_BYTES_MAX, MTU_MAX, MTU_MIN, QUEUE_PAIRS_MAX, QUEUES_MAX } from '../limits.js';
import { isStation, parseMac } from '../net/ethernet.js';

const UNITS: Record<string, number> = {
  '': 1,
  KiB: 2 ** 10,
  MiB: 2 ** 20,
  GiB: 2 ** 30,
  TiB: 2 ** 40,
  KB: 1e3,
  MB: 1e6,
  GB: 1e9,
  TB: 1e12,
};

/** Reads "512MiB", "1.5 GiB", "1073741824" or a number as bytes; undefined if it is none of these. */
export function parseSize(text: string | number): number | undefined {
  const match = /^(\d+(?:\.\d+)?)\s*([KMGT]i?B)?$/.exec(String(text).trim());
  const unit = UNITS[match?.[2] ?? ''];
  return match?.[1] === undefined || unit === undefined ? undefined : Math.floor(Number(match[1]) * unit);
}

/** Why a number of bytes is no disk; undefined if it is one. */
function sizeFault(text: string | number, bytes: number | undefined): string | undefined {
  const shown = JSON.stringify(text);
  if (bytes === undefined) return `${shown} is no size: write "10GiB", "512MiB" or a number of bytes`;
  if (bytes > DISK_BYTES_MAX) return `${shown} is too large: ${DISK_BYTES_MAX} bytes is the limit`;
  if (bytes < SECTOR_BYTES) return `${shown} is too small: a disk has at least ${SECTOR_BYTES} bytes`;
  if (bytes % SECTOR_BYTES === 0) return undefined;
  const next = Math.ceil(bytes / SECTOR_BYTES) * SECTOR_BYTES;
  return `${shown} is ${bytes} bytes, which is no multiple of ${SECTOR_BYTES}: write ${next}`;
}

/** Reads the size of a disk, or says why it is none. */
export function readSize(text: string | number): { bytes: number; fault?: string } {
  const bytes = parseSize(text);
  const fault = sizeFault(text, bytes);
  return fault === undefined ? { bytes: bytes! } : { bytes: 0, fault };
}

const size = z.union([z.string(), z.number()]).transform((text, context) => {
  const { bytes, fault } = readSize(text);
  if (fault === undefined) return bytes;
  context.addIssue(fault);
  return z.NEVER;
});

const name = z
  .string()
  .regex(
    /^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$/,
    'a name has letters, digits, - and _, begins with a letter or digit, and has at most 63',
  )
  // `constructor` and the like: names become keys of objects, here and in programs that read `status`.
  .refine((text) => !(text in {}), 'this name is taken: choose another');

const path = z
  .string()
  .min(1, 'is empty')
  .refine((text) => !text.includes('\0'), 'no path has a NUL in it');

/** YAML reads a bare `type: null` as no value at all, where the back end is meant. */
function nameNull(backend: unknown): unknown {
  const isNull = typeof backend === 'object' && backend !== null && 'type' in backend && backend.type === null;
  return isNull ? { ...backend, type: 'null' } : backend;
}

const backend = z.preprocess(
  nameNull,
  z.discriminatedUnion('type', [
    z.strictObject({ type: z.literal('null'), size }),
    z.strictObject({ type: z.literal('memory'), size }),
    z.strictObject({
      type: z.literal('file'),
      path,
      size: size.optional(),
      direct: z.boolean().optional(),
      engine: z.enum(['auto', 'io_uring', 'sync']).optional(),
    }),
  ]),
);

const disk = z.strictObject({
  backend,
  read_only: z.boolean().default(false),
  block_size: z.literal([512, 4096]).default(512),
  queues: z.int().min(1).max(QUEUES_MAX).default(1),
  serial: z
    .string()
    .regex(
      new RegExp(`^[ -~]{1,${SERIAL_BYTES}}$`),
      `a serial number has 1 to ${SERIAL_BYTES} printable ASCII characters`,
    )
    .optional(),
  cache: z.enum(['writeback', 'writethrough']).default('writeback'),
  socket: path.optional(),
  role: z.enum(['server', 'client']).default('server'),
});

const isCard = (text: string) => {
  const mac = parseMac(text);
  return mac !== undefined && isStation(mac.high, mac.low);
};

const nic = z.strictObject({
  network: name.default('lan'),
  mac: z.string().refine(isCard, 'expects an address of one card, like "52:54:00:12:34:56"').optional(),
  mtu: z.int().min(MTU_MIN).max(MTU_MAX).default(1500),
  queue_pairs: z.int().min(1).max(QUEUE_PAIRS_MAX).default(1),
  speed: z.int().min(1).max(1_000_000).default(10_000),
  socket: path.optional(),
  role: z.enum(['server', 'client']).default('server'),
});

const vm = z.strictObject({
  unsealed_memory: z.enum(['refuse', 'allow']).default('refuse'),
  disks: z.record(name, disk).default({}),
  nics: z.record(name, nic).default({}),
});

/** A user or group: its name, or its number (-1 is the kernel's "leave it"). */
const account = z.union(
  [
    z.string().min(1),
    z
      .int()
      .min(0)
      .max(2 ** 32 - 2),
  ],
  'expects a name or a number',
);

const socket = z
  .strictObject({
    owner: account.optional(),
    group: account.optional(),
    mode: z
      .unknown()
      .transform((text, context) => {
        // YAML reads 0660 as a number in base 8 or 10, depending on its version: only a string is unambiguous.
        if (typeof text === 'string' && /^0?[0-7]{3}$/.test(text)) return Number.parseInt(text, 8);
        context.addIssue('expects octal digits in quotes, like "0660"');
        return z.NEVER;
      })
      .optional(),
  })
  .default({});

/** The whole configuration. `docs/configuration.md` says what the keys mean. */
export const configSchema = z.strictObject({
  run_dir: path.default('/run/sidecore'),
  cores: z.array(z.int().min(0).max(1023)).min(1, 'name at least one CPU').default([1]),
  mode: z.enum(['sidecore', 'adaptive', 'baseline']).default('sidecore'),
  sqpoll_cpu: z.int().min(0).max(1023).optional(),
  log: z.enum(['error', 'warn', 'info', 'debug']).default('info'),
  socket,
  vms: z.record(name, vm).default({}),
});

/** A whole configuration, defaults filled in, all paths absolute. */
export type Config = z.output<typeof configSchema>;
export type DiskConfig = z.output<typeof disk>;
export type NicConfig = z.output<typeof nic>;
export type VmConfig = Config['vms'][string];

const EXPECTED: Record<string, string> = {
  string: 'text',
  number: 'a number',
  int: 'a whole number',
  boolean: 'true or false',
  array: 'a list',
  object: 'keys and values',
  record: 'keys and values',
};

/** Says in plain English what a value should have been; undefined leaves it to the schema's own words. */
export function explain(issue: z.core.$ZodRawIssue): string | undefined {
  const { input } = issue;
  switch (issue.code) {
    case 'invalid_type':
      return expects(EXPECTED[issue.expected] ?? issue.expected, input);
    case 'invalid_value':
      return expects(oneOf(issue.values), input);
    case 'invalid_union': {
      const { discriminator, options } = issue;
      if (discriminator === undefined) return expects('text or a number', input);
      return expects(oneOf(options as string[]), (input as Record<string, unknown>)[discriminator]);
    }
    case 'too_small':
      return expects(`at least ${issue.minimum}`, input);
    case 'too_big':
      return expects(`at most ${issue.maximum}`, input);
    case 'invalid_key':
      return issue.issues[0]?.message;
    case 'unrecognized_keys': {
      const known = issue.inst instanceof z.ZodObject ? Object.keys(issue.inst.shape) : [];
      return `unknown key; known here: ${known.join(', ')}`;
    }
    default:
      return undefined;
  }
}

function expects(what: string, input: unknown): string {
  if (input === undefined) return `is missing: expects ${what}`;
  if (input === null) return `has no value: expects ${what}`;
  return `expects ${what}, not ${show(input)}`;
}

function oneOf(values: readonly unknown[]): string {
  const shown = values.map((value) => String(value));
  const last = shown.pop();
  return shown.length === 0 ? String(last) : `${shown.join(', ')} or ${last}`;
}

function show(value: unknown): string {
  if (typeof value !== 'object' || value === null) return JSON.stringify(value) ?? String(value);
  return Array.isArray(value) ? 'a list' : 'keys and values';
}
