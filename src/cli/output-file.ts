import { existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { messageOf, SidecoreError } from '../errors.js';

/**
 * Makes sure that a file can be written, its folder included, before minutes are spent on what goes into it. One that is there stays as
 * it is.
 *
 * @throws SidecoreError if it cannot
 */
export function prepareOutput(file: string): void {
  try {
    makeFolder(dirname(file));
    const isNew = !existsSync(file);
    writeFileSync(file, '', { flag: 'a' });
    if (isNew) rmSync(file);
  } catch (error) {
    throw new SidecoreError(
      'CONFIG_INVALID',
      `${file} cannot be written: ${messageOf(error)}`,
      'Name another file or folder.',
    );
  }
}

/** One after the other: `recursive` never ends where a folder says that what is missing in it cannot be there, as /proc does. */
function makeFolder(folder: string): void {
  if (existsSync(folder)) return;
  makeFolder(dirname(folder));
  mkdirSync(folder);
}
