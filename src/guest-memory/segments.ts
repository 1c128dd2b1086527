/**
 * A list of pieces of guest memory, in three parallel arrays: which window, the byte offset in it, the length in bytes.
 * Made once and filled anew for each request.
 */
export class Segments {
  count = 0;
  readonly window: Uint16Array;
  readonly offset: Uint32Array;
  readonly length: Uint32Array;
  readonly capacity: number;

  constructor(capacity: number) {
    this.capacity = capacity;
    this.window = new Uint16Array(capacity);
    this.offset = new Uint32Array(capacity);
    this.length = new Uint32Array(capacity);
  }

  /** Adds a piece; false if the list is full. */
  push(window: number, offset: number, length: number): boolean {
    const at = this.count;
    if (at === this.capacity) return false;
    this.window[at] = window;
    this.offset[at] = offset;
    this.length[at] = length;
    this.count = at + 1;
    return true;
  }
}
