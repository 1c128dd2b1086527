import { SidecoreError } from '../../../errors.js';
import { declare, Errno, errno, errorText } from '../../../host/libc.js';

const fcntl = declare('int fcntl(int fd, int command, void *lock)');

/** Locks that belong to the open file, not to the process. fcntl(2), open file description locks */
const F_OFD_GETLK = 36;
const F_OFD_SETLK = 37;
const F_RDLCK = 0;
const F_WRLCK = 1;
const F_UNLCK = 2;

/** struct flock, 32 bytes: byte offsets. fcntl(2) */
const FLOCK_BYTES = 32;
const FLOCK_TYPE = 0;
const FLOCK_START = 8;
const FLOCK_LENGTH = 16;

/**
 * QEMU's protocol of image locking: a shared lock on byte 100 + p says "I do p", one on byte 200 + p says "nobody else
 * may do p". QEMU, block/file-posix.c, `raw_check_lock_bytes`; permissions: include/block/block-common.h
 */
const DOING = 100;
const FORBIDDING = 200;
const Permission = { CONSISTENT_READ: 0, WRITE: 1, RESIZE: 3 } as const;

/**
 * Locks an image as a running QEMU does: for writing against everybody, for reading against writers. QEMU, qemu-img and other
 * Sidecore daemons respect it. The lock ends when the descriptor is closed.
 */
export function lockImage(fd: number, path: string, readOnly: boolean): void {
  const { CONSISTENT_READ, WRITE, RESIZE } = Permission;
  const doing = readOnly ? [CONSISTENT_READ] : [CONSISTENT_READ, WRITE, RESIZE];
  const forbidding = [WRITE, RESIZE];
  // First say it, then look: of two that open at once, at most one gets the image.
  for (const permission of doing) share(fd, path, DOING + permission);
  for (const permission of forbidding) share(fd, path, FORBIDDING + permission);
  const free =
    doing.every((permission) => isFree(fd, path, FORBIDDING + permission)) &&
    forbidding.every((permission) => isFree(fd, path, DOING + permission));
  if (!free) throw busy(path);
}

function share(fd: number, path: string, byte: number): void {
  if (fcntl(fd, F_OFD_SETLK, flock(F_RDLCK, byte)) === 0) return;
  const error = errno();
  throw error === Errno.EAGAIN || error === Errno.EACCES ? busy(path) : unlockable(path, error);
}

/** Whether no other open file has a lock on the byte. */
function isFree(fd: number, path: string, byte: number): boolean {
  const lock = flock(F_WRLCK, byte);
  if (fcntl(fd, F_OFD_GETLK, lock) !== 0) throw unlockable(path, errno());
  return new DataView(lock.buffer).getInt16(FLOCK_TYPE, true) === F_UNLCK;
}

function flock(type: number, byte: number): Uint8Array<ArrayBuffer> {
  const lock = new Uint8Array(FLOCK_BYTES);
  const view = new DataView(lock.buffer);
  view.setInt16(FLOCK_TYPE, type, true);
  view.setBigInt64(FLOCK_START, BigInt(byte), true);
  view.setBigInt64(FLOCK_LENGTH, 1n, true);
  return lock;
}

function busy(path: string): SidecoreError {
  return new SidecoreError(
    'IMAGE_BUSY',
    `${path} is in use by another disk or program`,
    'Stop the QEMU, qemu-img or daemon that has it open, or set `read_only` in all of them.',
  );
}

function unlockable(path: string, error: number): SidecoreError {
  return new SidecoreError(
    'IMAGE_INVALID',
    `${path} cannot be locked: ${errorText(error)}`,
    'Put the image on a file system that supports file locks.',
  );
}
