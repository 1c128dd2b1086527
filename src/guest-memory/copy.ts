/** Up to so many bytes a loop is faster than a call. */
const LOOP_BYTES_MAX = 64;

/** Copies between two stretches of memory. `docs/copying.md` says what was measured. */
export function copyBytes(source: Buffer, from: number, target: Buffer, to: number, length: number): void {
  if (length > LOOP_BYTES_MAX) {
    source.copy(target, to, from, from + length);
    return;
  }
  for (let i = 0; i < length; i++) target[to + i] = source[from + i]!;
}
