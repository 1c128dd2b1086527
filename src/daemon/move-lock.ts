/** Of a queue, or of all queues of a device: it is moved, or whatever else is to be done with it is done. */
export class MoveLock {
  #users = 0;
  #moved: Promise<void> | undefined;
  #end: () => void = () => {};

  /** Does something that must not happen during a move, after one that is under way. */
  async use<T>(act: () => Promise<T>): Promise<T> {
    while (this.#moved !== undefined) await this.#moved;
    this.#users++;
    try {
      return await act();
    } finally {
      this.#users--;
    }
  }

  /** Begins a move; false if something else is being done. */
  tryMove(): boolean {
    if (this.#users > 0 || this.#moved !== undefined) return false;
    this.#moved = new Promise((resolve) => {
      this.#end = resolve;
    });
    return true;
  }

  endMove(): void {
    this.#moved = undefined;
    this.#end();
  }
}
