/** Up to so many bytes a loop is faster than a call. */
const LOOP_BYTES_MAX = 64;

/** Memory by windows, as bytes and as words. */
interface Windows {
  readonly bytes: readonly Buffer[];
  readonly words: readonly Uint32Array[];
}

/** Up to so many bytes a loop over words is faster than a call. */
const WORDS_BYTES_MAX = 256;

/** Copies `length` bytes from a window of one memory into one of another. */
export function copyPiece(
  source: Windows,
  sourceWindow: number,
  from: number,
  target: Windows,
  targetWindow: number,
  to: number,
  length: number,
): void {
  if (length > WORDS_BYTES_MAX || ((from | to) & 3) !== 0) {
    source.bytes[sourceWindow]!.copy(target.bytes[targetWindow]!, to, from, from + length);
    return;
  }
  const sourceWords = source.words[sourceWindow]!;
  const targetWords = target.words[targetWindow]!;
  const count = length >>> 2;
  const fromWord = from >>> 2;
  const toWord = to >>> 2;
  for (let i = 0; i < count; i++) targetWords[toWord + i] = sourceWords[fromWord + i]!;
  if ((length & 3) === 0) return;
  const sourceBytes = source.bytes[sourceWindow]!;
  const targetBytes = target.bytes[targetWindow]!;
  for (let i = length & ~3; i < length; i++) targetBytes[to + i] = sourceBytes[from + i]!;
}

/** Copies between two stretches of memory. `docs/copying.md` says what was measured. */
export function copyBytes(source: Buffer, from: number, target: Buffer, to: number, length: number): void {
  if (length > LOOP_BYTES_MAX) {
    source.copy(target, to, from, from + length);
    return;
  }
  for (let i = 0; i < length; i++) target[to + i] = source[from + i]!;
}
