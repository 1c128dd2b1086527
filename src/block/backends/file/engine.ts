import { SidecoreError } from '../../../errors.js';
import { type IoUring, Operation, UringOp } from '../../../host/io-uring.js';
import { declare, errno } from '../../../host/libc.js';

/** What `start` gives for an operation that completes later. No error number is that large. */
export const IN_FLIGHT = -(2 ** 30);

/** Flag of a write that is durable when it completes. pwritev2(2) */
export const RWF_DSYNC = 2;
/** IORING_FSYNC_DATASYNC. io_uring_enter(2), IORING_OP_FSYNC */
const FSYNC_DATASYNC = 1;

/**
 * Starts operations on one file. They are described as io_uring has them; the other engines translate them into system
 * calls.
 */
export interface FileEngine {
  /**
   * Starts the one operation that the request in `slot` has in flight.
   *
   * @param byteCount - of the file that the operation concerns
   * @returns a count, a negative error number, or `IN_FLIGHT`
   */
  start(slot: number, operation: Operation, byteCount: number): number;
  /** Starts fdatasync; result as above. */
  sync(slot: number): number;
}

/** Asks the kernel through the sidecore's io_uring: never waits for storage. */
export class UringEngine implements FileEngine {
  readonly #fd: number;
  readonly #ring: IoUring;
  readonly #otherwise: FileEngine;
  readonly #fdatasync = new Operation().set(UringOp.FSYNC, 0, 0, 0, FSYNC_DATASYNC);

  constructor(fd: number, ring: IoUring) {
    this.#fd = fd;
    this.#ring = ring;
    this.#otherwise = new SyncEngine(fd);
  }

  start(slot: number, operation: Operation, byteCount: number): number {
    if (this.#ring.prepare(this.#fd, operation, slot)) return IN_FLIGHT;
    return this.#otherwise.start(slot, operation, byteCount);
  }

  sync(slot: number): number {
    if (this.#ring.prepare(this.#fd, this.#fdatasync, slot)) return IN_FLIGHT;
    return this.#otherwise.sync(slot);
  }
}

const pread = declare('intptr_t pread(int fd, intptr_t data, size_t length, int64_t offset)');
const pwrite = declare('intptr_t pwrite(int fd, intptr_t data, size_t length, int64_t offset)');
const preadv = declare('intptr_t preadv(int fd, intptr_t iovecs, int count, int64_t offset)');
const pwritev2 = declare('intptr_t pwritev2(int fd, intptr_t iovecs, int count, int64_t offset, int flags)');
const fdatasync = declare('int fdatasync(int fd)');
const fallocate = declare('int fallocate(int fd, int mode, int64_t offset, int64_t length)');

/** One system call per operation; the sidecore waits for storage. */
export class SyncEngine implements FileEngine {
  readonly #fd: number;

  constructor(fd: number) {
    this.#fd = fd;
  }

  start(_slot: number, operation: Operation): number {
    const result = this.#call(operation);
    return result < 0 ? -errno() : result;
  }

  sync(): number {
    return fdatasync(this.#fd) < 0 ? -errno() : 0;
  }

  #call({ opcode, address, length, offset, flags }: Operation): number {
    const fd = this.#fd;
    switch (opcode) {
      case UringOp.READ:
        return pread(fd, address, length, offset);
      case UringOp.WRITE:
        return pwrite(fd, address, length, offset);
      case UringOp.READV:
        return preadv(fd, address, length, offset);
      case UringOp.WRITEV:
        return pwritev2(fd, address, length, offset, flags);
      case UringOp.FALLOCATE:
        return fallocate(fd, length, offset, address);
      default:
        throw new Error(`no operation ${opcode}`);
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

  start(slot: number, operation: Operation, byteCount: number): number {
    const engine = byteCount > MEMORY_BYTES_MAX ? this.#large : this.#small;
    return engine.start(slot, operation, byteCount);
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
