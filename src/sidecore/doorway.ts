import { EPOLLET, EPOLLIN, Epoll } from '../host/epoll.js';
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
  readonly #bellFd: number;
  #uringFd = -1;

  constructor(setup: { bellFd: number; doorwayFd: number }) {
    this.#epoll = new Epoll(CORE_QUEUES_MAX + 2, setup.doorwayFd);
    this.#bellFd = setup.bellFd;
    this.#epoll.add(setup.bellFd, EPOLLIN | EPOLLET, BELL);
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
    // Whoever is awake looks at its io_uring by itself, and the kernel need not tell of each completion.
    if (this.#uringFd >= 0) this.#epoll.remove(this.#uringFd);
    this.#uringFd = -1;
    this.#collect(0);
  }

  /** Waits until something comes, or for so long, ms, if that is not negative; an io_uring descriptor that is not negative is waited for too. */
  wait(uringFd: number, timeoutMs: number): void {
    if (uringFd >= 0 && this.#uringFd < 0) {
      this.#epoll.add(uringFd, EPOLLIN | EPOLLET, URING);
      this.#uringFd = uringFd;
    }
    this.#collect(timeoutMs);
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
