import { copyLong } from '../../../guest-memory/copy.js';
import { windowsOver } from '../../../guest-memory/windows.js';
import { forgetPages, PAGE_BYTES } from '../../../host/memory-map.js';
import { WINDOW_BYTES } from '../../../limits.js';
import { RequestType, SECTOR_BYTES, Status } from '../../features.js';
import type { BlockRequest } from '../../request.js';
import { type BlockBackend, MORE } from '../backend.js';

/**
 * A disk in memory. Its pages are anonymous memory of the process, so that they take up room only once written, and every
 * sidecore sees the same disk.
 */
export class MemoryBackend implements BlockBackend {
  readonly #address: number;
  readonly #windows: Buffer[];

  /**
   * @param address - of the mapped memory, which outlives this object
   * @param byteLength - of the disk
   */
  constructor(address: number, byteLength: number) {
    this.#address = address;
    this.#windows = windowsOver(address, byteLength).map((window) => window.bytes);
  }

  read(request: BlockRequest): number {
    return this.#begin(request);
  }

  write(request: BlockRequest): number {
    return this.#begin(request);
  }

  flush(): number {
    return Status.OK;
  }

  discard(request: BlockRequest): number {
    return this.#beginRanges(request);
  }

  writeZeroes(request: BlockRequest): number {
    return this.#beginRanges(request);
  }

  secureErase(request: BlockRequest): number {
    return this.#beginRanges(request);
  }

  proceed(request: BlockRequest): number {
    return request.type === RequestType.IN || request.type === RequestType.OUT
      ? this.#copy(request)
      : this.#clearRanges(request);
  }

  completed(): void {}

  close(): void {}

  #beginRanges(request: BlockRequest): number {
    request.step = 0;
    request.progress = 0;
    return this.#clearRanges(request);
  }

  /** Goes on with the range `step`, of which `progress` bytes are done. */
  #clearRanges(request: BlockRequest): number {
    let budget = request.pieceBytes;
    const { type } = request;
    while (request.step < request.rangeCount) {
      const i = request.step;
      const start = request.rangeSector[i]! * SECTOR_BYTES + request.progress;
      const left = request.rangeSectors[i]! * SECTOR_BYTES - request.progress;
      const length = Math.min(left, budget);
      const end = start + length;
      // What was secret is overwritten before its room is given back.
      if (type === RequestType.SECURE_ERASE) this.#clear(start, end, false);
      this.#clear(start, end, type !== RequestType.WRITE_ZEROES || request.rangeUnmap[i] === 1);
      request.progress += length;
      if (length === left) {
        request.step++;
        request.progress = 0;
      }
      budget -= length;
      if (budget === 0 && request.step < request.rangeCount) return MORE;
    }
    return Status.OK;
  }

  /** Zeroes bytes of the disk; whole pages among them are given back to the host if `unmap`. */
  #clear(start: number, end: number, unmap: boolean): void {
    const pageStart = Math.ceil(start / PAGE_BYTES) * PAGE_BYTES;
    const pageEnd = Math.floor(end / PAGE_BYTES) * PAGE_BYTES;
    if (!unmap || pageEnd <= pageStart) {
      this.#fill(start, end);
      return;
    }
    this.#fill(start, pageStart);
    forgetPages(this.#address + pageStart, pageEnd - pageStart);
    this.#fill(pageEnd, end);
  }

  #fill(start: number, end: number): void {
    for (let at = start; at < end; ) {
      const window = (at / WINDOW_BYTES) | 0;
      const from = at - window * WINDOW_BYTES;
      const to = Math.min(WINDOW_BYTES, from + end - at);
      this.#windows[window]!.fill(0, from, to);
      at += to - from;
    }
  }

  #begin(request: BlockRequest): number {
    request.progress = 0;
    return this.#copy(request);
  }

  /**
   * Copies data segments to or from the disk, in pieces that cross no window of it, from `progress` bytes of the request on.
   */
  #copy(request: BlockRequest): number {
    const { segments } = request.chain;
    const guest = request.memory!.bytes;
    const toGuest = request.type === RequestType.IN;
    const { end } = request;
    let at = request.sector * SECTOR_BYTES + request.progress;
    let budget = request.pieceBytes;
    let skip = request.progress;
    for (let i = request.first; i < end; i++) {
      let left = segments.length[i]! - skip;
      if (left <= 0) {
        skip = -left;
        continue;
      }
      const memory = guest[segments.window[i]!]!;
      let offset = segments.offset[i]! + skip;
      skip = 0;
      while (left > 0) {
        if (budget === 0) {
          request.progress = at - request.sector * SECTOR_BYTES;
          return MORE;
        }
        const window = (at / WINDOW_BYTES) | 0;
        const disk = this.#windows[window]!;
        const from = at - window * WINDOW_BYTES;
        const length = Math.min(left, budget, WINDOW_BYTES - from);
        if (toGuest) copyLong(disk, from, memory, offset, length);
        else copyLong(memory, offset, disk, from, length);
        at += length;
        offset += length;
        left -= length;
        budget -= length;
      }
    }
    return Status.OK;
  }
}
