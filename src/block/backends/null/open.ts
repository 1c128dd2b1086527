import { SECTOR_BYTES } from '../../features.js';
import type { OpenDisk } from '../backend.js';

export interface NullOptions {
  readonly type: 'null';
  /** Bytes. */
  readonly size: number;
}

export interface NullSpec {
  readonly type: 'null';
}

export function openNull(options: NullOptions): OpenDisk<NullSpec> {
  return {
    spec: { type: 'null' },
    abilities: {
      sizeBytes: options.size,
      readOnly: false,
      discard: true,
      writeZeroes: true,
      secureErase: false,
      inOrder: true,
      physicalBlockBytes: SECTOR_BYTES,
    },
    image: { read() {}, write() {}, sync() {} },
    resize: (sizeBytes = options.size) => sizeBytes,
    close: () => {},
  };
}
