import type { RequestOwner, RequestPool } from '../block/request.js';
import { assert } from '../errors.js';
import { IoUring, type IoUringHandles, type IoUringOptions } from '../host/io-uring.js';
import { IO_URING_ENTRIES } from '../limits.js';
import type { UringUser } from '../net/uring-user.js';

/** User data of operations that are no requests: which user, and which of its operations. */
const USER_BIT = 2 ** 31;
const SLOT_BITS = 16;
const USERS_MAX = 2 ** (31 - SLOT_BITS);

/**
 * The io_uring of a sidecore, made when first asked for, and whose its completions are: a request of the pool, by its number, or
 * an operation of a *user*, such as a port.
 */
export class UringDesk {
  readonly #options: IoUringOptions;
  readonly #pool: RequestPool;
  readonly #onMade: (handles: IoUringHandles) => void;
  readonly #progress: { countBeat(): void };
  readonly #users: UringUser[] = [];
  #ring: IoUring | undefined;
  #tried = false;
  /** Number of the request whose completion is being handled; negative if there is none. */
  #handling = -1;

  /** @param progress - told of each completion */
  constructor(
    options: IoUringOptions,
    pool: RequestPool,
    onMade: (handles: IoUringHandles) => void,
    progress: { countBeat(): void },
  ) {
    this.#progress = progress;
    this.#options = options;
    this.#pool = pool;
    this.#onMade = onMade;
  }

  /** Undefined if the kernel refuses it. */
  get ring(): IoUring | undefined {
    if (!this.#tried) {
      this.#tried = true;
      this.#ring = IoUring.create(IO_URING_ENTRIES, this.#options);
      if (this.#ring !== undefined) this.#onMade(this.#ring.handles);
    }
    return this.#ring;
  }

  /** Gives a user's number of its operation zero; the others follow, up to 65535. */
  add(user: UringUser): number {
    assert(this.#users.length < USERS_MAX, 'the io_uring of a sidecore has room for a user');
    return USER_BIT + (this.#users.push(user) - 1) * 2 ** SLOT_BITS;
  }

  /** Descriptor to wait at; negative if nothing is in flight. */
  get fd(): number {
    return this.#ring !== undefined && this.#ring.inFlight > 0 ? this.#ring.fd : -1;
  }

  get hasCompletions(): boolean {
    return this.#ring?.hasCompletions ?? false;
  }

  /** Something waits to be submitted. */
  get hasPrepared(): boolean {
    return this.#ring?.hasPrepared ?? false;
  }

  /** Submits what was prepared and hands out what is complete. Returns how many operations that were. */
  turn(): number {
    const ring = this.#ring;
    if (ring === undefined) return 0;
    ring.submit();
    const count = ring.inFlight === 0 ? 0 : ring.reap();
    for (let i = 0; i < count; i++) {
      const data = ring.completedData[i]!;
      const result = ring.completedResult[i]!;
      // Filters have work with each.
      this.#progress.countBeat();
      if (data < USER_BIT) {
        this.#handling = data;
        const request = this.#pool.requests[data]!;
        request.queue!.backend.completed(request, result);
        this.#handling = -1;
      } else {
        this.#users[(data - USER_BIT) >>> SLOT_BITS]!.completed(data & (2 ** SLOT_BITS - 1), result);
      }
    }
    return count;
  }

  /** The queue of the request whose completion was being handled when `turn` threw; undefined if it was none. */
  get handling(): RequestOwner | undefined {
    let owner = this.#handling < 0 ? undefined : this.#pool.requests[this.#handling]!.queue;
    while (owner?.owner !== undefined) owner = owner.owner;
    return owner;
  }

  close(): void {
    this.#ring?.close();
  }
}
