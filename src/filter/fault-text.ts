import { messageOf } from '../errors.js';

/** What was thrown, and where in the filter's file. It may be anything, and its own code may throw again. */
export function faultText(error: unknown, file: string | undefined): string {
  try {
    const frames = error instanceof Error ? String(error.stack).split('\n') : [];
    const frame = file === undefined ? undefined : frames.find((line) => line.includes(`${file}:`));
    const place = frame && /(:\d+:\d+)\)?$/.exec(frame)?.[1];
    // A message may be anything, too.
    return place ? `${messageOf(error)} (${file}${place})` : String(messageOf(error));
  } catch {
    return 'it threw what cannot be shown';
  }
}
