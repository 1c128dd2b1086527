/** Up to so many bytes a loop is faster than a call. */
const LOOP_BYTES_MAX = 64;

/** Memory by windows, as bytes and as words; all windows begin at multiples of eight. */
interface Windows {
  readonly bytes: readonly Buffer[];
  readonly words: readonly Uint32Array[];
  readonly longs: readonly BigUint64Array[];
}

/** Up to so many bytes a loop over 64-bit words is faster than a call. `docs/copying.md` */
const LONGS_BYTES_MAX = 256;
const LONGS_BYTES_MIN = 8;

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
  const aligned = (from & 3) === 0 && ((from ^ to) & 7) === 0;
  if (!aligned || length < LONGS_BYTES_MIN || length > LONGS_BYTES_MAX) {
    copyBytes(source.bytes[sourceWindow]!, from, target.bytes[targetWindow]!, to, length);
    return;
  }
  const sourceWords = source.words[sourceWindow]!;
  const targetWords = target.words[targetWindow]!;
  if ((from & 4) !== 0) targetWords[to >>> 2] = sourceWords[from >>> 2]!;
  const sourceLongs = source.longs[sourceWindow]!;
  const targetLongs = target.longs[targetWindow]!;
  const end = from + length;
  const apart = to - from;
  const longsApart = apart >> 3;
  const last = end >>> 3;
  for (let i = (from + 4) >>> 3; i < last; i++) targetLongs[i + longsApart] = sourceLongs[i]!;
  let at = last << 3;
  if (end - at >= 4) {
    targetWords[(at + apart) >>> 2] = sourceWords[at >>> 2]!;
    at += 4;
  }
  if (at === end) return;
  const sourceBytes = source.bytes[sourceWindow]!;
  const targetBytes = target.bytes[targetWindow]!;
  for (; at < end; at++) targetBytes[at + apart] = sourceBytes[at]!;
}

/** Copies between two stretches of memory. `docs/copying.md` says what was measured. */
export function copyBytes(source: Buffer, from: number, target: Buffer, to: number, length: number): void {
  if (length > LOOP_BYTES_MAX) {
    source.copy(target, to, from, from + length);
    return;
  }
  for (let i = 0; i < length; i++) target[to + i] = source[from + i]!;
}
