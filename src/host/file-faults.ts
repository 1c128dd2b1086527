import { accessSync, constants, existsSync, type Stats, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { SidecoreError } from '../errors.js';

/** Undefined if the file is not there, or not to be seen. */
export function statIfThere(path: string): Stats | undefined {
  try {
    return statSync(path);
  } catch {
    return undefined;
  }
}

/** Why a file may not be used so: a code of the operating system. Undefined if it may. */
export function accessFault(path: string, mode: number): string | undefined {
  try {
    accessSync(path, mode);
    return undefined;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code;
  }
}

/** Why nothing can be made in a folder; undefined if something can. */
export function folderFault(path: string): string | undefined {
  if (statIfThere(path)?.isDirectory() === false) return 'is no folder';
  const fault = accessFault(path, constants.W_OK | constants.X_OK);
  return fault && `cannot be written to (${fault})`;
}

/** The folder itself, or the nearest one above it that is there. */
export function nearestFolder(path: string): string {
  let there = path;
  while (statIfThere(there) === undefined && dirname(there) !== there) there = dirname(there);
  return there;
}

/** Throws what would keep a file from being written to or made: looks only. */
export function requireWritable(path: string): void {
  const folder = dirname(path);
  if (!existsSync(folder))
    throw new SidecoreError(
      'IMAGE_MISSING',
      `${path} cannot be: folder ${folder} does not exist`,
      'Make the folder, or correct the path.',
    );
  const file = statIfThere(path);
  const access = file === undefined ? undefined : accessFault(path, constants.R_OK | constants.W_OK);
  const fault =
    file === undefined
      ? folderFault(folder)
      : file.isDirectory()
        ? 'is a folder'
        : access && `may not be read and written (${access})`;
  if (fault === undefined) return;
  const text = file === undefined ? `${path} is to be made, but ${folder} ${fault}` : `${path} ${fault}`;
  throw new SidecoreError('IMAGE_PERMISSION', text, 'Choose another, or change its owner or mode.');
}
