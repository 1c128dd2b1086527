/** File descriptors of every kind, for messages that carry the wrong ones. */
import { check, declare } from '../../src/host/libc.js';

const eventfd = declare('int eventfd(unsigned int value, int flags)');
const eventfdWrite = declare('int eventfd_write(int fd, uint64_t value)');
const pipe2 = declare('int pipe2(int *fds, int flags)');
const socketpairCall = declare('int socketpair(int domain, int type, int protocol, int *fds)');
const memfdCreate = declare('int memfd_create(const char *name, unsigned int flags)');
const ftruncate = declare('int ftruncate(int fd, int64_t length)');
const fcntl = declare('int fcntl(int fd, int command, intptr_t argument)');

const O_CLOEXEC = 0o2000000;
const O_NONBLOCK = 0o4000;
const EFD_SEMAPHORE = 1;
const AF_UNIX = 1;
const SOCK_STREAM = 1;
const MFD_CLOEXEC = 1;
const MFD_ALLOW_SEALING = 2;
const MFD_HUGETLB = 4;
const F_SETFL = 4;
const F_ADD_SEALS = 1033;

/** Bits for F_ADD_SEALS. */
export const Seal = { SEAL: 1, SHRINK: 2, GROW: 4, WRITE: 8, FUTURE_WRITE: 16 } as const;

/** A blocking semaphore whose counter is all but full: a write to it would wait, if it were left as it is. */
export function eventFdOfAnotherKind(): number {
  const fd = check(eventfd(0, O_CLOEXEC | EFD_SEMAPHORE), 'eventfd');
  check(eventfdWrite(fd, 0xfffffffffffffffen), 'eventfd_write');
  return fd;
}

/** Has the next write to an event counter wait, whoever writes: fills it, and makes it blocking for all who share it. */
export function jam(fd: number): void {
  eventfdWrite(fd, 0xfffffffffffffffen);
  check(fcntl(fd, F_SETFL, 0), 'F_SETFL');
}

/** Both ends of a pipe: to read, to write. */
export function pipe(): [number, number] {
  const fds = new Int32Array(2);
  check(pipe2(fds, O_CLOEXEC | O_NONBLOCK), 'pipe2');
  return [fds[0]!, fds[1]!];
}

/** Both ends of a connected socket. */
export function socketPair(): [number, number] {
  const fds = new Int32Array(2);
  check(socketpairCall(AF_UNIX, SOCK_STREAM | O_NONBLOCK | O_CLOEXEC, 0, fds), 'socketpair');
  return [fds[0]!, fds[1]!];
}

/** Memory that its owner can make smaller at any time; without `sealable` nobody else can prevent that. */
export function openMemory(byteLength: number, sealable: boolean): number {
  const fd = check(memfdCreate('open', MFD_CLOEXEC | (sealable ? MFD_ALLOW_SEALING : 0)), 'memfd_create');
  check(ftruncate(fd, byteLength), 'ftruncate');
  return fd;
}

/** Memory in huge pages, of which there may be none: its length is a promise that nobody keeps. -1 where the kernel has no such memory. */
export function openHugeMemory(byteLength: number): number {
  const fd: number = memfdCreate('huge', MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_HUGETLB);
  if (fd >= 0) check(ftruncate(fd, byteLength), 'ftruncate');
  return fd;
}

/** A file whose name is what the kernel calls an event counter. */
export function openImpostor(): number {
  return check(memfdCreate('anon_inode:[eventfd]', MFD_CLOEXEC), 'memfd_create');
}

/** Cuts memory short; false if it is sealed. */
export const shrink = (fd: number, byteLength: number): boolean => ftruncate(fd, byteLength) === 0;

export function addSeals(fd: number, seals: number): void {
  check(fcntl(fd, F_ADD_SEALS, seals), 'F_ADD_SEALS');
}
