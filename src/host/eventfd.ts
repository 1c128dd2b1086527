import { readFileSync } from 'node:fs';
import { check, declare } from './libc.js';

const eventfd = declare('int eventfd(unsigned int value, int flags)');
const eventfdWrite = declare('int eventfd_write(int fd, uint64_t value)');
const readCall = declare('intptr_t read(int fd, void *buffer, size_t length)');

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

const value = new Uint32Array(2);

/** Empties the counter and gives what was in it; zero if nothing was, or if it is no event counter. */
export function drain(fd: number): number {
  return readCall(fd, value, 8) === 8 ? value[0]! : 0;
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
