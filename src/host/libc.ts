import koffi from 'koffi';
import { type ErrorCode, MORE_DESCRIPTORS, SidecoreError } from '../errors.js';

/**
 * The C library, reached through koffi. Pointers are numbers here: user addresses fit 47 bits, and a number, unlike a
 * bigint, is passed without an allocation.
 */
const libc = koffi.load('libc.so.6');

/** A C function: callable, and with `.async` in a thread of its own. */
export type CFunction = ReturnType<typeof libc.func>;

/** Declares a C function of the library. Pointer arguments may be addresses or typed arrays. */
export function declare(signature: string): CFunction {
  return libc.func(signature);
}

const syscall6 = declare(
  'long syscall(long number, intptr_t a, intptr_t b, intptr_t c, intptr_t d, intptr_t e, intptr_t f)',
);

/** A raw system call, for those without a wrapper in the C library. Returns -1 and sets errno on failure. */
export function syscall(number: number, a = 0, b = 0, c = 0, d = 0, e = 0, f = 0): number {
  return syscall6(number, a, b, c, d, e, f);
}

/** Error numbers that are told apart. Linux, x86-64 and arm64 alike. */
export const Errno = {
  EPERM: 1,
  ENOENT: 2,
  EINTR: 4,
  EIO: 5,
  EAGAIN: 11,
  ENOMEM: 12,
  EACCES: 13,
  EBUSY: 16,
  EEXIST: 17,
  ENODEV: 19,
  EINVAL: 22,
  ENFILE: 23,
  EMFILE: 24,
  ENOSPC: 28,
  ENOSYS: 38,
  EBADFD: 77,
  EOPNOTSUPP: 95,
  EADDRINUSE: 98,
  ECONNREFUSED: 111,
  ECANCELED: 125,
} as const;

/** Flag of a read: fail with EAGAIN instead of waiting, whatever the descriptor's own flag says. preadv2(2) */
export const RWF_NOWAIT = 8;

/** The calling thread's errno, valid right after a failed call. */
export function errno(): number {
  return koffi.errno();
}

const strerror = declare('const char *strerror(int error)');

/** "No such file or directory" and the like. */
export function errorText(error: number): string {
  return strerror(error) as string;
}

/** Throws for a negative result of a C function; gives the result otherwise. */
export function check(result: number, what: string, code: ErrorCode = 'SYSTEM_CALL_FAILED'): number {
  if (result >= 0) return result;
  const error = errno();
  const remedy = error === Errno.EMFILE || error === Errno.ENFILE ? MORE_DESCRIPTORS : '';
  throw new SidecoreError(code, `${what}: ${errorText(error)}`, remedy, { cause: error });
}

const closeFd = declare('int close(int fd)');

/** Closes a file descriptor; a negative one is none. */
export function close(fd: number): void {
  if (fd >= 0) closeFd(fd);
}

const fcntl = declare('int fcntl(int fd, int command, intptr_t argument)');
const dup3 = declare('int dup3(int fd, int target, int flags)');
const F_DUPFD_CLOEXEC = 1030;
const O_CLOEXEC = 0o2000000;

/** Another descriptor of the same thing. */
export function duplicate(fd: number): number {
  return check(fcntl(fd, F_DUPFD_CLOEXEC, 0), 'F_DUPFD_CLOEXEC');
}

/** Has a descriptor mean what another one does, for every thread at once. What it meant before is let go of. */
export function replaceDescriptor(fd: number, by: number): void {
  check(dup3(by, fd, O_CLOEXEC), 'dup3');
}
