import { declare } from './libc.js';

const clockGetTime = declare('int clock_gettime(int clock, void *time)');
const CLOCK_REALTIME = 0;
const CLOCK_MONOTONIC = 1;
const CLOCK_THREAD_CPUTIME = 3;

const time = new Uint32Array(4);

/** struct timespec, in 32-bit words: seconds (low, high), nanoseconds (low, high). */
function read(clock: number): number {
  clockGetTime(clock, time);
  return time[0]! * 1e9 + time[2]!;
}

/**
 * Monotonic time, ns; good in every thread. Unlike `performance.now` it allocates nothing, which matters to a thread that
 * must never collect garbage.
 */
export function nowNs(): number {
  return read(CLOCK_MONOTONIC);
}

/** The same into a slot of an array: a number that is returned may be boxed, which is an allocation. */
export function readNowNs(into: Float64Array, slot: number): void {
  clockGetTime(CLOCK_MONOTONIC, time);
  into[slot] = time[0]! * 1e9 + time[2]!;
}

/** Words that `readWallClock` fills. */
export const WALL_CLOCK_WORDS = 3;

/**
 * Time since 1970 into three words of an array: seconds (low, high), nanoseconds. A double does not hold that many nanoseconds,
 * and a bigint would be an allocation.
 */
export function readWallClock(into: Uint32Array, at: number): void {
  clockGetTime(CLOCK_REALTIME, time);
  into[at] = time[0]!;
  into[at + 1] = time[1]!;
  into[at + 2] = time[2]!;
}

/** CPU time that the calling thread has used, ns. */
export function threadCpuNs(): number {
  return read(CLOCK_THREAD_CPUTIME);
}

/** Of a clock's number: the CPU time of a single thread, by the scheduler's account. Linux, include/linux/posix-timers.h */
const CPUCLOCK_OF_THREAD = 6;

/** CPU time that a thread of this process has used, ns, by its id as the kernel knows it. Means nothing if there is none. */
export function cpuNsOf(threadId: number): number {
  return read((~threadId << 3) | CPUCLOCK_OF_THREAD);
}
