import type { BlockFilterContext, BufferPool, IoBuffer } from '../../../filter/index.js';
import { LOCKS_FAILED_MAX } from '../../limits.js';
import { CLUSTER_BYTES_MAX } from './layout.js';

/** Buffers of a queue: so many requests are worked on at a time. */
export const BUFFERS = 16;

const NO_LOCKS = { failed: 0 };

/** Buffers of one queue, each with a request that has it, by its slot; and requests that wait for one, or for something else. */
export class LentBuffers {
  /** By a buffer's index. */
  readonly slotOf = new Uint16Array(BUFFERS);
  readonly #pool: BufferPool;
  readonly #lent: (IoBuffer | undefined)[] = new Array(BUFFERS).fill(undefined);
  /** Whoever is asked next is first. */
  readonly #waiting: number[] = [];

  /** Only within `create`. */
  constructor(context: Pick<BlockFilterContext, 'buffers'>) {
    this.#pool = context.buffers(BUFFERS, CLUSTER_BYTES_MAX);
  }

  /** Lends one to a request; undefined if there is none. */
  take(slot: number): IoBuffer | undefined {
    const buffer = this.#pool.take();
    if (buffer === undefined) return undefined;
    this.#lent[buffer.index] = buffer;
    this.slotOf[buffer.index] = slot;
    return buffer;
  }

  /** One that is lent. */
  at(index: number): IoBuffer {
    return this.#lent[index]!;
  }

  giveBack(buffer: IoBuffer): void {
    this.#lent[buffer.index] = undefined;
    this.#pool.giveBack(buffer);
  }

  /** The request gets its turn when `turn` is called next. */
  wait(slot: number): void {
    this.#waiting.push(slot);
  }

  /**
   * @param goOn - goes on with a request; false if that waits on
   * @param locks - that requests wait for, if for any: not all of them in each turn. The next turn begins with those that were left out, for
   * one of them may have what the others wait for
   */
  turn(goOn: (slot: number) => boolean, locks: { failed: number } = NO_LOCKS): void {
    locks.failed = 0;
    for (let i = this.#waiting.length; i > 0 && locks.failed < LOCKS_FAILED_MAX; i--) {
      const slot = this.#waiting.shift()!;
      if (!goOn(slot)) this.#waiting.push(slot);
    }
  }
}
