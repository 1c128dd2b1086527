import { closeSync, openSync, readSync, statSync } from 'node:fs';
import { statIfThere } from '../../host/file-faults.js';
import type { BackendAbilities, DiskImage } from './backend.js';
import { sizeOf } from './file/probe.js';
import type { BackendOptions } from './index.js';

/** A disk as it is seen without being opened for good. */
export interface PeekedDisk {
  readonly abilities: Pick<
    BackendAbilities,
    'sizeBytes' | 'readOnly' | 'discard' | 'writeZeroes' | 'secureErase' | 'inOrder'
  >;
  readonly image: Pick<DiskImage, 'read' | 'stamp'>;
}

/**
 * Looks at a disk, and makes, locks and changes nothing: one that is still to be made is as large as it will be, and has zeros. What it
 * can do besides is taken for granted. Undefined if it cannot be there: why not is said when it is opened.
 */
export function peekDisk(options: BackendOptions): PeekedDisk | undefined {
  if (options.type === 'lent') return options.disk;
  if (options.type !== 'file') return peeked(options.size, false, ZEROS);
  const { path, size, readOnly = false } = options;
  const stats = statIfThere(path);
  if (stats === undefined) return size === undefined ? undefined : peeked(size, readOnly, ZEROS);
  const read: DiskImage['read'] = (offset, target) => readFile(path, offset, target);
  const stamp = () => String(statSync(path, { bigint: true }).mtimeNs);
  return peeked(sizeOf(stats), readOnly, stats.isFile() ? { read, stamp } : { read });
}

const ZEROS: PeekedDisk['image'] = { read: (_offset, target) => void target.fill(0) };

const peeked = (sizeBytes: number, readOnly: boolean, image: PeekedDisk['image']): PeekedDisk => ({
  abilities: {
    sizeBytes,
    readOnly,
    discard: !readOnly,
    writeZeroes: !readOnly,
    secureErase: !readOnly,
    inOrder: false,
  },
  image,
});

function readFile(path: string, offset: number, target: Uint8Array): void {
  const fd = openSync(path, 'r');
  try {
    readSync(fd, target, 0, target.length, offset);
  } finally {
    closeSync(fd);
  }
}
