import { assert, SidecoreError } from '../../../errors.js';
import { type IoUring, UringOp } from '../../../host/io-uring.js';
import { declare, errno } from '../../../host/libc.js';

/** What `start` gives for an operation that completes later. No error number is that large. */
export const IN_FLIGHT = -(2 ** 30);

/** Flag of a write that is durable when it completes. pwritev2(2) */
export const RWF_DSYNC = 2;
/** IORING_FSYNC_DATASYNC. io_uring_enter(2), IORING_OP_FSYNC */
const FSYNC_DATASYNC = 1;

/**
 * Starts operations on one file. The arguments are those of an entry of io_uring, which the other engines translate into
 * system calls.
 */
export interface FileEngine {
  /**
   * Starts the one operation that the request in `slot` has in flight.
   *
   * @param address - of the data or the iovecs; for FALLOCATE the length in bytes
   * @param length - bytes or iovecs; for FALLOCATE its mode
   * @param offset - in the file, bytes
   * @param flags - RWF_*
   * @param byteCount - of the file that the operation concerns
   * @returns a count, a negative error number, or `IN_FLIGHT`
   */
  start(
    slot: number,
    opcode: number,
    address: number,
    length: number,
    offset: number,
    flags: number,
    byteCount: number,
  ): number;
  /** Starts fdatasync; result as above. */
  sync(slot: number): number;
}

/** Asks the kernel through the sidecore's io_uring: never waits for storage. */
export class UringEngine implements FileEngine {
  readonly #fd: number;
  readonly #ring: IoUring;
  readonly #otherwise: FileEngine;

  constructor(fd: number, ring: IoUring) {
    this.#fd = fd;
    this.#ring = ring;
    this.#otherwise = new SyncEngine(fd);
  }

  start(
    slot: number,
    opcode: number,
    address: number,
    length: number,
    offset: number,
    flags: number,
    byteCount: number,
  ): number {
    if (this.#ring.prepare(opcode, this.#fd, address, length, offset, flags, slot)) return IN_FLIGHT;
    return this.#otherwise.start(slot, opcode, address, length, offset, flags, byteCount);
  }

  sync(slot: number): number {
    if (this.#ring.prepare(UringOp.FSYNC, this.#fd, 0, 0, 0, FSYNC_DATASYNC, slot)) return IN_FLIGHT;
    return this.#otherwise.sync(slot);
  }
}

const pread = declare('intptr_t pread(int fd, intptr_t data, size_t length, int64_t offset)');
const pwrite = declare('intptr_t pwrite(int fd, intptr_t data, size_t length, int64_t offset)');
const preadv = declare('intptr_t preadv(int fd, intptr_t iovecs, int count, int64_t offset)');
const pwritev = declare('intptr_t pwritev(int fd, intptr_t iovecs, int count, int64_t offset)');
const pwritev2 = declare('intptr_t pwritev2(int fd, intptr_t iovecs, int count, int64_t offset, int flags)');
const fdatasync = declare('int fdatasync(int fd)');
const fallocate = declare('int fallocate(int fd, int mode, int64_t offset, int64_t length)');

/** One system call per operation; the sidecore waits for storage. */
export class SyncEngine implements FileEngine {
  readonly #fd: number;

  constructor(fd: number) {
    this.#fd = fd;
  }

  start(_slot: number, opcode: number, address: number, length: number, offset: number, flags: number): number {
    const result = this.#call(opcode, address, length, offset, flags);
    return result < 0 ? -errno() : result;
  }

  sync(): number {
    return fdatasync(this.#fd) < 0 ? -errno() : 0;
  }

  #call(opcode: number, address: number, length: number, offset: number, flags: number): number {
    const fd = this.#fd;
    switch (opcode) {
      case UringOp.READ:
        return pread(fd, address, length, offset);
      case UringOp.WRITE:
        assert(flags === 0, 'a durable write has iovecs');
        return pwrite(fd, address, length, offset);
      case UringOp.READV:
        return preadv(fd, address, length, offset);
      case UringOp.WRITEV:
        return flags === 0
          ? pwritev(fd, address, length, offset)
          : pwritev2(fd, address, length, offset, flags);
      case UringOp.FALLOCATE:
        return fallocate(fd, length, offset, address);
      default:
        assert(false, `no operation ${opcode}`);
    }
  }
}

/** The most bytes that are copied while the sidecore waits: about 50 us. */
const MEMORY_BYTES_MAX = 256 * 1024;

/**
 * For files that are memory (tmpfs): io_uring would hand each operation to a kernel thread there, which takes four times as
 * long as the copy itself. So small operations are system calls, and only the long ones go to io_uring.
 */
export class MemoryFileEngine implements FileEngine {
  readonly #small: FileEngine;
  readonly #large: FileEngine;

  constructor(fd: number, ring: IoUring) {
    this.#small = new SyncEngine(fd);
    this.#large = new UringEngine(fd, ring);
  }

  start(
    slot: number,
    opcode: number,
    address: number,
    length: number,
    offset: number,
    flags: number,
    byteCount: number,
  ): number {
    if (byteCount > MEMORY_BYTES_MAX) {
      return this.#large.start(slot, opcode, address, length, offset, flags, byteCount);
    }
    return this.#small.start(slot, opcode, address, length, offset, flags, byteCount);
  }

  sync(slot: number): number {
    return this.#small.sync(slot);
  }
}

/** `memory` is for files on tmpfs and ramfs; `auto` takes io_uring, or system calls where the kernel refuses that. */
export type EngineKind = 'auto' | 'io_uring' | 'memory' | 'sync';

/** @param uring - gives the sidecore's ring, making it on first use */
export function createEngine(kind: EngineKind, fd: number, uring: () => IoUring | undefined): FileEngine {
  const ring = kind === 'sync' ? undefined : uring();
  if (kind === 'io_uring' && ring === undefined) throw noUring();
  if (ring === undefined) return new SyncEngine(fd);
  return kind === 'memory' ? new MemoryFileEngine(fd, ring) : new UringEngine(fd, ring);
}

/** What is said of a disk that asks for io_uring where there is none. */
export function noUring(): SidecoreError {
  return new SidecoreError(
    'UNSUPPORTED_PLATFORM',
    'the kernel refuses io_uring',
    'Leave `engine` out of the disk, or see kernel.io_uring_disabled and the container’s seccomp profile.',
  );
}
