import { constants } from 'node:buffer';
import koffi from 'koffi';
import { assert } from '../errors.js';
import { PAGE_BYTES } from './memory-map.js';

/**
 * Address space behind one ArrayBuffer, bytes: as much as this Node takes (20: 4 GiB). V8 counts the bytes of an ArrayBuffer
 * over foreign memory as its own and collects garbage for them, some milliseconds each time. So a thread makes few of them,
 * vast ones, over whatever lies there, and all views are cut from these at no cost.
 */
const SPAN_BYTES = Math.min(constants.MAX_LENGTH, 2 ** 41);
/** Spans overlap by half, so that any view of up to this length lies whole in one. */
const SPAN_STRIDE = SPAN_BYTES / 2;
/** Longest view, bytes: V8 is fast below element 2^31 only. */
const VIEW_BYTES_MAX = 2 ** 31;

const spans = new Map<number, { readonly start: number; readonly memory: ArrayBuffer }>();

/** Number of the span in which views that begin at an address lie. */
export const spanOf = (address: number): number => Math.floor(address / SPAN_STRIDE);

/** Makes a span for the calling thread, if it has not got it: whoever knows that it will need one does so at leisure. */
export function openSpan(number: number): { readonly start: number; readonly memory: ArrayBuffer } {
  let span = spans.get(number);
  if (span === undefined) {
    const start = Math.max(number * SPAN_STRIDE, PAGE_BYTES);
    span = { start, memory: koffi.view(start, SPAN_BYTES) as ArrayBuffer };
    spans.set(number, span);
  }
  return span;
}

/** Where a stretch of this process's memory lies in an ArrayBuffer of the calling thread. */
function locate(address: number, length: number): { memory: ArrayBuffer; offset: number } {
  assert(address >= PAGE_BYTES && length <= VIEW_BYTES_MAX, 'a view of mapped memory, of at most 2 GiB');
  const { start, memory } = openSpan(spanOf(address));
  return { memory, offset: address - start };
}

/** Mapped memory, without a copy, as the calling thread sees it. It must stay mapped while the view is used. */
export function viewBytes(address: number, length: number): Buffer {
  const { memory, offset } = locate(address, length);
  return Buffer.from(memory, offset, length);
}

/** The same as 16-bit words; the whole ones of `length` bytes. */
export function viewWords16(address: number, length: number): Uint16Array {
  const { memory, offset } = locate(address, length);
  return new Uint16Array(memory, offset, length >>> 1);
}

/** The same as 32-bit words; the whole ones of `length` bytes. */
export function viewWords32(address: number, length: number): Uint32Array {
  const { memory, offset } = locate(address, length);
  return new Uint32Array(memory, offset, length >>> 2);
}

/** The same as 64-bit words, from an address that is a multiple of eight: for copies, in which no number is ever made of them. */
export function viewWords64(address: number, length: number): BigUint64Array {
  const { memory, offset } = locate(address, length);
  return new BigUint64Array(memory, offset, length >>> 3);
}

/** The same as signed 32-bit words; the whole ones of `length` bytes. */
export function viewSigned32(address: number, length: number): Int32Array {
  const { memory, offset } = locate(address, length);
  return new Int32Array(memory, offset, length >>> 2);
}
