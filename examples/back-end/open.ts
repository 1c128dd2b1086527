import type { OpenDisk } from '../../src/block/backends/backend.js';
import { SidecoreError } from '../../src/errors.js';

/** What a configuration would say of it. */
export interface ArrayOptions {
  readonly type: 'array';
  /** Bytes. */
  readonly size: number;
}

/** What a sidecore is told: plain data, and memory that all threads share. */
export interface ArraySpec {
  readonly type: 'array';
  readonly memory: SharedArrayBuffer;
}

export function openArray({ size }: ArrayOptions): OpenDisk<ArraySpec> {
  const memory = new SharedArrayBuffer(size);
  const bytes = new Uint8Array(memory);
  return {
    spec: { type: 'array', memory },
    abilities: {
      sizeBytes: size,
      readOnly: false,
      discard: true,
      writeZeroes: true,
      secureErase: true,
      inOrder: true,
      physicalBlockBytes: 512,
    },
    image: {
      read: (offset, target) => target.set(bytes.subarray(offset, offset + target.length)),
      write: (offset, source) => bytes.set(source, offset),
      sync() {},
    },
    resize() {
      throw new SidecoreError('IMAGE_INVALID', 'a disk in an array keeps its size');
    },
    close: () => {},
  };
}
