import { check, declare, Errno, errno } from './libc.js';

const epollCreate = declare('int epoll_create1(int flags)');
const epollCtl = declare('int epoll_ctl(int epfd, int op, int fd, void *event)');
const epollWait = declare('int epoll_wait(int epfd, void *events, int count, int timeout)');

export const EPOLLIN = 1;
export const EPOLLOUT = 4;
export const EPOLLERR = 8;
export const EPOLLHUP = 0x10;
export const EPOLLET = 1 << 31;
export const EPOLLONESHOT = 1 << 30;

const EPOLL_CLOEXEC = 0o2000000;
const EPOLL_CTL_ADD = 1;
const EPOLL_CTL_DEL = 2;
const EPOLL_CTL_MOD = 3;

/** struct epoll_event, in 32-bit words: packed on x86-64 (12 bytes), padded elsewhere (16). */
const EVENT_WORDS = process.arch === 'x64' ? 3 : 4;
const EVENT_DATA = process.arch === 'x64' ? 1 : 2;

/** One epoll instance and the events of its last wait. Each descriptor carries a number chosen by the caller. */
export class Epoll {
  readonly fd: number;
  readonly #events: Uint32Array;
  readonly #one = new Uint32Array(EVENT_WORDS);
  readonly #capacity: number;

  constructor(capacity = 64, fd = check(epollCreate(EPOLL_CLOEXEC), 'epoll_create1')) {
    this.fd = fd;
    this.#capacity = capacity;
    this.#events = new Uint32Array(capacity * EVENT_WORDS);
  }

  add(fd: number, events: number, token: number): void {
    check(this.#control(EPOLL_CTL_ADD, fd, events, token), 'epoll_ctl add');
  }

  modify(fd: number, events: number, token: number): void {
    check(this.#control(EPOLL_CTL_MOD, fd, events, token), 'epoll_ctl modify');
  }

  /** Takes the descriptor out; one that is not in is no error. */
  remove(fd: number): void {
    this.#control(EPOLL_CTL_DEL, fd, 0, 0);
  }

  /** Blocks this thread for at most `timeoutMs` (-1: without end). Returns the number of events. */
  wait(timeoutMs: number): number {
    return this.#result(epollWait(this.fd, this.#events, this.#capacity, timeoutMs));
  }

  /** The same in a thread of its own: the event loop goes on meanwhile. */
  waitAsync(timeoutMs: number): Promise<number> {
    return new Promise((resolve, reject) => {
      epollWait.async(this.fd, this.#events, this.#capacity, timeoutMs, (error: unknown, count: number) => {
        if (error) reject(error);
        else resolve(Math.max(count, 0));
      });
    });
  }

  token(event: number): number {
    return this.#events[event * EVENT_WORDS + EVENT_DATA]!;
  }

  events(event: number): number {
    return this.#events[event * EVENT_WORDS]!;
  }

  #result(count: number): number {
    if (count >= 0) return count;
    return errno() === Errno.EINTR ? 0 : check(count, 'epoll_wait');
  }

  #control(op: number, fd: number, events: number, token: number): number {
    this.#one[0] = events;
    this.#one[EVENT_DATA] = token;
    return epollCtl(this.fd, op, fd, this.#one);
  }
}
