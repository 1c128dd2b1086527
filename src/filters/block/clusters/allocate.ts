import { closeSync, openSync } from 'node:fs';
import { SidecoreError } from '../../../errors.js';
import { check, declare, Errno, errno, errorText } from '../../../host/libc.js';

const fallocate = declare('int fallocate(int fd, int mode, int64_t offset, int64_t length)');

/** FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE. fallocate(2) */
const PUNCH_KEEP_SIZE = 3;

/** Gives a stretch of a file back; it reads as zeros. Throws where the file system cannot. */
export function punchHole(path: string, offset: number, length: number): void {
  const fd = openSync(path, 'r+');
  try {
    check(fallocate(fd, PUNCH_KEEP_SIZE, offset, length), `cannot give back room of ${path}`);
  } finally {
    closeSync(fd);
  }
}

/**
 * Has the file system keep room for a stretch of a file that is mapped: to touch a page that finds no room would end the whole process.
 * Throws `IMAGE_INVALID` if there is none.
 */
export function reserve(fd: number, path: string, offset: number, length: number): void {
  if (fallocate(fd, 0, offset, length) === 0) return;
  const error = errno();
  const remedy = error === Errno.ENOSPC ? 'Make room on its file system.' : 'Use a file system that has fallocate(2).';
  throw new SidecoreError(
    'IMAGE_INVALID',
    `there is no room for ${length} bytes of ${path}: ${errorText(error)}`,
    remedy,
  );
}
