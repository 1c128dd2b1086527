import { REQUESTS_IN_FLIGHT_MAX } from '../limits.js';
import {
  Params,
  REGISTER_IOWQ_AFF,
  SETUP_CLAMP,
  SETUP_COOP_TASKRUN,
  SETUP_CQSIZE,
  SETUP_SQ_AFF,
  SETUP_SQPOLL,
  SETUP_SUBMIT_ALL,
  SETUP_TASKRUN_FLAG,
  SYS_IO_URING_REGISTER,
  SYS_IO_URING_SETUP,
} from './io-uring-abi.js';
import { declare, Errno, errno } from './libc.js';

const setupCall = declare('long syscall(long number, unsigned int entries, void *params)');
const registerCall = declare(
  'long syscall(long number, int fd, unsigned int opcode, void *argument, unsigned int count)',
);

/** A polling kernel thread without work goes to sleep after this time, ms. */
const SQPOLL_IDLE_MS = 100;

export interface IoUringOptions {
  /**
   * Operations that may be in flight, which is how many completions can wait to be reaped. Default: as many as a sidecore has
   * requests, each with one operation.
   */
  readonly inFlightMax?: number;
  /** CPU of a kernel thread that polls for submissions, so that `submit` needs no system call while that is awake. */
  readonly sqpollCpu?: number | undefined;
  /**
   * CPUs of the kernel's worker threads, which do what would block. Default: those of this thread, and on the CPU of a
   * polling thread they get little of it.
   */
  readonly workerCpus?: readonly number[];
}

/** io_uring_setup with the best flags that this kernel knows. Returns a descriptor, or a negative number. */
export function setup(entries: number, options: IoUringOptions, params: Uint32Array): number {
  const { sqpollCpu, inFlightMax = REQUESTS_IN_FLIGHT_MAX } = options;
  const base = SETUP_CLAMP | SETUP_CQSIZE | (sqpollCpu === undefined ? 0 : SETUP_SQPOLL | SETUP_SQ_AFF);
  // Without them (before 5.18 and 5.19) everything works too, a little slower. SINGLE_ISSUER would forbid to clear up after a dead thread.
  const cooperative = sqpollCpu === undefined ? SETUP_COOP_TASKRUN | SETUP_TASKRUN_FLAG : 0;
  for (const better of [SETUP_SUBMIT_ALL | cooperative, SETUP_SUBMIT_ALL, 0]) {
    params.fill(0);
    params[Params.FLAGS] = base | better;
    params[Params.CQ_ENTRIES] = Math.max(inFlightMax, entries);
    params[Params.SQ_THREAD_CPU] = sqpollCpu ?? 0;
    params[Params.SQ_THREAD_IDLE] = SQPOLL_IDLE_MS;
    const fd = Number(setupCall(SYS_IO_URING_SETUP, entries, params));
    if (fd >= 0 || errno() !== Errno.EINVAL) return fd;
  }
  return -1;
}

/** Keeps the kernel's workers for this thread off other CPUs; before 5.14 they go where they like. */
export function keepWorkersOn(fd: number, cpus: readonly number[]): void {
  const mask = new Uint8Array(128);
  for (const cpu of cpus) mask[cpu >> 3]! |= 1 << (cpu & 7);
  registerCall(SYS_IO_URING_REGISTER, fd, REGISTER_IOWQ_AFF, mask, mask.length);
}
