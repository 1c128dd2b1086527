import { closeSync, openSync, readSync } from 'node:fs';

/** Formats of images that are not raw, and the bytes with which they begin. qemu, docs/interop/qcow2.rst; VMDK 5.0; MS-VHDX */
const MAGICS: readonly [name: string, magic: string][] = [
  ['qcow2', 'QFI\xfb'],
  ['vmdk', 'KDMV'],
  ['vmdk', '# Disk DescriptorFile'],
  ['vhdx', 'vhdxfile'],
];

const MAGIC_BYTES_MAX = Math.max(...MAGICS.map(([, magic]) => magic.length));

/** What is wrong with an image, and what to do. */
export interface FormatFault {
  readonly text: string;
  readonly remedy: string;
}

/**
 * Whether an image has a format of its own, by its first bytes; undefined if it is raw. The bytes of a raw image are its
 * guest's: one that says its size is not asked, and no guest can keep it from being served.
 *
 * @param size - of the disk, as configured
 * @param bytes - of the image
 */
export function formatFault(path: string, size: number | undefined, bytes: number): FormatFault | undefined {
  if (size !== undefined && bytes >= size) return undefined;
  const start = firstBytes(path);
  const format = MAGICS.find(([, magic]) => start.startsWith(magic))?.[0];
  if (format === undefined) return undefined;
  return {
    text: `${path} is a ${format} image, and only raw ones are served`,
    remedy: `Convert it (qemu-img convert -O raw); if it is raw in spite of how it begins, give the disk its \`size\`.`,
  };
}

function firstBytes(path: string): string {
  const fd = openSync(path, 'r');
  try {
    const bytes = Buffer.alloc(MAGIC_BYTES_MAX);
    return bytes.toString('latin1', 0, readSync(fd, bytes, 0, bytes.length, 0));
  } finally {
    closeSync(fd);
  }
}
