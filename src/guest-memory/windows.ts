import { viewBytes, viewWords32 } from '../host/memory-view.js';
import { WINDOW_BYTES } from '../limits.js';

/**
 * One typed array's worth of mapped memory. Memory is never reached through an array longer than `WINDOW_BYTES`,
 * because V8 is fast only for element indices below 2^31.
 */
export interface Window {
  /** Address in this process, for the kernel. */
  readonly address: number;
  readonly byteLength: number;
  readonly bytes: Buffer;
  /** The same memory as 32-bit words, for descriptors; covers the whole words only. */
  readonly words: Uint32Array;
}

/** Cuts a stretch of mapped memory into windows, ascending, all but the last of the same size. */
export function windowsOver(address: number, byteLength: number, windowBytes = WINDOW_BYTES): Window[] {
  const windows: Window[] = [];
  for (let at = 0; at < byteLength; at += windowBytes) {
    const length = Math.min(windowBytes, byteLength - at);
    windows.push({
      address: address + at,
      byteLength: length,
      bytes: viewBytes(address + at, length),
      words: viewWords32(address + at, length),
    });
  }
  return windows;
}
