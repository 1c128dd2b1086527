import { EPOLLIN, EPOLLONESHOT, Epoll } from './epoll.js';
import { createEventFd, drain, signal } from './eventfd.js';

interface Waiter {
  readonly token: number;
  readonly resolve: (events: number) => void;
}

const WAKE = 0;

/**
 * Waits for descriptors that Node itself cannot watch (sockets that carry descriptors, event counters): a thread of its
 * own blocks in epoll_wait, and the promises resolve on the event loop. It keeps the process alive while anybody waits.
 */
class Reactor {
  readonly #epoll = new Epoll();
  readonly #wake = createEventFd();
  readonly #waiters = new Map<number, Waiter>();
  readonly #fds = new Map<number, number>();
  #nextToken = WAKE + 1;
  #running = false;

  constructor() {
    this.#epoll.add(this.#wake, EPOLLIN, WAKE);
  }

  /** Resolves with the epoll event bits of the descriptor, or with zero if the wait was cancelled. One waiter each. */
  wait(fd: number, events: number): Promise<number> {
    return new Promise((resolve) => {
      const token = this.#nextToken++;
      this.#epoll.add(fd, events | EPOLLONESHOT, token);
      this.#waiters.set(fd, { token, resolve });
      this.#fds.set(token, fd);
      if (!this.#running) void this.#run();
    });
  }

  /** Ends a wait. To be called before the descriptor is closed. */
  cancel(fd: number): void {
    this.#settle(fd, 0);
    if (this.#waiters.size === 0) signal(this.#wake);
  }

  #settle(fd: number, events: number): void {
    const waiter = this.#waiters.get(fd);
    if (waiter === undefined) return;
    this.#epoll.remove(fd);
    this.#waiters.delete(fd);
    this.#fds.delete(waiter.token);
    waiter.resolve(events);
  }

  async #run(): Promise<void> {
    this.#running = true;
    while (this.#waiters.size > 0) {
      const count = await this.#epoll.waitAsync(-1);
      for (let event = 0; event < count; event++) {
        const token = this.#epoll.token(event);
        const fd = this.#fds.get(token);
        if (token === WAKE) drain(this.#wake);
        else if (fd !== undefined) this.#settle(fd, this.#epoll.events(event));
      }
    }
    this.#running = false;
  }
}

let shared: Reactor | undefined;

/** The reactor of this thread. */
export function reactor(): Reactor {
  shared ??= new Reactor();
  return shared;
}
