import { PIECE_BYTES } from '../limits.js';
import type { QueuePosition } from '../virtio/queue-spec.js';
import type { Doorway } from './doorway.js';
import type { PollList } from './poll-list.js';
import type { QueueTable } from './queue-table.js';
import type { ServedQueue } from './served-queue.js';

/** Queues that are being let go of: nothing more is taken from them, and they go when nothing of them is in flight. */
export class ClosingQueues {
  readonly #queues: QueueTable;
  readonly #list: PollList;
  readonly #doorway: Doorway;
  readonly #publish: () => void;
  readonly #answer: (id: number, position?: QueuePosition) => void;
  readonly #closing: ServedQueue[] = [];

  /**
   * @param publish - shows drivers what is complete
   * @param answer - tells who has asked for it that a queue is gone, and where it stands
   */
  constructor(
    queues: QueueTable,
    list: PollList,
    doorway: Doorway,
    publish: () => void,
    answer: (id: number, position?: QueuePosition) => void,
  ) {
    this.#queues = queues;
    this.#list = list;
    this.#doorway = doorway;
    this.#publish = publish;
    this.#answer = answer;
  }

  get count(): number {
    return this.#closing.length;
  }

  /** @param detachId - request that is answered when it is gone; zero if none is */
  begin(served: ServedQueue, detachId: number): void {
    served.queue.closed = true;
    served.queue.hurry?.();
    served.detachId = detachId;
    this.#list.stop(served);
    if (served.kickFd >= 0) this.#doorway.shut(served.kickFd);
    this.#closing.push(served);
  }

  /**
   * A queue that waits to be let go of is served on, unless it is broken, or nobody is told when it is gone. What it was kicked for
   * meanwhile its doorway still knows. Whoever wanted to have it gone is answered without a position.
   */
  takeBack(key: number): void {
    const at = this.#closing.findIndex((served) => served.key === key);
    const served = this.#closing[at];
    if (served === undefined || served.detachId === 0 || served.queue.state.fault !== 0) return;
    const { detachId } = served;
    this.#closing.splice(at, 1);
    served.detachId = 0;
    served.queue.closed = false;
    if (served.kickFd >= 0) this.#doorway.open(served.kickFd, key);
    served.queue.start();
    this.#list.start(served);
    this.#answer(detachId);
  }

  /** Lets go of those of which nothing is in flight any more. */
  finish(): void {
    for (let i = this.#closing.length - 1; i >= 0; i--) {
      const served = this.#closing[i]!;
      const { queue, detachId } = served;
      // A request that was begun is brought to its end.
      if (queue.inFlight > 0) queue.serve(0, PIECE_BYTES);
      this.#publish();
      if (queue.inFlight > 0 || !queue.quiesce()) continue;
      this.#closing.splice(i, 1);
      const position = this.#queues.remove(served);
      this.#list.count();
      if (detachId !== 0) this.#answer(detachId, position);
    }
  }
}
