import { closeSync, fsyncSync, openSync, readFileSync, renameSync, writeSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { z } from 'zod';
import { SidecoreError } from '../../../errors.js';
import { syncFolder } from '../clusters/map-file.js';

/** Letters, digits, `.`, `_` and `-`. */
export const SNAPSHOT_NAME = /^[A-Za-z0-9][\w.-]{0,63}$/;

const entry = z.strictObject({
  /** Null of a store whose snapshot was deleted, and that older ones still need. */
  name: z.string().nullable(),
  slot: z.int().min(0),
  /** ISO 8601 */
  created: z.string(),
  /** Old content is missing: it is no snapshot any more. */
  damaged: z.boolean(),
});

const manifest = z.strictObject({
  version: z.literal(1),
  /** The run of the kernel in which copies are being made; null if all are on stable storage. */
  open: z.string().nullable(),
  /** Copies were durable before what they are of was overwritten. */
  power_safe: z.boolean(),
  /** When the disk was last written when the filter let go of it, as its image says; null if that is not known. */
  stamp: z.string().nullable(),
  /** The slot of the snapshot that the disk is going back to. */
  merging: z.int().nullable(),
  /** Oldest first. */
  stores: z.array(entry),
});

export type Manifest = z.output<typeof manifest>;
export type StoreEntry = z.output<typeof entry>;

/** Where a disk's snapshots are: their data, the bits that say which, and their names. */
export function storeFiles({ path }: { readonly path: string }, base: string) {
  const folder = resolve(base, path);
  return {
    copies: join(folder, 'copies.raw'),
    map: join(folder, 'copies.map'),
    manifest: join(folder, 'snapshots.json'),
  };
}

/** A disk's snapshot by its name. Throws if there is none. */
export function findSnapshot(stores: readonly StoreEntry[], label: string, name: string): StoreEntry {
  const entry = stores.find((store) => store.name === name);
  if (entry !== undefined) return entry;
  const known = stores.flatMap((store) => store.name ?? []).join(', ') || 'none';
  throw new SidecoreError('CONFIG_INVALID', `${label} has no snapshot ${name}`, `There are: ${known}.`);
}

/** The same, of which all content is there. */
export function goodSnapshot(stores: readonly StoreEntry[], label: string, name: string): StoreEntry {
  const entry = findSnapshot(stores, label, name);
  if (!entry.damaged) return entry;
  throw new SidecoreError(
    'IMAGE_INVALID',
    `the snapshot ${name} is damaged: old content is missing`,
    'It can only be deleted.',
  );
}

/** Which snapshots there are. Throws `IMAGE_INVALID` if the file is none of ours. */
export function readManifest(path: string): Manifest {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code !== 'ENOENT')
      throw new SidecoreError('IMAGE_INVALID', `${path} cannot be read (${code})`, 'Name another folder.');
    return { version: 1, open: null, power_safe: false, stamp: null, merging: null, stores: [] };
  }
  const { data } = manifest.safeParse(parse(text));
  if (data !== undefined) return data;
  throw new SidecoreError(
    'IMAGE_INVALID',
    `${path} is no list of snapshots`,
    'Name another folder; this one is left as it is.',
  );
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** Replaces the list, durably: there is the old one or the new one, whenever the power fails. */
export function writeManifest(path: string, content: Manifest): void {
  const next = `${path}.new`;
  try {
    const fd = openSync(next, 'w', 0o600);
    try {
      writeSync(fd, `${JSON.stringify(content, undefined, 2)}\n`);
      fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
    renameSync(next, path);
    syncFolder(path);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    throw new SidecoreError(
      'IMAGE_INVALID',
      `${path} cannot be written (${code})`,
      'See that its file system has room.',
    );
  }
}
