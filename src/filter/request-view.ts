import { RequestType, SECTOR_BYTES, Status } from '../block/features.js';
import type { BlockRequest } from '../block/request.js';
import { copyBytes } from '../guest-memory/copy.js';
import { REQUESTS_IN_FLIGHT_MAX } from '../limits.js';
import type { ChainFilter } from './chain-filter.js';
import type { FilterRequest, IoTarget, Segment } from './contract.js';
import type { Operation, Target } from './operations.js';

/** What became of a request at a filter; or one of `Status`, if the filter ended it. */
export const Verdict = {
  /** The filter has it on its way down, and has not said anything. */
  ASKED: -3,
  /** It goes on. */
  PASSED: -4,
  /** No filter is asked. */
  CLOSED: -5,
  /** The filter keeps it. */
  DEFERRED: -6,
  /** A filter that may keep requests has it on its way up. */
  ASKED_UP: -7,
  /** It goes to a disk of the filter's own. */
  REDIRECTED: -8,
} as const;

/** Where a filter has kept a request. */
export const Held = { NOT: 0, DOWN: 1, UP: 2 } as const;

/** Tokens are small integers: a slot, and how often it was deferred, after which they come round again. */
const GENERATIONS = 2 ** 18;

/** Slot of a token. */
export const slotOf = (token: number): number => token % REQUESTS_IN_FLIGHT_MAX;

/** Whether a filter gave one of `Status`: it may be anything. */
export const isStatus = (status: unknown): boolean =>
  status === Status.OK || status === Status.IOERR || status === Status.UNSUPP;

/** The one segment of a view that filters hold at a time. */
class SegmentView implements Segment {
  bytes: Uint8Array = Buffer.alloc(0);
  offset = 0;
  length = 0;
}

/** A request of the pool as filters see it: made once for each slot, so that nothing is filled in per request. */
export class RequestView implements FilterRequest {
  readonly slot: number;
  readonly request: BlockRequest;
  /** Of `Verdict`. The chain's. */
  verdict: number = Verdict.CLOSED;
  /** The filter that keeps it, since when it was on its way down or up, of `Held`, and with which status on the way up. */
  holder: ChainFilter | undefined = undefined;
  held: number = Held.NOT;
  heldStatus: number = Status.OK;
  /** Place in its chain's list of those that are kept. */
  heldAt = 0;
  token = 0;
  /** Of a filter's own operation: which, and the first filter that it goes through. */
  operation: Operation | undefined = undefined;
  floor = 0;
  /** The disk of a filter's own that it goes to, or is at. */
  target: Target | undefined = undefined;
  #generation = 0;
  readonly #segment = new SegmentView();

  constructor(request: BlockRequest) {
    this.slot = request.slot;
    this.request = request;
  }

  get type(): number {
    return this.request.type;
  }

  get sector(): number {
    return this.request.sector;
  }

  get durable(): boolean {
    return this.request.durable;
  }

  get bytes(): number {
    const { type } = this.request;
    return type === RequestType.IN || type === RequestType.OUT ? this.request.dataBytes : this.#rangeBytes();
  }

  get segmentCount(): number {
    const { type, first, end } = this.request;
    return type === RequestType.IN || type === RequestType.OUT ? end - first : 0;
  }

  segment(index: number): Segment {
    if (!(index >= 0 && index < this.segmentCount)) throw new RangeError(`there is no segment ${index}`);
    const { chain, first, memory } = this.request;
    const { segments } = chain;
    const at = first + index;
    const view = this.#segment;
    view.bytes = memory!.bytes[segments.window[at]!]!;
    view.offset = segments.offset[at]!;
    view.length = segments.length[at]!;
    return view;
  }

  copyTo(position: number, target: Uint8Array, offset: number, length: number): void {
    this.#copy(position, target as Buffer, offset, length, false);
  }

