/** Values of one roll. */
const VALUES = 4;
const GOLDEN = 0x9e37_79b9;

/** What decides on frames, one roll each: numbers that a seed, a direction and the frame's number give, and nothing else. */
export class Dice {
  readonly #salt: number;
  readonly #counted: Uint32Array;
  readonly #values = new Float64Array(VALUES);

  /** @param counted - one word: frames that were decided on; outlives this thread */
  constructor(seed: number, direction: number, counted: Uint32Array) {
    this.#salt = mix((seed ^ Math.imul(direction + 1, GOLDEN)) | 0);
    this.#counted = counted;
  }

  roll(): void {
    const number = this.#counted[0]!;
    this.#counted[0] = number + 1;
    let state = mix((this.#salt ^ Math.imul(number + 1, GOLDEN)) | 0);
    for (let i = 0; i < VALUES; i++) {
      state = mix((state + GOLDEN) | 0);
      this.#values[i] = (state >>> 0) / 2 ** 32;
    }
  }

  /** One of the last roll, 0 to less than 1. */
  value(index: number): number {
    return this.#values[index]!;
  }
}

/** The finalizer of MurmurHash3. */
function mix(value: number): number {
  let x = value;
  x = Math.imul(x ^ (x >>> 16), 0x85eb_ca6b);
  x = Math.imul(x ^ (x >>> 13), 0xc2b2_ae35);
  return x ^ (x >>> 16);
}
