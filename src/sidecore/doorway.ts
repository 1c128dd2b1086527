import { EPOLLET, EPOLLIN, EPOLLONESHOT, Epoll } from '../host/epoll.js';
import { drain } from '../host/eventfd.js';
import { CORE_QUEUES_MAX } from '../limits.js';

const BELL = 0;
const URING = 0xffffffff;

/**
 * Where a sidecore hears of what it does not poll: the kicks of its queues, its bell, and, when it sleeps, its io_uring.
 * One epoll instance, edge-triggered, so that a kick costs no read and a polled queue no system call.
 */
export class Doorway {
  /** Keys of the queues that the last look or wait found kicked. */
  readonly kicked = new Uint32Array(CORE_QUEUES_MAX);
  kickedCount = 0;
  readonly #epoll: Epoll;
  readonly #watcher: Epoll;
  readonly #bellFd: number;
  readonly #index: number;
  #uringFd = -1;
  #lent = false;

  constructor(setup: { bellFd: number; doorwayFd: number; watcherFd: number; index: number }) {
    this.#epoll = new Epoll(CORE_QUEUES_MAX + 2, setup.doorwayFd);
    this.#bellFd = setup.bellFd;
    this.#index = setup.index;
    this.#watcher = new Epoll(1, setup.watcherFd);
    this.#epoll.add(setup.bellFd, EPOLLIN | EPOLLET, BELL);
    this.#watcher.add(this.#epoll.fd, EPOLLONESHOT, setup.index);
  }

  /** Listens for kicks of a queue. */
  open(kickFd: number, key: number): void {
    this.#epoll.add(kickFd, EPOLLIN | EPOLLET, key);
  }

  shut(kickFd: number): void {
    this.#epoll.remove(kickFd);
  }

  /** Takes what has come, without waiting. */
  look(): void {
    this.#lent = false;
    this.#collect(0);
  }

  /** Waits until something comes; an io_uring descriptor that is not negative is waited for too. */
  wait(uringFd: number): void {
    if (uringFd >= 0 && this.#uringFd < 0) {
      this.#epoll.add(uringFd, EPOLLIN | EPOLLET, URING);
      this.#uringFd = uringFd;
    }
    this.#collect(-1);
  }

  /**
   * Lends the instance to the watcher thread, for one event, because this thread goes on polling. If something has come
   * already, the watcher hears of it at once. It answers by ringing the bell, and `look` ends the loan.
   */
  lend(): void {
    if (this.#lent) return;
    this.#lent = true;
    if (this.#uringFd >= 0) {
      this.#epoll.remove(this.#uringFd);
      this.#uringFd = -1;
    }
    this.#watcher.modify(this.#epoll.fd, EPOLLIN | EPOLLONESHOT, this.#index);
  }

  #collect(timeoutMs: number): void {
    const count = this.#epoll.wait(timeoutMs);
    this.kickedCount = 0;
    for (let event = 0; event < count; event++) {
      const token = this.#epoll.token(event);
      if (token === BELL) drain(this.#bellFd);
      else if (token !== URING) this.kicked[this.kickedCount++] = token;
    }
  }
}