  copyFrom(position: number, source: Uint8Array, offset: number, length: number): void {
    if (this.request.type !== RequestType.IN) throw new Error('only data of IN may be written');
    // Only a buffer can be copied from.
    const { buffer, byteOffset } = source;
    const bytes = source instanceof Buffer ? source : Buffer.from(buffer, byteOffset, source.length);
    this.#copy(position, bytes, offset, length, true);
  }

  #copy(position: number, other: Buffer, offset: number, length: number, fill: boolean): void {
    const { chain, first, end, memory, dataBytes } = this.request;
    const isWithin = position >= 0 && length >= 0 && position + length <= dataBytes;
    if (!isWithin || this.segmentCount === 0) throw new RangeError('the request has no such data');
    if (!(offset >= 0 && offset + length <= other.length)) throw new RangeError('the buffer is too short');
    const { segments } = chain;
    let skip = position;
    let at = offset;
    for (let i = first, left = length; i < end && left > 0; i++) {
      const room = segments.length[i]! - skip;
      if (room <= 0) {
        skip = -room;
        continue;
      }
      const bytes = memory!.bytes[segments.window[i]!]!;
      const piece = Math.min(room, left);
      const from = segments.offset[i]! + skip;
      if (fill) copyBytes(other, at, bytes, from, piece);
      else copyBytes(bytes, from, other, at, piece);
      skip = 0;
      at += piece;
      left -= piece;
    }
  }

  get rangeCount(): number {
    const { type } = this.request;
    const without = type === RequestType.IN || type === RequestType.OUT || type === RequestType.FLUSH;
    return without ? 0 : this.request.rangeCount;
  }

  rangeSector(index: number): number {
    return this.request.rangeSector[index]!;
  }

  rangeSectors(index: number): number {
    return this.request.rangeSectors[index]!;
  }

  rangeUnmap(index: number): boolean {
    return this.request.rangeUnmap[index] === 1;
  }

  complete(status: number): void {
    if (this.verdict !== Verdict.ASKED) throw new Error(NOT_ASKED);
    if (!isStatus(status)) throw new Error(`${status} is no status`);
    this.verdict = status;
  }

  defer(): number {
    if (this.verdict !== Verdict.ASKED && this.verdict !== Verdict.ASKED_UP) throw new Error(NOT_ASKED);
    this.verdict = Verdict.DEFERRED;
    this.#generation = (this.#generation + 1) % GENERATIONS;
    this.token = this.slot + this.#generation * REQUESTS_IN_FLIGHT_MAX;
    return this.token;
  }

  redirect(disk: IoTarget): void {
    if (this.verdict !== Verdict.ASKED) throw new Error(NOT_ASKED);
    this.aim(disk);
    this.verdict = Verdict.REDIRECTED;
  }

  /** Notes where it is to go. Throws if its sectors are not all there. */
  aim(disk: IoTarget): void {
    const { type, sector, dataBytes, rangeSector, rangeSectors } = this.request;
    const sectors = disk.sizeBytes / SECTOR_BYTES;
    let within = (type !== RequestType.IN && type !== RequestType.OUT) || sector + dataBytes / SECTOR_BYTES <= sectors;
    for (let i = 0; i < this.rangeCount; i++) within &&= rangeSector[i]! + rangeSectors[i]! <= sectors;
    if (!within) throw new RangeError('the disk has no such sectors');
    this.target = disk as Target;
  }

  #rangeBytes(): number {
    let bytes = 0;
    for (let i = 0; i < this.rangeCount; i++) bytes += this.request.rangeSectors[i]! * SECTOR_BYTES;
    return bytes;
  }
}

const NOT_ASKED = 'the request is not this filter’s to pass on, to keep or to end: it has done so, or it was not asked';

/** Makes a filter's view of a request. */
export function viewOf(request: BlockRequest): RequestView {
  const view = new RequestView(request);
  request.view = view;
  return view;
}

/** `next` of all filters: one function, so that calls of it stay monomorphic. */
export function passOn(request: FilterRequest): void {
  const view = request as RequestView;
  if (view.verdict !== Verdict.ASKED) throw new Error(NOT_ASKED);
  view.verdict = Verdict.PASSED;
}
