import type { BlockRequest } from '../../request.js';

/** The request needs one more operation. Beside `Status` and `PENDING`. */
export const CONTINUE = -2;

/** What a request is at: the lower bits of `request.step`. */
export const Phase = {
  READ: 0,
  WRITE: 1,
  FLUSH: 2,
  DISCARD: 3,
  /** Zeroing a range by giving its room back, by the file system, or by writing. */
  ZERO_PUNCH: 4,
  ZERO: 5,
  ZERO_WRITE: 6,
  /** After the last range of a durable request. */
  ZERO_SYNC: 7,
  /** Erasing: first all ranges are overwritten, then all is made durable, then their room is given back. */
  ERASE_WRITE: 8,
  ERASE_SYNC: 9,
  ERASE_PUNCH: 10,
} as const;

/** The range that a request is at stands above its phase. */
export const RANGE_SHIFT = 4;

export function phaseOf(request: BlockRequest): number {
  return request.step & ((1 << RANGE_SHIFT) - 1);
}
