import { Segments } from '../guest-memory/segments.js';
import { CHAIN_SEGMENTS_MAX } from '../limits.js';

/**
 * What a driver made available under one descriptor head: pieces of guest memory, first those that the device may read,
 * then those that it may write. Filled by a ring, used for one request at a time.
 */
export class Chain {
  /** By which the chain is given back: the descriptor head in a split ring, the buffer id in a packed one. */
  head = 0;
  readonly segments = new Segments(CHAIN_SEGMENTS_MAX);
  /** The first so many segments are device-readable, the rest device-writable. */
  readableCount = 0;
  /** Bytes in the device-readable segments. */
  readableBytes = 0;
  /** Bytes in the device-writable segments. */
  writableBytes = 0;
  /** Descriptors that it took to read it: empty ones, which are no segments, cost time too. */
  descriptors = 0;

  clear(): void {
    this.segments.count = 0;
    this.readableCount = 0;
    this.readableBytes = 0;
    this.writableBytes = 0;
    this.descriptors = 0;
  }
}
