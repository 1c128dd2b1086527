/**
 * Chains that are taken together, each of them one piece of guest memory, in parallel arrays. Made once and filled anew. What
 * most network frames and their buffers are; chains of any other form are taken one by one, with `pop`.
 */
export class Burst {
  readonly capacity: number;
  readonly head: Uint16Array;
  /** Where the piece is: window of guest memory, byte offset in it, length in bytes. */
  readonly window: Uint16Array;
  readonly offset: Uint32Array;
  readonly length: Uint32Array;
  /** Bytes written to it, for `pushBurst`. */
  readonly written: Uint32Array;

  constructor(capacity: number) {
    this.capacity = capacity;
    this.head = new Uint16Array(capacity);
    this.window = new Uint16Array(capacity);
    this.offset = new Uint32Array(capacity);
    this.length = new Uint32Array(capacity);
    this.written = new Uint32Array(capacity);
  }
}
