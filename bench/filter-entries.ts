import { closeSync, fsyncSync, openSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import type { BackendOptions } from '../src/block/backends/index.js';
import { makeLuks1 } from '../src/filters/block/encrypt/luks1-keys.js';
import { BLOCK_FILTERS } from '../src/filters/block/index.js';

/** Bytes of each disk; all of it is the working set. */
export const DISK_BYTES = 16 * 2 ** 20;

export type Does = 'read' | 'write';

/** A disk for a filter, and the same without it. */
export interface BlockSetUp {
  /** What the filter stands before; memory if nothing is said, or nothing where it is measured alone. */
  readonly backend?: BackendOptions;
  /** What the disk without it has, if that is another. */
  readonly plain?: BackendOptions;
  readonly options?: Readonly<Record<string, unknown>>;
}

/** A block filter as it is measured. */
export interface BlockEntry {
  /** As rows call it. */
  readonly name: string;
  /** As configurations do. */
  readonly use: string;
  /** What it costs differs between them, or it lets only one of them pass. */
  readonly does: readonly Does[];
  /** What it stands before when it is measured alone, too: nothing does not do. */
  readonly needs?: BackendOptions;
  /** What it is asked before it is measured. */
  readonly asks?: { readonly command: string; readonly given: Readonly<Record<string, string>> };
  /** Makes its files in a folder on tmpfs, which is gone later. */
  setUp(folder: string): BlockSetUp;
}

const MEMORY: BackendOptions = { type: 'memory', size: DISK_BYTES };
/** What a filter stands before when it is measured alone, if its entry says nothing: nothing is copied, so that what it takes shows. */
export const NOWHERE: BackendOptions = { type: 'null', size: DISK_BYTES };
/** Of images that are encrypted. */
const PASSPHRASE = 'a passphrase of a benchmark';
const ITERATIONS = 1000;

const plain = (use: string, options: Readonly<Record<string, unknown>> = {}, does: readonly Does[] = ['read']) => ({
  use,
  does,
  setUp: () => ({ options }),
});

const BOTH: readonly Does[] = ['read', 'write'];

/** Before a file on tmpfs, against another one. */
const onFiles = (use: string, options: Readonly<Record<string, unknown>>, readOnly = false) => ({
  use,
  does: BOTH,
  setUp: (folder: string): BlockSetUp => ({
    backend: { type: 'file', path: writtenFile(folder, `${use}.img`), readOnly },
    plain: { type: 'file', path: writtenFile(folder, 'plain.img') },
    options,
  }),
});

/** All of ours, each as it may be used: limits that are not reached, rules that do not apply. */
const ALL: readonly BlockEntry[] = [
  { name: 'meter', ...plain('meter') },
  { name: 'meter, no latency', ...plain('meter', { latency: false }) },
  { name: 'readonly', ...plain('readonly') },
  { name: 'throttle', ...plain('throttle', { iops: 1e9, bps: '1000GB', burst: 10 }) },
  { name: 'trace', ...plain('trace') },
  { name: 'fault, a rule that never meets', ...plain('fault', { rules: [{ probability: 0, do: 'error' }] }) },
  {
    name: 'encrypt (file on tmpfs)',
    use: 'encrypt',
    does: BOTH,
    setUp(folder) {
      const { bytes } = makeLuks1({ passphrase: Buffer.from(PASSPHRASE), iterations: ITERATIONS });
      const keyFile = join(folder, 'key');
      writeFileSync(keyFile, PASSPHRASE, { mode: 0o600 });
      return {
        backend: { type: 'file', path: writtenFile(folder, 'luks.img', bytes) },
        plain: { type: 'file', path: writtenFile(folder, 'plain.img') },
        options: { key_file: keyFile },
      };
    },
  },
  { name: 'mirror (both in memory)', ...plain('mirror', { to: { type: 'memory' } }, BOTH), needs: MEMORY },
  { name: 'verify', ...plain('verify', { sums: 'sums' }, BOTH), needs: MEMORY },
  { name: 'cache (file on tmpfs, all of it cached)', ...onFiles('cache', { size: '64MiB' }) },
  { name: 'overlay (files on tmpfs)', ...onFiles('overlay', { path: 'top.img' }, true) },
  { name: 'snapshot, none taken', ...plain('snapshot', { path: 'none' }, BOTH) },
  {
    name: 'snapshot, one taken',
    ...plain('snapshot', { path: 'one' }, BOTH),
    needs: MEMORY,
    asks: { command: 'create', given: { name: 'first' } },
  },
];

export const BLOCK_ENTRIES: readonly BlockEntry[] = ALL.filter(({ use }) => use in BLOCK_FILTERS);

/** The back ends of an entry: with its filter, and without. */
export function backendsOf(
  { backend, plain = backend }: BlockSetUp,
  otherwise = MEMORY,
): [BackendOptions, BackendOptions] {
  return [backend ?? otherwise, plain ?? otherwise];
}

/** A file that is written from end to end: no holes that would read faster than data. */
export function writtenFile(folder: string, name: string, head: Uint8Array = Buffer.alloc(0)): string {
  const path = join(folder, name);
  const fd = openSync(path, 'w');
  writeSync(fd, head);
  const chunk = Buffer.alloc(2 ** 20, 0xa5);
  for (let written = 0; written < DISK_BYTES; written += chunk.length) writeSync(fd, chunk);
  fsyncSync(fd);
  closeSync(fd);
  return path;
}
