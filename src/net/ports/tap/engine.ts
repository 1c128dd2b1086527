import { type IoUring, type Operation, UringOp } from '../../../host/io-uring.js';
import { declare, errno } from '../../../host/libc.js';

/** What `start` gives for an operation that completes later, and for one that cannot be started now. No error numbers are that large. */
export const IN_FLIGHT = -(2 ** 30);
export const NO_ROOM = IN_FLIGHT - 1;

/** Starts reads and writes of a TAP device. They are described as io_uring has them. */
export interface TapEngine {
  /**
   * @param slot - names it when it completes
   * @returns bytes, a negative error number, `IN_FLIGHT` or `NO_ROOM`
   */
  start(fd: number, operation: Operation, slot: number): number;
}

/** Asks the kernel through the sidecore's io_uring: all of a turn in one system call, and none while nothing happens. */
export class UringTapEngine implements TapEngine {
  readonly #ring: IoUring;
  readonly #base: number;

  /** @param base - user data of slot 0 */
  constructor(ring: IoUring, base: number) {
    this.#ring = ring;
    // As a signed number, which V8 passes without putting it on the heap; the kernel gets 32 bits either way.
    this.#base = base | 0;
  }

  start(fd: number, operation: Operation, slot: number): number {
    return this.#ring.prepare(fd, operation, this.#base + slot) ? IN_FLIGHT : NO_ROOM;
  }
}

const read = declare('intptr_t read(int fd, intptr_t data, size_t length)');
const write = declare('intptr_t write(int fd, intptr_t data, size_t length)');
const writev = declare('intptr_t writev(int fd, intptr_t iovecs, int count)');

/** One system call per operation. Nothing says when a frame has come: one has to ask again and again. */
export class SyncTapEngine implements TapEngine {
  start(fd: number, { opcode, address, length }: Operation): number {
    const call = opcode === UringOp.READ ? read : opcode === UringOp.WRITE ? write : writev;
    const result: number = call(fd, address, length);
    return result < 0 ? -errno() : result;
  }
}
