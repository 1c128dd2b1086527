import { type TraceMemory, TraceRecord } from './memory.js';

/** How long a reader waits for a request to end before it gives it as unfinished, ns. */
const PATIENCE_NS = 1e9;
/** A sidecore may be in the middle of writing what happened so long ago, ns. */
const SETTLED_NS = 1e6;

/** One queue of a reader. */
interface Front {
  /** Number of the record that is next. */
  at: number;
  readonly record: TraceRecord;
  loaded: boolean;
}

/**
 * Reads records of all queues in the order in which their requests came down, while sidecores write. What they have overwritten before it
 * was read is counted.
 */
export class TraceReader {
  readonly #memory: TraceMemory;
  readonly #fronts: readonly Front[];
  /** Records that were overwritten before they were read. */
  lost = 0;
  /** Records of which it is not known how their requests ended. */
  unfinished = 0;
  records = 0;

  /** @param from - of each queue, the first record; without it, the oldest that there is */
  constructor(memory: TraceMemory, from?: readonly number[]) {
    this.#memory = memory;
    this.#fronts = Array.from({ length: memory.queues }, (_, queue) => ({
      at: from?.[queue] ?? oldest(memory, queue),
      record: new TraceRecord(),
      loaded: false,
    }));
  }

  /** Where it stands: `from` of another that goes on. */
  get position(): readonly number[] {
    return this.#fronts.map(({ at }) => at);
  }

  /**
   * Gives what there is, at most `limit` records; each is good until `take` returns.
   *
   * @param all - does not wait for requests that have not ended
   * @returns how many; as many as `limit` if there may be more
   */
  read(limit: number, nowNs: number, all: boolean, take: (record: TraceRecord) => void): number {
    const barrier = all ? Number.POSITIVE_INFINITY : nowNs - SETTLED_NS;
    const ends = this.#fronts.map((_, queue) => this.#memory.next(queue));
    let count = 0;
    for (; count < limit; count++) {
      const queue = this.#first(ends);
      if (queue < 0) break;
      const front = this.#fronts[queue]!;
      const { record } = front;
      if (record.downNs > barrier) break;
      if (record.status === undefined) {
        const late = nowNs - record.downNs > PATIENCE_NS || this.#isFull(queue) || all;
        if (!late && !this.#memory.isAbandoned(queue, front.at)) break;
        this.unfinished++;
      }
      take(record);
      this.#goOn(front);
    }
    this.records += count;
    // Unfinished ones are looked at again.
    for (const front of this.#fronts) front.loaded = false;
    return count;
  }

  /** The queue whose next record is the oldest; negative if there is none. */
  #first(ends: readonly number[]): number {
    let first = -1;
    for (let queue = 0; queue < this.#fronts.length; queue++) {
      const front = this.#fronts[queue]!;
      if (!front.loaded && !this.#load(queue, front, ends[queue]!)) continue;
      if (first < 0 || front.record.downNs < this.#fronts[first]!.record.downNs) first = queue;
    }
    return first;
  }

  #load(queue: number, front: Front, end: number): boolean {
    for (; front.at !== end; this.#goOn(front)) {
      const behind = (this.#memory.next(queue) - front.at) >>> 0;
      if (behind > this.#memory.size) this.#skip(front, Math.min(behind - this.#memory.size, (end - front.at) >>> 0));
      if (front.at === end) return false;
      front.loaded = this.#memory.read(queue, front.at, front.record);
      if (front.loaded) return true;
      this.lost++;
    }
    return false;
  }

  #skip(front: Front, count: number): void {
    this.lost += count;
    front.at = (front.at + count) >>> 0;
  }

  #goOn(front: Front): void {
    front.loaded = false;
    front.at = (front.at + 1) >>> 0;
  }

  /** Whoever waits loses records soon. */
  #isFull(queue: number): boolean {
    const { size } = this.#memory;
    return (this.#memory.next(queue) - this.#fronts[queue]!.at) >>> 0 > (3 * size) / 4;
  }
}

function oldest(memory: TraceMemory, queue: number): number {
  const next = memory.next(queue);
  // Until numbers have come round for the first time.
  return next < memory.size ? 0 : (next - memory.size) >>> 0;
}
