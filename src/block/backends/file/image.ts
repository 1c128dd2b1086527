import { closeSync, constants, fdatasyncSync, fstatSync, openSync, readSync, writeSync } from 'node:fs';
import type { DiskImage } from '../backend.js';

/** When a file was last written, ns since 1970; undefined of anything else. */
export function stampOf(fd: number): string | undefined {
  const stats = fstatSync(fd, { bigint: true });
  return stats.isFile() ? String(stats.mtimeNs) : undefined;
}

/**
 * An open image as the main thread reaches it: through a descriptor of its own, by way of the page cache, so that buffers need no
 * alignment. Opened when it is first used.
 */
export function openImageHere(
  fd: number,
  readOnly: boolean,
  openedStamp?: string,
): { readonly image: DiskImage; close(): void } {
  let own = -1;
  const open = () => {
    if (own < 0) own = openSync(`/proc/self/fd/${fd}`, readOnly ? constants.O_RDONLY : constants.O_RDWR);
    return own;
  };
  /** Goes on until all is done, or nothing more can be. */
  const each = (length: number, offset: number, call: (at: number, position: number) => number) => {
    for (let at = 0; at < length; ) {
      const count = call(at, offset + at);
      if (count === 0) return;
      at += count;
    }
  };
  const image: DiskImage = {
    read: (offset, target) =>
      each(target.length, offset, (at, position) => readSync(open(), target, at, target.length - at, position)),
    write: (offset, source) =>
      each(source.length, offset, (at, position) => writeSync(open(), source, at, source.length - at, position)),
    sync: () => fdatasyncSync(open()),
    ...(openedStamp === undefined ? {} : { openedStamp, stamp: () => stampOf(fd)! }),
  };
  return {
    image,
    close() {
      if (own >= 0) closeSync(own);
    },
  };
}
