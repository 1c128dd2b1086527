import { closeSync, existsSync, ftruncateSync, openSync, write } from 'node:fs';
import { dirname } from 'node:path';
import { promisify } from 'node:util';
import { SidecoreError } from '../errors.js';
import { errorText } from '../host/libc.js';

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
    const { code = '', errno = 0 } = error as NodeJS.ErrnoException;
    const { why = errorText(-errno), remedy } = CAUSES[code] ?? { remedy: 'Name another file.' };
    // A folder in which nobody can make files, as those of /proc, says the same as one that is not there.
    const closed = code === 'ENOENT' && existsSync(dirname(this.#path));
    const cause = closed ? 'its folder takes no files' : why;
    return new SidecoreError('CAPTURE_FILE', `cannot ${what} ${this.#path}: ${cause}`, closed ? ELSEWHERE : remedy);
  }
}

const MAKE_ROOM = 'What came until then is in it. Make room, or keep less of each frame with -s.';
const ELSEWHERE = 'Name a file in a folder of your own.';

const CAUSES: Record<string, { readonly why?: string; readonly remedy: string }> = {
  ENOSPC: { why: 'no space is left there', remedy: MAKE_ROOM },
  EDQUOT: { remedy: MAKE_ROOM },
  ENOENT: { why: 'its folder is not there', remedy: 'Make the folder, or name a file elsewhere.' },
  ENOTDIR: { why: 'a part of its path is no folder', remedy: ELSEWHERE },
  EISDIR: { why: 'it is a directory', remedy: 'Name a file in it.' },
  EACCES: { why: 'permission denied', remedy: ELSEWHERE },
  EROFS: { remedy: ELSEWHERE },
};
