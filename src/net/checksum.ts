import { assert } from '../errors.js';

/**
 * The Internet checksum. RFC 1071
 *
 * A *sum* here is the ones' complement sum of 16-bit words in network order, 0 … 65535, not yet complemented. A *checksum*
 * is what stands in a header: the complement of a sum. Zero and 65535 are the same number in this arithmetic.
 */

/** Shorter stretches are summed byte by byte: making ready for the other way costs more than it saves. */
const BYTEWISE_MAX = 24;

/**
 * Views for reading four bytes at any position, one for each buffer that is used again and again. The last one is at hand
 * without a look-up.
 */
const views = new WeakMap<Buffer, DataView>();
let lastBytes: Buffer = Buffer.alloc(0);
let lastView: DataView = new DataView(lastBytes.buffer, lastBytes.byteOffset, 0);

function viewOf(bytes: Buffer): DataView {
  if (bytes === lastBytes) return lastView;
  let view = views.get(bytes);
  if (view === undefined) {
    view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    views.set(bytes, view);
  }
  lastBytes = bytes;
  lastView = view;
  return view;
}

/**
 * Sum of the bytes `from` … `to` - 1. The first of them counts as the upper half of a word, wherever it lies; if they are odd
 * in number, a zero is added. The first sum over a buffer makes a view of it: use buffers that live on.
 */
export function sumBytes(bytes: Buffer, from: number, to: number): number {
  assert(from >= 0 && to <= bytes.length, 'a sum of bytes that are there');
  return to - from <= BYTEWISE_MAX ? sumFew(bytes, from, to) : sumMany(bytes, from, to);
}

function sumFew(bytes: Buffer, from: number, to: number): number {
  let sum = 0;
  let at = from;
  for (; at + 1 < to; at += 2) sum += (bytes[at]! << 8) | bytes[at + 1]!;
  if (at < to) sum += bytes[at]! << 8;
  return fold(sum);
}

/**
 * Adds words of 32 bits as they lie in memory and swaps the bytes of the result, which comes to the same. RFC 1071, 2 (B).
 * The sums are doubles, which hold 2^21 such words exactly.
 */
function sumMany(bytes: Buffer, from: number, to: number): number {
  const view = viewOf(bytes);
  let at = from;
  let a = 0;
  let b = 0;
  let c = 0;
  let d = 0;
  for (const end = to - 32; at <= end; at += 32) {
    a += view.getUint32(at, true) + view.getUint32(at + 4, true);
    b += view.getUint32(at + 8, true) + view.getUint32(at + 12, true);
    c += view.getUint32(at + 16, true) + view.getUint32(at + 20, true);
    d += view.getUint32(at + 24, true) + view.getUint32(at + 28, true);
  }
  for (const end = to - 4; at <= end; at += 4) a += view.getUint32(at, true);
  const total = a + b + c + d;
  const upper = Math.floor(total / 2 ** 32);
  const lower = total >>> 0;
  const sum = fold((lower & 0xffff) + (lower >>> 16) + (upper & 0xffff) + (upper >>> 16));
  // At most three bytes are left, and an even number has gone before.
  return addSums(swap(sum), sumFew(bytes, at, to));
}

/** 0 … 2^31 - 1 to 16 bits, with the carries added. */
function fold(sum: number): number {
  const once = (sum & 0xffff) + (sum >>> 16);
  return (once & 0xffff) + (once >>> 16);
}

const swap = (sum: number): number => ((sum & 0xff) << 8) | (sum >>> 8);

/** Sum of two sums, or of a sum and a 16-bit word. */
export function addSums(a: number, b: number): number {
  const sum = a + b;
  return (sum & 0xffff) + (sum >>> 16);
}

/** What stands in a header for a sum. */
export const checksumOf = (sum: number): number => ~sum & 0xffff;

/** The same for TCP and UDP: never zero, which in UDP means that there is none. RFC 768 */
export const checksumNotZero = (sum: number): number => (sum === 0xffff ? 0xffff : ~sum & 0xffff);

/** Whether a checksum of that beginning lies in a frame of `length` bytes. */
export const holdsChecksum = (length: number, csumStart: number, csumOffset: number): boolean =>
  csumStart >= 0 && csumOffset >= 0 && csumStart + csumOffset + 2 <= length;

/**
 * Does what NEEDS_CSUM asks for: puts the checksum from `csumStart` to the end of the frame where it goes. There the sum of
 * the pseudo-header stands, and is part of it. The positions have passed `checkOffload`. VIRTIO 1.3, 5.1.6.2
 */
export function completeChecksum(frame: Buffer, length: number, csumStart: number, csumOffset: number): void {
  const at = csumStart + csumOffset;
  assert(holdsChecksum(length, csumStart, csumOffset), 'the checksum lies in its frame');
  const checksum = checksumNotZero(sumBytes(frame, csumStart, length));
  frame[at] = checksum >>> 8;
  frame[at + 1] = checksum;
}
