/** Slots in the order in which they came, each once at most. */
export class SlotRing {
  count = 0;
  readonly #slots: Int32Array;
  #first = 0;

  constructor(slots: number) {
    this.#slots = new Int32Array(slots);
  }

  push(slot: number): void {
    this.#slots[(this.#first + this.count++) % this.#slots.length] = slot;
  }

  /** Takes the first; -1 if there is none. */
  shift(): number {
    if (this.count === 0) return -1;
    const slot = this.#slots[this.#first]!;
    this.#first = (this.#first + 1) % this.#slots.length;
    this.count--;
    return slot;
  }
}
