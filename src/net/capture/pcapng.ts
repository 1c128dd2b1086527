import { readWallClock, WALL_CLOCK_WORDS } from '../../host/clock.js';
import type { CapturedFrame } from './capture-reader.js';

/** Types of blocks, and options by block. draft-ietf-opsawg-pcapng, 4.1 to 4.6 and 3.5 */
export const BlockType = {
  SECTION_HEADER: 0x0a0d0d0a,
  INTERFACE_DESCRIPTION: 1,
  INTERFACE_STATISTICS: 5,
  ENHANCED_PACKET: 6,
} as const;
export const Option = {
  END: 0,
  COMMENT: 1,
  SHB_APPLICATION: 4,
  IF_NAME: 2,
  IF_TSRESOL: 9,
  EPB_FLAGS: 2,
  ISB_STARTTIME: 2,
  ISB_ENDTIME: 3,
  ISB_IFRECV: 4,
  ISB_IFDROP: 5,
  ISB_USRDELIV: 8,
} as const;

const BYTE_ORDER_MAGIC = 0x1a2b3c4d;
const LINKTYPE_ETHERNET = 1;
/** Timestamps count 10^-9 s. */
const NANOSECONDS = 9;
/** Type and length, and the length again behind it. */
export const BLOCK_HEADER_BYTES = 8;
export const BLOCK_TRAILER_BYTES = 4;
export const OPTION_HEADER_BYTES = 4;
/** Fixed part of an enhanced packet block after the header, and its options: flags, and the end of options. */
const PACKET_FIXED_BYTES = 20;
const PACKET_OPTIONS_BYTES = OPTION_HEADER_BYTES + 4 + OPTION_HEADER_BYTES;

/** Bytes of the block of a packet beside the packet itself. */
export const PACKET_BLOCK_BYTES = BLOCK_HEADER_BYTES + PACKET_FIXED_BYTES + PACKET_OPTIONS_BYTES + BLOCK_TRAILER_BYTES;

/** Fixed part of an interface statistics block after the header. */
export const STATISTICS_FIXED_BYTES = 12;

/** Every part of a block ends at a multiple of four. */
export const padded = (bytes: number): number => (bytes + 3) & ~3;

/** A moment since 1970. */
export interface Moment {
  readonly seconds: number;
  readonly nanoseconds: number;
}

export function now(): Moment {
  const words = new Uint32Array(WALL_CLOCK_WORDS);
  readWallClock(words, 0);
  return { seconds: words[0]! + words[1]! * 2 ** 32, nanoseconds: words[2]! };
}

/** What the end of a capture says of it. */
export interface CaptureStatistics {
  readonly began: Moment;
  readonly ended: Moment;
  /** Frames that passed the interface, those of them for which there was no room, and those that were written. */
  readonly received: number;
  readonly dropped: number;
  readonly written: number;
  /** Why it ended, if nobody asked for that. */
  readonly comment?: string | undefined;
}

/** The first block. */
export function sectionHeader(application: string): Buffer {
  const fixed = Buffer.alloc(16);
  fixed.writeUInt32LE(BYTE_ORDER_MAGIC, 0);
  fixed.writeUInt16LE(1, 4);
  // The section's length is not known.
  fixed.writeBigInt64LE(-1n, 8);
  return block(BlockType.SECTION_HEADER, fixed, [option(Option.SHB_APPLICATION, Buffer.from(application))]);
}

/** Describes the interface that all packets are of. */
export function interfaceDescription(name: string, snapBytes: number): Buffer {
  const fixed = Buffer.alloc(8);
  fixed.writeUInt16LE(LINKTYPE_ETHERNET, 0);
  fixed.writeUInt32LE(snapBytes, 4);
  const options = [option(Option.IF_NAME, Buffer.from(name)), option(Option.IF_TSRESOL, Buffer.of(NANOSECONDS))];
  return block(BlockType.INTERFACE_DESCRIPTION, fixed, options);
}

