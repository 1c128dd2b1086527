/** The kernel's interface of io_uring, as far as `io-uring.ts` uses it. */

/** System call numbers, the same on x86-64 and arm64. */
export const SYS_IO_URING_SETUP = 425;
export const SYS_IO_URING_ENTER = 426;
export const SYS_IO_URING_REGISTER = 427;

/** Operations. enum io_uring_op, linux/io_uring.h */
export const UringOp = {
  NOP: 0,
  READV: 1,
  WRITEV: 2,
  FSYNC: 3,
  ASYNC_CANCEL: 14,
  FALLOCATE: 17,
  READ: 22,
  WRITE: 23,
} as const;

/** struct io_uring_params in 32-bit words, its two groups of offsets included. io_uring_setup(2) */
export const Params = {
  SQ_ENTRIES: 0,
  CQ_ENTRIES: 1,
  FLAGS: 2,
  SQ_THREAD_CPU: 3,
  SQ_THREAD_IDLE: 4,
  FEATURES: 5,
  SQ_HEAD: 10,
  SQ_TAIL: 11,
  SQ_FLAGS: 14,
  SQ_ARRAY: 16,
  CQ_HEAD: 20,
  CQ_TAIL: 21,
  CQ_CQES: 25,
  WORDS: 30,
} as const;

/** io_uring_setup(2), flags */
export const SETUP_SQPOLL = 1 << 1;
export const SETUP_SQ_AFF = 1 << 2;
export const SETUP_CQSIZE = 1 << 3;
export const SETUP_CLAMP = 1 << 4;
export const SETUP_SUBMIT_ALL = 1 << 7;
export const SETUP_COOP_TASKRUN = 1 << 8;
export const SETUP_TASKRUN_FLAG = 1 << 9;

/** io_uring_setup(2), features: one mapping for both rings, no lost completion, and Linux 5.7 with all `UringOp`. */
export const FEATURES_NEEDED = (1 << 0) | (1 << 1) | (1 << 5);

/** Bits of the submission ring's flags word. io_uring_setup(2) */
export const SQ_NEED_WAKEUP = 1 << 0;
export const SQ_CQ_OVERFLOW = 1 << 1;
export const SQ_TASKRUN = 1 << 2;

/** io_uring_enter(2), flags */
export const ENTER_GETEVENTS = 1 << 0;
export const ENTER_SQ_WAKEUP = 1 << 1;
export const ENTER_SQ_WAIT = 1 << 2;

/** Flags of ASYNC_CANCEL: not one operation but all, whatever their user data. io_uring_enter(2) */
export const ASYNC_CANCEL_ALL = 1 << 0;
export const ASYNC_CANCEL_ANY = 1 << 2;

/** io_uring_register(2): the CPUs of the kernel's worker threads. */
export const REGISTER_IOWQ_AFF = 17;

/** Where the ring's parts are found by mmap. io_uring_setup(2) */
export const OFF_SQ_RING = 0;
export const OFF_SQES = 0x1000_0000;

/** struct io_uring_sqe, 64 bytes, in 32-bit words; what is not named stays zero. linux/io_uring.h */
export const Sqe = {
  OPCODE: 0,
  FD: 1,
  OFFSET: 2,
  ADDRESS: 4,
  LENGTH: 6,
  OP_FLAGS: 7,
  USER_DATA: 8,
  WORDS: 16,
} as const;
/** struct io_uring_cqe, 16 bytes, in 32-bit words. linux/io_uring.h */
export const Cqe = { USER_DATA: 0, RESULT: 2, WORDS: 4 } as const;

/**
 * What `IoUring.prepare` is to write. Made once and filled anew for each operation: as arguments, numbers of more than 32 bits would
 * be put on the heap each time.
 */
export class Operation {
  /** One of `UringOp`. */
  opcode = 0;
  /** Of the data or of the iovecs; for FALLOCATE the length, bytes; for ASYNC_CANCEL the other's user data. The kernel's `addr`. */
  address = 0.5;
  /** Bytes or iovecs; for FALLOCATE its mode. The kernel's `len`. */
  length = 0;
  /** In the file, bytes. */
  offset = 0.5;
  /** RWF_* or IORING_FSYNC_*, as the operation has them. */
  flags = 0;

  set(opcode: number, address: number, length: number, offset: number, flags: number): this {
    this.opcode = opcode;
    this.address = address;
    this.length = length;
    this.offset = offset;
    this.flags = flags;
    return this;
  }
}
