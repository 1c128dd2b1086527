import { BlockQueue } from '../block/queue.js';
import type { ChainSpec } from '../filter/spec.js';
import { changeFilters, type DeviceHost } from './create-queue.js';
import type { QueueTable } from './queue-table.js';
import type { ServedQueue } from './served-queue.js';

/** Who is told when nothing of a queue is in flight. */
interface Waiter {
  readonly key: number;
  readonly id: number;
}

/** Queues of disks from which nothing more is taken for a while, so that their filters can be changed. */
export class HeldQueues {
  readonly #queues: QueueTable;
  readonly #host: DeviceHost;
  readonly #answer: (id: number) => void;
  /** By key; those among them, too, that are not served here yet. */
  readonly #held = new Set<number>();
  readonly #waiters: Waiter[] = [];

  constructor(queues: QueueTable, host: DeviceHost, answer: (id: number) => void) {
    this.#queues = queues;
    this.#host = host;
    this.#answer = answer;
  }

  /** Somebody waits. */
  get waiting(): boolean {
    return this.#waiters.length > 0;
  }

  /** Answers when nothing of the queue is in flight; at once if it is not here. */
  hold(id: number, key: number): void {
    this.#held.add(key);
    const queue = this.#blockQueue(key);
    if (queue !== undefined) this.#holdQueue(queue);
    this.#waiters.push({ key, id });
    this.look();
  }

  /** Whoever still waits for it does so no longer. */
  release(key: number): void {
    this.#held.delete(key);
    for (let i = this.#waiters.length - 1; i >= 0; i--) {
      if (this.#waiters[i]!.key === key) this.#answer(this.#waiters.splice(i, 1)[0]!.id);
    }
    const queue = this.#blockQueue(key);
    if (queue === undefined) return;
    queue.held = false;
    // One that is being let go of begins nothing new.
    if (!queue.closed) queue.backend.resume?.();
  }

  /** A queue is served from now on. */
  enter({ key, queue }: ServedQueue): void {
    if (this.#held.has(key) && queue instanceof BlockQueue) this.#holdQueue(queue);
  }

  #holdQueue(queue: BlockQueue): void {
    queue.held = true;
    queue.hurry();
  }

  changeFilters(key: number, spec: ChainSpec | undefined): void {
    const served = this.#queues.get(key);
    if (served?.queue instanceof BlockQueue) changeFilters(served.queue, spec, served.index, this.#host);
  }

  look(): void {
    for (let i = this.#waiters.length - 1; i >= 0; i--) {
      const { key, id } = this.#waiters[i]!;
      const queue = this.#blockQueue(key);
      if (queue !== undefined && !(queue.settled && queue.quiesce())) continue;
      this.#waiters.splice(i, 1);
      this.#answer(id);
    }
  }

  #blockQueue(key: number): BlockQueue | undefined {
    const queue = this.#queues.get(key)?.queue;
    return queue instanceof BlockQueue ? queue : undefined;
  }
}
