/** A back end that notes what it is asked, and answers as it is told: at once, or when the test says so. */
import { type BlockBackend, PENDING } from '../../src/block/backends/backend.js';
import { Status } from '../../src/block/features.js';
import type { BlockRequest } from '../../src/block/request.js';

export interface Asked {
  readonly what: 'read' | 'write' | 'flush' | 'discard' | 'writeZeroes' | 'secureErase';
  readonly request: BlockRequest;
  readonly sector: number;
  readonly dataBytes: number;
  readonly durable: boolean;
  /** Lengths of the data segments. */
  readonly pieces: readonly number[];
  readonly ranges: readonly { readonly sector: number; readonly sectors: number; readonly unmap: boolean }[];
}

export class StubBackend implements BlockBackend {
  readonly asked: Asked[] = [];
  answer: number = Status.OK;
  closed = 0;

  read(request: BlockRequest): number {
    return this.#note('read', request);
  }

  write(request: BlockRequest): number {
    return this.#note('write', request);
  }

  flush(request: BlockRequest): number {
    return this.#note('flush', request);
  }

  discard(request: BlockRequest): number {
    return this.#note('discard', request);
  }

  writeZeroes(request: BlockRequest): number {
    return this.#note('writeZeroes', request);
  }

  secureErase(request: BlockRequest): number {
    return this.#note('secureErase', request);
  }

  completed(): void {}

  close(): void {
    this.closed++;
  }

  /** Forgets what it was asked, and gives it. */
  take(): Asked[] {
    return this.asked.splice(0);
  }

  #note(what: Asked['what'], request: BlockRequest): number {
    const { sector, dataBytes, durable, rangeCount, rangeSector, rangeSectors, rangeUnmap } = request;
    const ranges = Array.from({ length: what.length > 5 ? rangeCount : 0 }, (_, i) => ({
      sector: rangeSector[i]!,
      sectors: rangeSectors[i]!,
      unmap: rangeUnmap[i] === 1,
    }));
    const pieces = [...request.chain.segments.length.subarray(request.first, request.end)];
    this.asked.push({ what, request, sector, dataBytes, durable, pieces, ranges });
    return this.answer;
  }
}

export { PENDING };
