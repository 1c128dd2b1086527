import type { BackendHost, BlockBackend, OpenDisk } from './backend.js';
import { FileBackend } from './file/backend.js';
import { type FileOptions, type FileSpec, openFile } from './file/open.js';
import { MemoryBackend } from './memory/backend.js';
import { type MemoryOptions, type MemorySpec, openMemory } from './memory/open.js';
import { NullBackend } from './null/backend.js';
import { type NullOptions, type NullSpec, openNull } from './null/open.js';

/** A disk that somebody else has open, and keeps. */
export interface LentOptions {
  readonly type: 'lent';
  readonly disk: OpenDisk<BackendSpec>;
}

/** What a configuration, or a filter, says of a disk's back end. */
export type BackendOptions = NullOptions | MemoryOptions | FileOptions | LentOptions;
/** What a sidecore is told of it. */
export type BackendSpec = NullSpec | MemorySpec | FileSpec;

/** Opens a disk, on the daemon's side. */
export function openDisk(options: BackendOptions): OpenDisk<BackendSpec> {
  switch (options.type) {
    case 'null':
      return openNull(options);
    case 'memory':
      return openMemory(options);
    case 'file':
      return openFile(options);
    case 'lent':
      return lent(options.disk);
  }
}

function lent({ spec, abilities, image, ioErrors, resize }: OpenDisk<BackendSpec>): OpenDisk<BackendSpec> {
  return { spec, abilities, image, resize, close() {}, ...(ioErrors === undefined ? {} : { ioErrors }) };
}

/** Makes a sidecore's end of an opened disk. */
export function createBackend(spec: BackendSpec, host: BackendHost): BlockBackend {
  switch (spec.type) {
    case 'null':
      return new NullBackend();
    case 'memory':
      return new MemoryBackend(spec.address, spec.sizeBytes);
    case 'file':
      return new FileBackend(spec, host);
  }
}
