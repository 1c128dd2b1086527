import { viewBytes, viewWords32, viewWords64 } from '../host/memory-view.js';
import { WINDOW_BYTES } from '../limits.js';

/** Where a window lies: its address in this process, and its length. */
export interface WindowPlace {
  readonly address: number;
  readonly byteLength: number;
}

/**
 * One typed array's worth of mapped memory. Memory is never reached through an array longer than `WINDOW_BYTES`,
 * because V8 is fast only for element indices below 2^31.
 */
export interface Window extends WindowPlace {
  readonly bytes: Buffer;
  /** The same memory as 32-bit words, for descriptors; covers the whole words only. */
  readonly words: Uint32Array;
  /** The same as 64-bit words, for copies. */
  readonly longs: BigUint64Array;
}

/** Cuts a stretch of mapped memory into windows, ascending, all but the last of the same size. */
export function placeWindows(address: number, byteLength: number, windowBytes = WINDOW_BYTES): WindowPlace[] {
  const places: WindowPlace[] = [];
  for (let at = 0; at < byteLength; at += windowBytes) {
    places.push({ address: address + at, byteLength: Math.min(windowBytes, byteLength - at) });
  }
  return places;
}

/** The views of a window, as the calling thread sees it. */
export function openWindow({ address, byteLength }: WindowPlace): Window {
  return {
    address,
    byteLength,
    bytes: viewBytes(address, byteLength),
    words: viewWords32(address, byteLength),
    longs: viewWords64(address, byteLength),
  };
}

/** The same for all windows of a stretch of memory. */
export function windowsOver(address: number, byteLength: number, windowBytes = WINDOW_BYTES): Window[] {
  return placeWindows(address, byteLength, windowBytes).map(openWindow);
}
