/** Values that keys of several kinds have. */
import { z } from 'zod';
import { SECTOR_BYTES } from '../block/features.js';
import { DISK_BYTES_MAX } from '../limits.js';
import { formatMac, isStation, parseMac } from '../net/ethernet.js';

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

export const size = z.union([z.string(), z.number()]).transform((text, context) => {
  const { bytes, fault } = readSize(text);
  if (fault === undefined) return bytes;
  context.addIssue(fault);
  return z.NEVER;
});

export const name = z
  .string()
  .regex(
    /^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$/,
    'a name has letters, digits, - and _, begins with a letter or digit, and has at most 63',
  )
  // `constructor` and the like: names become keys of objects, here and in programs that read `status`.
  .refine((text) => !(text in {}), 'this name is taken: choose another');

export const path = z
  .string()
  .min(1, 'is empty')
  .refine((text) => !text.includes('\0'), 'no path has a NUL in it');

/** A user or group: its name, or its number (-1 is the kernel's "leave it"). */
export const account = z.union(
  [
    z.string().min(1),
    z
      .int()
      .min(0)
      .max(2 ** 32 - 2),
  ],
  'expects a name or a number',
);

/** Who of the two makes a vhost-user socket. */
export const role = z.enum(['server', 'client']).default('server');

/** The address of a card, in the one way of writing it that we use. */
export const station = z.string().transform((text, context) => {
  const mac = parseMac(text);
  if (mac !== undefined && isStation(mac.high, mac.low)) return formatMac(mac.high, mac.low);
  const shown = JSON.stringify(text);
  const nobody = mac !== undefined && mac.high === 0 && mac.low === 0;
  const why = nobody ? `: ${shown} is nobody's` : `: ${shown} is that of a group (its first byte is odd)`;
  context.addIssue(
    `expects an address of one card, like "52:54:00:12:34:56"${mac === undefined ? `, not ${shown}` : why}`,
  );
  return z.NEVER;
});
