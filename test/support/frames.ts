/** Frames for tests, and what receivers find of them. */
import assert from 'node:assert/strict';

export const BROADCAST = Buffer.from('ffffffffffff', 'hex');
/** IEEE 802, Local Experimental Ethertype 1: nobody looks further. */
const EXPERIMENTAL_TYPE = 0x88b5;
const HEADER_BYTES = 14;
const TAG_BYTES = 4;

/** A frame whose bytes tell it from others with another seed, if it has that many. Shorter than a header, it is that much of one. */
export function makeFrame(to: Uint8Array, from: Uint8Array, byteLength: number, seed: number): Buffer {
  const bytes = Buffer.alloc(Math.max(byteLength, HEADER_BYTES));
  for (let i = HEADER_BYTES; i < byteLength; i++) bytes[i] = (i * 31 + seed * 7) & 0xff;
  if (byteLength >= HEADER_BYTES + 4) bytes.writeUInt32BE(seed >>> 0, HEADER_BYTES);
  bytes.set(to, 0);
  bytes.set(from, 6);
  bytes.writeUInt16BE(EXPERIMENTAL_TYPE, 12);
  return bytes.subarray(0, byteLength);
}

/** The same frame with a tag of 802.1Q, priority and drop bit in the upper four bits of `control`. */
export function withTag(frame: Buffer, control: number): Buffer {
  const tag = Buffer.from([0x81, 0x00, control >>> 8, control & 0xff]);
  return Buffer.concat([frame.subarray(0, 12), tag, frame.subarray(12)]);
}

/** The same frame without its tag. */
export const withoutTag = (frame: Buffer): Buffer =>
  Buffer.concat([frame.subarray(0, 12), frame.subarray(12 + TAG_BYTES)]);

/** A station's address of a guest's number. */
export function macOf(number: number): Buffer {
  const mac = Buffer.from('525400000000', 'hex');
  mac.writeUInt32BE(number, 2);
  return mac;
}

/** Fails, in few words, unless the frames are those, in that order. */
export function expectSame(received: readonly Buffer[], sent: readonly Buffer[], what = ''): void {
  const first = sent.findIndex((frame, i) => received[i]?.equals(frame) !== true);
  const at = first < 0 ? sent.length : first;
  const show = (frame: Buffer | undefined) => (frame === undefined ? 'none' : `${frame.length} bytes ${brief(frame)}`);
  const found = `frame ${at} is ${show(received[at])}, not ${show(sent[at])}`;
  if (at < sent.length || received.length > sent.length) assert.fail(`${what} ${found} (${received.length} frames)`);
}

const brief = (frame: Buffer) => frame.subarray(0, 24).toString('hex');
