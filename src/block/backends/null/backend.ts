import { Status } from '../../features.js';
import type { BlockBackend } from '../backend.js';

/** Accepts writes and leaves reads as they are: the cost of everything but storage. */
export class NullBackend implements BlockBackend {
  read(): number {
    return Status.OK;
  }

  write(): number {
    return Status.OK;
  }

  flush(): number {
    return Status.OK;
  }

  discard(): number {
    return Status.OK;
  }

  writeZeroes(): number {
    return Status.OK;
  }

  secureErase(): number {
    return Status.OK;
  }

  completed(): void {}

  close(): void {}
}
