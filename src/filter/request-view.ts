import { RequestType, SECTOR_BYTES, Status } from '../block/features.js';
import type { BlockRequest } from '../block/request.js';
import type { FilterRequest, Segment } from './contract.js';

/** What became of a request at a filter; or one of `Status`, if the filter ended it. */
export const Verdict = {
  /** The filter has it, and has not said anything. */
  ASKED: -3,
  /** It goes on. */
  PASSED: -4,
  /** No filter is asked. */
  CLOSED: -5,
} as const;

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
  /** Of `Verdict`. The chain's. */
  verdict: number = Verdict.CLOSED;
  readonly #request: BlockRequest;
  readonly #segment = new SegmentView();

  constructor(request: BlockRequest) {
    this.slot = request.slot;
    this.#request = request;
  }

  get type(): number {
    return this.#request.type;
  }

  get sector(): number {
    return this.#request.sector;
  }

  get durable(): boolean {
    return this.#request.durable;
  }

  get bytes(): number {
    const { type } = this.#request;
    return type === RequestType.IN || type === RequestType.OUT ? this.#request.dataBytes : this.#rangeBytes();
  }

  get segmentCount(): number {
    const { type, first, end } = this.#request;
    return type === RequestType.IN || type === RequestType.OUT ? end - first : 0;
  }

  segment(index: number): Segment {
    if (!(index >= 0 && index < this.segmentCount)) throw new RangeError(`there is no segment ${index}`);
    const { chain, first, memory } = this.#request;
    const { segments } = chain;
    const at = first + index;
    const view = this.#segment;
    view.bytes = memory!.bytes[segments.window[at]!]!;
    view.offset = segments.offset[at]!;
    view.length = segments.length[at]!;
    return view;
  }

  get rangeCount(): number {
    const { type } = this.#request;
    const without = type === RequestType.IN || type === RequestType.OUT || type === RequestType.FLUSH;
    return without ? 0 : this.#request.rangeCount;
  }

  rangeSector(index: number): number {
    return this.#request.rangeSector[index]!;
  }

  rangeSectors(index: number): number {
    return this.#request.rangeSectors[index]!;
  }

  rangeUnmap(index: number): boolean {
    return this.#request.rangeUnmap[index] === 1;
  }

  complete(status: number): void {
    if (this.verdict !== Verdict.ASKED) throw new Error(NOT_ASKED);
    if (!isStatus(status)) throw new Error(`${status} is no status`);
    this.verdict = status;
  }

  #rangeBytes(): number {
    let bytes = 0;
    for (let i = 0; i < this.rangeCount; i++) bytes += this.#request.rangeSectors[i]! * SECTOR_BYTES;
    return bytes;
  }
}

const NOT_ASKED = 'the request is not this filter’s to pass on or to end: it has done so, or it was not asked';

/** `next` of all filters: one function, so that calls of it stay monomorphic. */
export function passOn(request: FilterRequest): void {
  const view = request as RequestView;
  if (view.verdict !== Verdict.ASKED) throw new Error(NOT_ASKED);
  view.verdict = Verdict.PASSED;
}
