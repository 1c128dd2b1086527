/** Flows that are remembered: those of a burst of connections, in 7 KiB. */
const FLOWS = 256;

/**
 * What the switch found out about frames with the same addresses and tag from the same port, until anything that it was found
 * out from has changed: then the *epoch* is another. Direct-mapped; a flow that is not there costs a look into the address table.
 */
export class FlowCache {
  readonly #a = new Uint32Array(FLOWS);
  readonly #b = new Uint32Array(FLOWS);
  readonly #c = new Uint32Array(FLOWS);
  readonly #key = new Int32Array(FLOWS);
  readonly #epochs = new Int32Array(FLOWS);
  readonly #ways = new Int32Array(FLOWS);
  #epoch = 1;

  /** Everything is forgotten. */
  clear(): void {
    this.#epoch = (this.#epoch + 1) | 0;
  }

  /** Where a flow is, or is to be put. */
  place(a: number, b: number, c: number): number {
    const hash = Math.imul(a ^ (b << 7) ^ (c << 3), 0x9e37_79b1);
    return hash >>> 24;
  }

  /** Whether the flow of the three words of addresses, and of this key, is there. */
  has(place: number, a: number, b: number, c: number, key: number): boolean {
    return (
      this.#a[place] === a &&
      this.#b[place] === b &&
      this.#c[place] === c &&
      this.#key[place] === key &&
      this.#epochs[place] === this.#epoch
    );
  }

  way(place: number): number {
    return this.#ways[place]!;
  }

  put(place: number, a: number, b: number, c: number, key: number, way: number): void {
    this.#a[place] = a;
    this.#b[place] = b;
    this.#c[place] = c;
    this.#key[place] = key;
    this.#epochs[place] = this.#epoch;
    this.#ways[place] = way;
  }
}
