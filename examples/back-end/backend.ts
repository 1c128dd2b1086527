import type { BlockBackend } from '../../src/block/backends/backend.js';
import { SECTOR_BYTES, Status } from '../../src/block/features.js';
import type { BlockRequest } from '../../src/block/request.js';

/** A disk in shared memory of JavaScript's own: the smallest back end that keeps data. */
export class ArrayBackend implements BlockBackend {
  readonly #disk: Buffer;

  constructor(memory: SharedArrayBuffer) {
    this.#disk = Buffer.from(memory);
  }

  read(request: BlockRequest): number {
    const { segments } = request.chain;
    let at = request.sector * SECTOR_BYTES;
    for (let i = request.first; i < request.end; i++) {
      const guest = request.memory!.bytes[segments.window[i]!]!;
      at += this.#disk.copy(guest, segments.offset[i]!, at, at + segments.length[i]!);
    }
    return Status.OK;
  }

  write(request: BlockRequest): number {
    const { segments } = request.chain;
    let at = request.sector * SECTOR_BYTES;
    for (let i = request.first; i < request.end; i++) {
      const guest = request.memory!.bytes[segments.window[i]!]!;
      const offset = segments.offset[i]!;
      at += guest.copy(this.#disk, at, offset, offset + segments.length[i]!);
    }
    return Status.OK;
  }

  flush(): number {
    return Status.OK;
  }

  discard(request: BlockRequest): number {
    return this.writeZeroes(request);
  }

  writeZeroes(request: BlockRequest): number {
    for (let i = 0; i < request.rangeCount; i++) {
      const start = request.rangeSector[i]! * SECTOR_BYTES;
      this.#disk.fill(0, start, start + request.rangeSectors[i]! * SECTOR_BYTES);
    }
    return Status.OK;
  }

  secureErase(request: BlockRequest): number {
    return this.writeZeroes(request);
  }

  completed(): void {}

  close(): void {}
}
