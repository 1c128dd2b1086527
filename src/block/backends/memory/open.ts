import { freemem } from 'node:os';
import { SidecoreError } from '../../../errors.js';
import { mapAnonymous, PAGE_BYTES, unmap } from '../../../host/memory-map.js';
import { viewBytes } from '../../../host/memory-view.js';
import type { DiskImage, OpenDisk } from '../backend.js';

export interface MemoryOptions {
  readonly type: 'memory';
  /** Bytes. */
  readonly size: number;
}

export interface MemorySpec {
  readonly type: 'memory';
  /** Of the disk's memory in this process. */
  readonly address: number;
  readonly sizeBytes: number;
}

/** Reserves address space for the disk; memory is taken page by page, as the guest writes. */
export function openMemory(options: MemoryOptions): OpenDisk<MemorySpec> {
  if (options.size > freemem()) {
    throw new SidecoreError(
      'MEMORY_EXHAUSTED',
      `a memory disk of ${options.size} bytes does not fit the ${freemem()} bytes of memory that are free`,
      'Make it smaller, or use a file.',
    );
  }
  const map = mapAnonymous(Math.ceil(options.size / PAGE_BYTES) * PAGE_BYTES);
  return {
    spec: { type: 'memory', address: map.address, sizeBytes: options.size },
    abilities: {
      sizeBytes: options.size,
      readOnly: false,
      discard: true,
      writeZeroes: true,
      secureErase: true,
      inOrder: true,
      physicalBlockBytes: PAGE_BYTES,
    },
    image: memoryImage(map.address, options.size),
    resize(sizeBytes = options.size) {
      if (sizeBytes === options.size) return sizeBytes;
      throw new SidecoreError('IMAGE_INVALID', 'a disk in memory keeps its size', 'Use a file for disks that grow.');
    },
    close: () => unmap(map),
  };
}

function memoryImage(address: number, sizeBytes: number): DiskImage {
  const viewAt = (offset: number, length: number) =>
    viewBytes(address + offset, Math.max(0, Math.min(length, sizeBytes - offset)));
  return {
    read: (offset, target) => void target.set(viewAt(offset, target.length)),
    write(offset, source) {
      const view = viewAt(offset, source.length);
      view.set(source.subarray(0, view.length));
    },
    sync() {},
  };
}
