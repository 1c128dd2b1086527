import type { FilterRequest } from '../../../filter/contract.js';
import { RequestType, SECTOR_BYTES } from '../../../filter/index.js';
import { FILTER_BLOCK_BYTES } from '../../limits.js';

const BLOCK_SECTORS = FILTER_BLOCK_BYTES / SECTOR_BYTES;

/** First block in which a sector is, and how many blocks a stretch of sectors touches. */
export const blockOf = (sector: number): number => Math.floor(sector / BLOCK_SECTORS);
export const blocksIn = (sector: number, sectors: number): number =>
  sectors === 0 ? 0 : blockOf(sector + sectors - 1) - blockOf(sector) + 1;

/** What a guard's requests are. */
export const Way = {
  /** Not the guard's. */
  NONE: 0,
  /** Goes on as it is; its blocks are locked until it ends. */
  PASS: 1,
  /** A write whose data are copied once, and stored from there. */
  COPY: 2,
  /** A read that is done by pieces of our own. */
  READ: 3,
  /** Ranges, one after the other. */
  RANGES: 4,
  FLUSH: 5,
} as const;

/** What a filter does with the requests that a guard has for it. Everything here is called within a hook of the filter's. */
export interface GuardUser {
  /** Flushes are its own. */
  readonly flushes: boolean;
  /** A write has its blocks for itself. Returns PASS or COPY. */
  begin(request: FilterRequest): number;
  /** Data of a COPY are in a piece's buffer, or a READ wants them there. Begins what has to be done, and says how many operations. */
  move(piece: number, way: number): number;
  /** A piece has been moved. A READ's data then go to the guest. Returns its status, or DEFERRED if it has begun more operations. */
  moved(piece: number, way: number, status: number): number;
  /** Does a range of a request, whose blocks it has. Returns how many operations. */
  clear(slot: number, request: FilterRequest, sector: number, sectors: number, unmap: boolean): number;
  /** A range is done, its blocks are still locked. */
  cleared(request: FilterRequest, sector: number, sectors: number, status: number): void;
  /** Returns how many operations. */
  flush(slot: number): number;
  /** An operation with an odd tag has failed, of these sectors; none of a flush. Returns what it counts as. */
  secondFailed?(sector: number, sectors: number): number;
  /** A request has come to its end; the blocks of a write are still locked. Returns the guest's status. */
  end(request: FilterRequest, way: number, status: number): number;
}

/** What a request is to a guard at first. */
export function wayOf(type: number): number {
  if (type === RequestType.FLUSH) return Way.FLUSH;
  return type === RequestType.OUT ? Way.COPY : Way.RANGES;
}

/** The next range that is not empty, or how many there are. */
export function nextRange(request: FilterRequest, from: number): number {
  let range = from;
  while (range < request.rangeCount && request.rangeSectors(range) === 0) range++;
  return range;
}
