import { PAGE_BYTES } from '../host/memory-map.js';

/** Memory by windows, in views of several widths; all windows begin at multiples of eight. */
interface Windows {
  readonly bytes: readonly Buffer[];
  readonly words: readonly Uint32Array[];
  readonly longs: readonly BigUint64Array[];
}

/**
 * Up to so many bytes a loop is faster than a call of `Buffer.copy`: by what it can copy at a time, which the distance between source
 * and target decides. `docs/copying.md` says what was measured.
 */
const LONGS_BYTES_MAX = 256;
const WORDS_BYTES_MAX = 128;
const SHIFTED_BYTES_MAX = 64;
const BYTES_MAX = 16;
/** Fewer are not worth looking for whole words. */
const WORDS_BYTES_MIN = 8;

/**
 * From 4 KiB on the C library copies by `rep movsb`, which AMD's Zen 4 does at a twelfth of its speed if the target is 1 to 15 bytes
 * further than the source within a page: such copies are made in parts so short that it uses registers. `docs/copying.md`
 */
const CLOSE_BYTES = 16;
const PART_BYTES = 2048;

/** Copies `length` bytes from a window of one memory into one of another; they do not overlap. */
export function copyPiece(
  source: Windows,
  sourceWindow: number,
  from: number,
  target: Windows,
  targetWindow: number,
  to: number,
  length: number,
): void {
  if (length > LONGS_BYTES_MAX)
    return copyLong(source.bytes[sourceWindow]!, from, target.bytes[targetWindow]!, to, length);
  const apart = to - from;
  if ((apart & 7) !== 0 || (from & 3) !== 0 || length < WORDS_BYTES_MIN) {
    copyUneven(source, sourceWindow, from, target, targetWindow, to, length);
    return;
  }
  const sourceWords = source.words[sourceWindow]!;
  const targetWords = target.words[targetWindow]!;
  if ((from & 4) !== 0) targetWords[to >>> 2] = sourceWords[from >>> 2]!;
  const sourceLongs = source.longs[sourceWindow]!;
  const targetLongs = target.longs[targetWindow]!;
  const end = from + length;
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

/** The same where 64-bit words do not lie alike in both, or hardly one would be copied. */
function copyUneven(
  source: Windows,
  sourceWindow: number,
  from: number,
  target: Windows,
  targetWindow: number,
  to: number,
  length: number,
): void {
  const sourceBytes = source.bytes[sourceWindow]!;
  const targetBytes = target.bytes[targetWindow]!;
  const apart = to - from;
  if (length < WORDS_BYTES_MIN || length > ((apart & 3) === 0 ? WORDS_BYTES_MAX : SHIFTED_BYTES_MAX)) {
    copyBytes(sourceBytes, from, targetBytes, to, length);
    return;
  }
  const end = from + length;
  let at = from;
  for (; ((at + apart) & 3) !== 0; at++) targetBytes[at + apart] = sourceBytes[at]!;
  const sourceWords = source.words[sourceWindow]!;
  const targetWords = target.words[targetWindow]!;
  if ((apart & 3) === 0) at = copyWords(sourceWords, targetWords, at, apart, end);
  else at = copyShifted(sourceWords, targetWords, at, apart, end);
  for (; at < end; at++) targetBytes[at + apart] = sourceBytes[at]!;
}

/** Copies the whole words from `at`, a multiple of four. Returns where it stopped. */
function copyWords(source: Uint32Array, target: Uint32Array, at: number, apart: number, end: number): number {
  const last = end >>> 2;
  const wordsApart = apart >> 2;
  let i = at >>> 2;
  for (; i < last; i++) target[i + wordsApart] = source[i]!;
  return i << 2;
}

/**
 * Copies to whole words what lies across words of the source: each is put together of two. `at + apart` is a multiple of four.
 * Returns where it stopped, which is before the last word that the source has part of.
 */
function copyShifted(source: Uint32Array, target: Uint32Array, at: number, apart: number, end: number): number {
  const low = (at & 3) << 3;
  const high = 32 - low;
  const last = end >>> 2;
  let i = at >>> 2;
  let j = (at + apart) >>> 2;
  let word = source[i]!;
  while (++i < last) {
    const next = source[i]!;
    target[j++] = (word >>> low) | (next << high);
    word = next;
  }
  return (j << 2) - apart;
}

/** Copies between two stretches of memory. */
export function copyBytes(source: Buffer, from: number, target: Buffer, to: number, length: number): void {
  if (length > BYTES_MAX) return copyLong(source, from, target, to, length);
  for (let i = 0; i < length; i++) target[to + i] = source[from + i]!;
}

/** The same for what is mostly long. */
export function copyLong(source: Buffer, from: number, target: Buffer, to: number, length: number): void {
  const further = (to - from) & (PAGE_BYTES - 1);
  if (length < PAGE_BYTES || further === 0 || further >= CLOSE_BYTES) {
    source.copy(target, to, from, from + length);
    return;
  }
  const end = from + length;
  const apart = to - from;
  for (let at = from; at < end; at += PART_BYTES) {
    source.copy(target, at + apart, at, at + PART_BYTES < end ? at + PART_BYTES : end);
  }
}
