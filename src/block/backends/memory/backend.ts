import { windowsOver } from '../../../guest-memory/windows.js';
import { forgetPages, PAGE_BYTES } from '../../../host/memory-map.js';
import { WINDOW_BYTES } from '../../../limits.js';
import { SECTOR_BYTES, Status } from '../../features.js';
import type { BlockRequest } from '../../request.js';
import type { BlockBackend } from '../backend.js';

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
    return this.#copy(request, true);
  }

  write(request: BlockRequest): number {
    return this.#copy(request, false);
  }

  flush(): number {
    return Status.OK;
  }

  discard(request: BlockRequest): number {
    for (let i = 0; i < request.rangeCount; i++) this.#clear(request.rangeSector[i]!, request.rangeSectors[i]!, true);
    return Status.OK;
  }

  writeZeroes(request: BlockRequest): number {
    for (let i = 0; i < request.rangeCount; i++) {
      this.#clear(request.rangeSector[i]!, request.rangeSectors[i]!, request.rangeUnmap[i] === 1);
    }
    return Status.OK;
  }

  secureErase(request: BlockRequest): number {
    for (let i = 0; i < request.rangeCount; i++) {
      this.#clear(request.rangeSector[i]!, request.rangeSectors[i]!, false);
      this.#clear(request.rangeSector[i]!, request.rangeSectors[i]!, true);
    }
    return Status.OK;
  }

  completed(): void {}

  close(): void {}

  /** Zeroes sectors; whole pages among them are given back to the host if `unmap`. */
  #clear(sector: number, sectors: number, unmap: boolean): void {
    const start = sector * SECTOR_BYTES;
    const end = start + sectors * SECTOR_BYTES;
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

  /** Copies the data segments to or from the disk, in pieces that cross no window of it. */
  #copy(request: BlockRequest, toGuest: boolean): number {
    const { segments } = request.chain;
    const guest = request.memory!.bytes;
    let at = request.sector * SECTOR_BYTES;
    for (let i = request.first; i < request.end; i++) {
      const memory = guest[segments.window[i]!]!;
      let offset = segments.offset[i]!;
      let left = segments.length[i]!;
      while (left > 0) {
        const window = (at / WINDOW_BYTES) | 0;
        const disk = this.#windows[window]!;
        const from = at - window * WINDOW_BYTES;
        const length = Math.min(left, WINDOW_BYTES - from);
        if (toGuest) disk.copy(memory, offset, from, from + length);
        else memory.copy(disk, from, offset, offset + length);
        at += length;
        offset += length;
        left -= length;
      }
    }
    return Status.OK;
  }
}
