import { closeSync, ftruncateSync, openSync, write } from 'node:fs';
import { promisify } from 'node:util';
import { SidecoreError } from '../errors.js';

const writeSome = promisify(write);

/** Where a capture is written: takes whole blocks, one call after the other. */
export interface CaptureOutput {
  /** Resolves when there is room for more. */
  write(blocks: Buffer): Promise<void>;
  close(): void;
}

/** The end of a pipe, mostly. That its reader goes away is the end of the program: see `main.ts`. */
export class StandardOutput implements CaptureOutput {
  constructor() {
    if (!process.stdout.isTTY) return;
    const remedy = 'Name a file with -w, or pipe it: `sidecore capture … -w - | tshark -r -`.';
    throw new SidecoreError('CAPTURE_FILE', 'a capture is no text that a terminal shows', remedy);
  }

  async write(blocks: Buffer): Promise<void> {
    await new Promise<void>((resolve) => process.stdout.write(blocks, () => resolve()));
  }

  close(): void {}
}

/** A file, made or emptied. If it cannot be written any more, it has whole blocks only. */
export class OutputFile implements CaptureOutput {
  readonly #path: string;
  readonly #fd: number;
  /** Of whole blocks. */
  #bytes = 0;

  constructor(path: string) {
    this.#path = path;
    this.#fd = this.#attempt('make', () => openSync(path, 'w'));
  }

  async write(blocks: Buffer): Promise<void> {
    try {
      for (let at = 0; at < blocks.length; ) at += (await writeSome(this.#fd, blocks, at)).bytesWritten;
    } catch (error) {
      this.#cut();
      throw this.#failure('write', error);
    }
    this.#bytes += blocks.length;
  }

  close(): void {
    this.#attempt('write', () => closeSync(this.#fd));
  }

  /** Takes back what was written of blocks that did not fit. */
  #cut(): void {
    try {
      ftruncateSync(this.#fd, this.#bytes);
    } catch {
      // A pipe or a device has no end to be cut.
    }
  }

  #attempt<T>(what: string, call: () => T): T {
    try {
      return call();
    } catch (error) {
      throw this.#failure(what, error);
    }
  }

  #failure(what: string, error: unknown): SidecoreError {
    const { code } = error as NodeJS.ErrnoException;
    const why = code === 'ENOSPC' ? 'no space is left there' : code;
    return new SidecoreError('CAPTURE_FILE', `cannot ${what} ${this.#path}: ${why}`, REMEDIES[code ?? ''] ?? '');
  }
}

const REMEDIES: Record<string, string> = {
  ENOSPC: 'What came until then is in it. Make room, or keep less of each frame with -s.',
  EDQUOT: 'What came until then is in it. Make room, or keep less of each frame with -s.',
  ENOENT: 'Its folder has to be there.',
  EACCES: 'Name a file in a folder of your own.',
};
