/** What happens to somebody at some time. */
export interface Actor {
  /** Its place among all actors of a simulation: part of the trace. */
  readonly id: number;
  act(code: number, argument: number): void;
}

/**
 * What is still to happen, earliest first; of what happens at the same time, what was planned first. A binary heap of slots, so that
 * an event is no object.
 */
export class EventQueue {
  /** The event that was taken last. */
  time = 0;
  actor: Actor | undefined;
  code = 0;
  argument = 0;
  readonly #heap: number[] = [];
  readonly #free: number[] = [];
  readonly #times: number[] = [];
  readonly #sequence: number[] = [];
  readonly #actors: (Actor | undefined)[] = [];
  readonly #codes: number[] = [];
  readonly #arguments: number[] = [];
  #next = 0;

  get size(): number {
    return this.#heap.length;
  }

  /** When the next event is; infinite if there is none. */
  get nextTime(): number {
    return this.#heap.length === 0 ? Number.POSITIVE_INFINITY : this.#times[this.#heap[0]!]!;
  }

  push(time: number, actor: Actor, code: number, argument: number): void {
    const slot = this.#free.pop() ?? this.#times.length;
    this.#times[slot] = time;
    this.#sequence[slot] = this.#next++;
    this.#actors[slot] = actor;
    this.#codes[slot] = code;
    this.#arguments[slot] = argument;
    this.#rise(slot);
  }

  /** Takes the next event; false if there is none. */
  pop(): boolean {
    const heap = this.#heap;
    const slot = heap[0];
    if (slot === undefined) return false;
    this.time = this.#times[slot]!;
    this.actor = this.#actors[slot];
    this.code = this.#codes[slot]!;
    this.argument = this.#arguments[slot]!;
    this.#actors[slot] = undefined;
    this.#free.push(slot);
    const last = heap.pop()!;
    if (heap.length > 0) this.#sink(last);
    return true;
  }

  #before(a: number, b: number): boolean {
    const [timeA, timeB] = [this.#times[a]!, this.#times[b]!];
    return timeA < timeB || (timeA === timeB && this.#sequence[a]! < this.#sequence[b]!);
  }

  #rise(slot: number): void {
    const heap = this.#heap;
    let at = heap.length;
    heap.push(slot);
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!this.#before(slot, heap[parent]!)) break;
      heap[at] = heap[parent]!;
      at = parent;
    }
    heap[at] = slot;
  }

  /** Puts a slot in the place of the first. */
  #sink(slot: number): void {
    const heap = this.#heap;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && this.#before(heap[child + 1]!, heap[child]!)) child++;
      if (!this.#before(heap[child]!, slot)) break;
      heap[at] = heap[child]!;
      at = child;
    }
    heap[at] = slot;
  }
}
