import { readFileSync, type Stats, statfsSync } from 'node:fs';
import { SidecoreError } from '../../../errors.js';
import { declare, Errno, errno, errorText } from '../../../host/libc.js';
import { mapAnonymous, PAGE_BYTES, unmap } from '../../../host/memory-map.js';
import { SECTOR_BYTES } from '../../features.js';

const pread = declare('intptr_t pread(int fd, intptr_t data, size_t length, int64_t offset)');
const fallocate = declare('int fallocate(int fd, int mode, int64_t offset, int64_t length)');

/** FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE. fallocate(2) */
const PUNCH_KEEP_SIZE = 3;

/** File systems by their magic number. statfs(2), linux/magic.h */
const FileSystem = {
  TMPFS: 0x01021994,
  RAMFS: 0x858458f6,
  BTRFS: 0x9123683e,
  BCACHEFS: 0xca451a4e,
  ZFS: 0x2fc12fc1,
} as const;

const MEMORY: readonly number[] = [FileSystem.TMPFS, FileSystem.RAMFS];
/** They write new data elsewhere, so that an overwrite leaves the old. */
const COPY_ON_WRITE: readonly number[] = [FileSystem.BTRFS, FileSystem.BCACHEFS, FileSystem.ZFS];

/** What a file's file system is like. Block devices have none. */
export interface FileSystemKind {
  /** The data are in memory, so that nothing waits for storage. */
  readonly memory: boolean;
  /** An overwrite replaces the old data. */
  readonly inPlace: boolean;
}

export function fileSystemKind(path: string, stats: Stats): FileSystemKind {
  if (stats.isBlockDevice()) return { memory: false, inPlace: true };
  const { type } = statfsSync(path);
  const magic = type >>> 0;
  return { memory: MEMORY.includes(magic), inPlace: !COPY_ON_WRITE.includes(magic) };
}

/** What the kernel says of a block device. Numbers of a partition's queue are its disk's. Documentation/ABI/stable/sysfs-block */
function sysfsNumber(stats: Stats, name: string): number {
  const device = `/sys/dev/block/${majorOf(stats.rdev)}:${minorOf(stats.rdev)}`;
  for (const path of [`${device}/${name}`, `${device}/../${name}`]) {
    try {
      return Number(readFileSync(path, 'utf8'));
    } catch {}
  }
  return 0;
}

/** makedev(3) */
function majorOf(device: number): number {
  return Math.floor(device / 2 ** 8) % 2 ** 12;
}

/** makedev(3) */
function minorOf(device: number): number {
  return (device % 2 ** 8) + (Math.floor(device / 2 ** 20) % 2 ** 12) * 2 ** 8;
}

/** Bytes of the file or device. */
export function bytesOf(stats: Stats): number {
  return stats.isBlockDevice() ? sysfsNumber(stats, 'size') * SECTOR_BYTES : stats.size;
}

/** The same in whole sectors. */
export function sizeOf(stats: Stats): number {
  return Math.floor(bytesOf(stats) / SECTOR_BYTES) * SECTOR_BYTES;
}

/** Smallest write that is no read-modify-write: of a device what it says, of a file a page of the page cache. */
export function physicalBlockBytes(stats: Stats): number {
  const bytes = stats.isBlockDevice() ? sysfsNumber(stats, 'queue/physical_block_size') : stats.blksize;
  const isPowerOfTwo = bytes > 0 && Number.isInteger(Math.log2(bytes));
  return isPowerOfTwo ? Math.min(Math.max(bytes, SECTOR_BYTES), PAGE_BYTES) : PAGE_BYTES;
}

/** Whether holes can be made: tried beyond the end, where there is nothing to lose; a device is asked, for it has no beyond. */
export function canPunchHoles(fd: number, stats: Stats): boolean {
  if (stats.isBlockDevice()) return sysfsNumber(stats, 'queue/write_zeroes_max_bytes') > 0;
  const beyond = Math.ceil(stats.size / PAGE_BYTES) * PAGE_BYTES;
  return fallocate(fd, PUNCH_KEEP_SIZE, beyond, PAGE_BYTES) === 0;
}

/**
 * What addresses of data must be a multiple of, bytes, for a file that is open with O_DIRECT. Found by trying: kernels
 * before 6.1 do not tell. Throws if the device takes no single sectors, which the guest may ask for.
 */
export function directAlignBytes(fd: number, path: string): number {
  const memory = mapAnonymous(2 * PAGE_BYTES);
  try {
    if (readsSector(fd, path, memory.address + SECTOR_BYTES)) return SECTOR_BYTES;
    if (readsSector(fd, path, memory.address)) return PAGE_BYTES;
  } finally {
    unmap(memory);
  }
  throw new SidecoreError(
    'IMAGE_INVALID',
    `${path} cannot be used with direct: its device has sectors of more than ${SECTOR_BYTES} bytes`,
    'Leave `direct` out of the disk.',
  );
}

/** Whether the second sector can be read to an address. A file that is shorter gives an empty read. */
function readsSector(fd: number, path: string, address: number): boolean {
  if (pread(fd, address, SECTOR_BYTES, SECTOR_BYTES) >= 0) return true;
  const error = errno();
  if (error === Errno.EINVAL) return false;
  throw new SidecoreError('IMAGE_INVALID', `${path} cannot be read: ${errorText(error)}`);
}
