import type { ErrorCode } from '../errors.js';
import type { Burst } from './burst.js';
import type { Chain } from './chain.js';

/** What `pop` gives when it gives no descriptor head. */
export const Pop = {
  EMPTY: -1,
  AVAIL_INDEX_INVALID: -2,
  HEAD_OUT_OF_RANGE: -3,
  HEAD_IN_FLIGHT: -4,
  CHAIN_TOO_LONG: -5,
  NEXT_OUT_OF_RANGE: -6,
  INDIRECT_INVALID: -7,
  ADDRESS_INVALID: -8,
  DIRECTION_INVALID: -9,
  SEGMENTS_EXCEEDED: -10,
  POSITION_INVALID: -11,
} as const;

/** The stable error codes of the ring faults above. */
export const POP_FAULTS: Record<number, ErrorCode> = {
  [Pop.AVAIL_INDEX_INVALID]: 'AVAIL_INDEX_INVALID',
  [Pop.HEAD_OUT_OF_RANGE]: 'HEAD_OUT_OF_RANGE',
  [Pop.HEAD_IN_FLIGHT]: 'HEAD_IN_FLIGHT',
  [Pop.CHAIN_TOO_LONG]: 'CHAIN_TOO_LONG',
  [Pop.NEXT_OUT_OF_RANGE]: 'NEXT_OUT_OF_RANGE',
  [Pop.INDIRECT_INVALID]: 'INDIRECT_INVALID',
  [Pop.ADDRESS_INVALID]: 'ADDRESS_INVALID',
  [Pop.DIRECTION_INVALID]: 'DIRECTION_INVALID',
  [Pop.SEGMENTS_EXCEEDED]: 'SEGMENTS_EXCEEDED',
  [Pop.POSITION_INVALID]: 'POSITION_INVALID',
};

/**
 * The device's end of a virtqueue, whatever its layout in memory. One thread uses it. Every layout passes
 * `test/conformance/virtqueue.ts`.
 */
export interface Virtqueue {
  /**
   * Takes the next available chain: fills `chain` and returns its head, or `Pop.EMPTY`, or a negative fault, after which
   * the queue must not be used again. The head, by which the chain is given back, is that of its descriptors in a split
   * ring, its buffer id in a packed one; either way below the ring's size, and no other chain in flight has it.
   */
  pop(chain: Chain): number;
  /**
   * Gives up the chain taken last, as if it had not been taken. Several are given up in the reverse order; those in `unfinished` too,
   * if chains were given back in the order in which they were taken.
   */
  unpop(head: number): void;
  /** Takes a chain again that an earlier thread took and did not finish. Same results as `pop`. */
  retake(head: number, chain: Chain): number;
  /** Gives a chain back with the number of bytes written to it. Not visible to the driver before `publish`. */
  push(head: number, writtenBytes: number): void;
  /**
   * Takes the next chains, up to `limit`, as long as each is one descriptor of the kind asked for, and its memory is in one
   * window; perhaps fewer than there are. Fills `burst` and returns how many. Zero tells nothing: the next chain, if there is one,
   * or a fault, is for `pop`.
   */
  popBurst(burst: Burst, limit: number, writable: boolean): number;
  /** Gives the chains `from` … `to` - 1 of a burst back, with the bytes that it says were written. As `push` does. */
  pushBurst(burst: Burst, from: number, to: number): void;
  /** Makes all that was pushed visible at once. True if the driver wants to be called. */
  publish(): boolean;
  /** Where the last publication ended; and places of the ring from there on: chains, in a packed ring descriptors; below two rings. */
  published(): number;
  publishedSince(from: number): number;
  /** Chains published so far, modulo 65536. */
  publishedChains(): number;
  /** Whether the driver wants to be called for what was published since one ended there, as it says now. */
  stillWants(from: number): boolean;
  /** Tells the driver that the ring is polled. */
  suppressKicks(): void;
  /** Asks the driver for a kick on the next chain. True if one is there already: then no kick may come. */
  requestKicks(): boolean;
  /** Zero if no chain is available, as far as one unordered look tells; otherwise at least one, and no more than there are. */
  waiting(): number;
  /** Where the ring stands, as GET_VRING_BASE wants it for this layout. */
  readonly base: number;
  /** Heads taken and not given back when the ring was set up, in the order in which they were taken. */
  readonly unfinished: readonly number[];
}
