/** A queue of things that allocates only when it grows. */
export class Ring<T> {
  #slots: (T | undefined)[] = new Array(64).fill(undefined);
  #head = 0;
  count = 0;

  push(item: T): void {
    if (this.count === this.#slots.length) this.#grow();
    this.#slots[(this.#head + this.count) & (this.#slots.length - 1)] = item;
    this.count++;
  }

  shift(): T {
    const item = this.#slots[this.#head]!;
    this.#slots[this.#head] = undefined;
    this.#head = (this.#head + 1) & (this.#slots.length - 1);
    this.count--;
    return item;
  }

  #grow(): void {
    const old = this.#slots;
    this.#slots = Array.from({ length: 2 * old.length }, (_, i) =>
      i < old.length ? old[(this.#head + i) & (old.length - 1)] : undefined,
    );
    this.#head = 0;
  }
}