/** The last block. */
export function interfaceStatistics(statistics: CaptureStatistics): Buffer {
  const { began, ended, received, dropped, written, comment } = statistics;
  const fixed = Buffer.alloc(STATISTICS_FIXED_BYTES);
  writeTimestamp(fixed, 4, ended);
  const options = [
    option(Option.ISB_STARTTIME, timestamp(began)),
    option(Option.ISB_ENDTIME, timestamp(ended)),
    option(Option.ISB_IFRECV, count(received)),
    option(Option.ISB_IFDROP, count(dropped)),
    option(Option.ISB_USRDELIV, count(written)),
  ];
  if (comment !== undefined) options.push(option(Option.COMMENT, Buffer.from(comment)));
  return block(BlockType.INTERFACE_STATISTICS, fixed, options);
}

/** Writes the block of a packet, which takes `PACKET_BLOCK_BYTES` and what was kept of it. Returns where it ends. */
export function writePacket(target: Buffer, at: number, frame: CapturedFrame): number {
  const { keptBytes, byteLength, direction } = frame;
  const dataBytes = padded(keptBytes);
  const blockBytes = PACKET_BLOCK_BYTES + dataBytes;
  const data = at + BLOCK_HEADER_BYTES + PACKET_FIXED_BYTES;
  target.writeUInt32LE(BlockType.ENHANCED_PACKET, at);
  target.writeUInt32LE(blockBytes, at + 4);
  target.writeUInt32LE(0, at + 8);
  writeTimestamp(target, at + 12, frame);
  target.writeUInt32LE(keptBytes, at + 20);
  target.writeUInt32LE(byteLength, at + 24);
  frame.bytes.copy(target, data, frame.at, frame.at + keptBytes);
  target.fill(0, data + keptBytes, data + dataBytes);
  const options = data + dataBytes;
  target.writeUInt16LE(Option.EPB_FLAGS, options);
  target.writeUInt16LE(4, options + 2);
  target.writeUInt32LE(direction, options + 4);
  target.writeUInt32LE(Option.END, options + 8);
  target.writeUInt32LE(blockBytes, at + blockBytes - BLOCK_TRAILER_BYTES);
  return at + blockBytes;
}

/**
 * Writes nanoseconds since 1970 as two words, the upper first. A double does not hold their number, so that seconds are
 * multiplied in two halves.
 */
export function writeTimestamp(target: Buffer, at: number, { seconds, nanoseconds }: Moment): void {
  const upper = Math.floor(seconds / 2 ** 16) * 1e9;
  const lower = (seconds % 2 ** 16) * 1e9 + nanoseconds + (upper % 2 ** 16) * 2 ** 16;
  target.writeUInt32LE(Math.floor(upper / 2 ** 16) + Math.floor(lower / 2 ** 32), at);
  target.writeUInt32LE(lower % 2 ** 32, at + 4);
}

function timestamp(moment: Moment): Buffer {
  const bytes = Buffer.alloc(8);
  writeTimestamp(bytes, 0, moment);
  return bytes;
}

function count(value: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(value));
  return bytes;
}

function option(code: number, value: Buffer): Buffer {
  const bytes = Buffer.alloc(OPTION_HEADER_BYTES + padded(value.length));
  bytes.writeUInt16LE(code, 0);
  bytes.writeUInt16LE(value.length, 2);
  value.copy(bytes, OPTION_HEADER_BYTES);
  return bytes;
}

function block(type: number, fixed: Buffer, options: readonly Buffer[]): Buffer {
  const body = Buffer.concat([fixed, ...options, option(Option.END, Buffer.alloc(0))]);
  const bytes = Buffer.alloc(BLOCK_HEADER_BYTES + body.length + BLOCK_TRAILER_BYTES);
  bytes.writeUInt32LE(type, 0);
  bytes.writeUInt32LE(bytes.length, 4);
  body.copy(bytes, BLOCK_HEADER_BYTES);
  bytes.writeUInt32LE(bytes.length, bytes.length - BLOCK_TRAILER_BYTES);
  return bytes;
}
