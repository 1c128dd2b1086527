import { readFileSync } from 'node:fs';
import koffi from 'koffi';
import { check, declare, RWF_NOWAIT } from './libc.js';

const eventfd = declare('int eventfd(unsigned int value, int flags)');
const eventfdWrite = declare('int eventfd_write(int fd, uint64_t value)');
const preadv2 = declare('intptr_t preadv2(int fd, void *iov, int count, int64_t offset, int flags)');

const EFD_CLOEXEC = 0o2000000;
const EFD_NONBLOCK = 0o4000;

/** A new non-blocking event counter. */
export function createEventFd(): number {
  return check(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), 'eventfd');
}

/**
 * Adds one to the counter: a kick, a call, or a wake-up. A counter that the other side never reads is full one day; the
 * call then fails with EAGAIN, which is right, for the event is still pending.
 */
export function signal(fd: number): void {
  eventfdWrite(fd, 1);
}

/** In memory of its own: a small typed array would be moved by the garbage collector. */
const value = new Uint32Array(new ArrayBuffer(8));
/** struct iovec: `value`, 8 bytes. readv(2) */
const iovec = new BigUint64Array([koffi.address(value), 8n]);

/**
 * Empties the counter and gives what was in it; zero if nothing was, or if it is no event counter. Never waits, even if the
 * other side, which shares the descriptor's flags, has just made it blocking.
 */
export function drain(fd: number): number {
  return preadv2(fd, iovec, 1, -1, RWF_NOWAIT) === 8 ? value[0]! : 0;
}

/** What is in the counter, without emptying it; zero if the descriptor is none. Slow: it asks /proc. */
export function eventCount(fd: number): bigint {
  if (fd < 0) return 0n;
  try {
    const digits = /eventfd-count:\s*([0-9a-f]+)/.exec(readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8'))?.[1];
    return BigInt(`0x${digits ?? '0'}`);
  } catch {
    return 0n;
  }
}
