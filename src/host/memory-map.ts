import { readFileSync, statfsSync } from 'node:fs';
import { SidecoreError } from '../errors.js';
import { RETIRED_BYTES_MAX, RETIRED_MAPS_MAX } from '../limits.js';
import { check, declare, errno, errorText } from './libc.js';

const mmapCall = declare('intptr_t mmap(intptr_t address, size_t length, int prot, int flags, int fd, int64_t offset)');
const munmapCall = declare('int munmap(intptr_t address, size_t length)');
const madviseCall = declare('int madvise(intptr_t address, size_t length, int advice)');
const msyncCall = declare('int msync(intptr_t address, size_t length, int flags)');
const fallocate = declare('int posix_fallocate(int fd, int64_t offset, int64_t length)');
const memfdCreate = declare('int memfd_create(const char *name, unsigned int flags)');
const ftruncate = declare('int ftruncate(int fd, int64_t length)');
const fcntl = declare('int fcntl(int fd, int command, intptr_t argument)');

const PROT_READ_WRITE = 3;
const MAP_SHARED = 1;
const MAP_PRIVATE = 2;
const MAP_FIXED = 0x10;
const MAP_ANONYMOUS = 0x20;
const MAP_NORESERVE = 0x4000;
const ZEROES = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
const MS_SYNC = 4;
const MADV_DONTNEED = 4;
const MADV_DONTDUMP = 16;
const MFD_CLOEXEC = 1;
const MFD_ALLOW_SEALING = 2;
const F_ADD_SEALS = 1033;
const F_GET_SEALS = 1034;
const F_SEAL_SHRINK = 2;

/** Size of a page of memory, bytes. */
export const PAGE_BYTES = 4096;

/** A stretch of this process's address space that was mapped by us. The address is good in every thread. */
export interface MemoryMap {
  /** Address in this process. */
  readonly address: number;
  /** Length, bytes. */
  readonly length: number;
}

function map(length: number, flags: number, fd: number, offset: number, what: string): MemoryMap {
  const call = () => Number(mmapCall(0, length, PROT_READ_WRITE, flags, fd, offset));
  let address = call();
  if (address === -1 && retired.length > 0) {
    forgetRetired(0, 0);
    address = call();
  }
  if (address === -1) {
    throw new SidecoreError('MEMORY_EXHAUSTED', `cannot map ${length} bytes of ${what}: ${errorText(errno())}`);
  }
  return { address, length };
}

/** Maps a shared file at a page-aligned offset. The caller has made sure that the file is long enough. */
export function mapFile(fd: number, offset: number, length: number): MemoryMap {
  const file = map(length, MAP_SHARED | MAP_NORESERVE, fd, offset, 'a file');
  madviseCall(file.address, file.length, MADV_DONTDUMP);
  return file;
}

/** Gives a file room for all of its first `length` bytes, so that no page of a mapping of it can be missing. */
export function allocateFile(fd: number, length: number): void {
  const error: number = fallocate(fd, 0, length);
  if (error !== 0) throw new SidecoreError('SYSTEM_CALL_FAILED', `no room for ${length} bytes: ${errorText(error)}`);
}

/** Waits until what was written to a mapped file is on stable storage. */
export function syncMap(map: MemoryMap): void {
  check(msyncCall(map.address, map.length, MS_SYNC), 'msync');
}

/** Maps zeroed memory that takes up room only where it is touched. */
export function mapAnonymous(length: number): MemoryMap {
  return map(length, ZEROES, -1, 0, 'memory');
}

/** Gives the memory back. No view of it may be used afterwards. */
export function unmap(map: MemoryMap): void {
  check(munmapCall(map.address, map.length), 'munmap');
}

/** Of this thread, the oldest first: zeroes where memory was, which take up no room. */
const retired: MemoryMap[] = [];

/**
 * Gives memory back that others may have views of, by mistake: those see zeroes from now on, and nothing else comes to lie there until
 * `RETIRED_MAPS_MAX` others of this thread were given back so.
 */
export function retire(map: MemoryMap): void {
  const { address, length } = map;
  if (zeroesCount() || length > RETIRED_BYTES_MAX || !putZeroes(map)) return unmap(map);
  forgetRetired(RETIRED_MAPS_MAX - 1, RETIRED_BYTES_MAX - length);
  retired.push({ address, length });
}

/** Whether zeroes that can be written count as memory, as far as that can be known. */
function zeroesCount(): boolean {
  try {
    return readFileSync('/proc/sys/vm/overcommit_memory', 'utf8').trim() === '2';
  } catch {
    return true;
  }
}

/** In the place of what is mapped, at once for all threads. What is written there by mistake is in no core dump. */
function putZeroes({ address, length }: MemoryMap): boolean {
  if (Number(mmapCall(address, length, PROT_READ_WRITE, ZEROES | MAP_FIXED, -1, 0)) !== address) return false;
  madviseCall(address, length, MADV_DONTDUMP);
  return true;
}

/** So many may be left. */
function forgetRetired(maps: number, bytes: number): void {
  let left = retired.reduce((sum, { length }) => sum + length, 0);
  while (retired.length > maps || left > bytes) {
    const oldest = retired.shift()!;
    left -= oldest.length;
    unmap(oldest);
  }
}

/** Gives pages of anonymous memory back; they read as zeros from then on. Address and length in whole pages. */
export function forgetPages(address: number, length: number): void {
  check(madviseCall(address, length, MADV_DONTNEED), 'madvise');
}

/** A new memory file that cannot shrink: what a front end shares with a back end. Returns its descriptor. */
export function createSealedMemory(name: string, length: number): number {
  const fd = check(memfdCreate(name, MFD_CLOEXEC | MFD_ALLOW_SEALING), 'memfd_create');
  check(ftruncate(fd, length), `cannot make ${length} bytes of memory`);
  check(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK), 'cannot seal memory');
  return fd;
}

/** Memory in huge pages: none may be left when one is touched for the first time, or again after a hole was punched. statfs(2) */
const HUGETLBFS_MAGIC = 0x958458f6;

/**
 * Makes sure that the other side cannot cut the file short under our mapping: touching a lost page is SIGBUS, which ends
 * the whole process. True if the file is sealed against shrinking, by its owner or by us; never for memory in huge pages,
 * where a page can be missing however long the file is.
 */
export async function sealAgainstShrinking(fd: number): Promise<boolean> {
  const seals: number = fcntl(fd, F_GET_SEALS, 0);
  // Before anything else is asked of it: a file of a file system in user space answers when that likes.
  if (seals < 0 || statfsSync(`/proc/self/fd/${fd}`).type === HUGETLBFS_MAGIC) return false;
  if ((seals & F_SEAL_SHRINK) !== 0) return true;
  // The kernel may have it wait until the other side has done with the file. One at a time, so that this takes one thread.
  sealing = sealing.then(() => addSeal(fd));
  return sealing;
}

let sealing: Promise<boolean> = Promise.resolve(true);

function addSeal(fd: number): Promise<boolean> {
  return new Promise((resolve) => {
    fcntl.async(fd, F_ADD_SEALS, F_SEAL_SHRINK, (error: unknown, result: number) => resolve(!error && result === 0));
  });
}
