import { SidecoreError } from '../errors.js';
import { CONFIG_SPACE_BYTES_MAX } from '../limits.js';
import { VRING_INDEX_MASK, VRING_NO_FD } from './messages.js';

/** A region as it stands in a message. vhost-user, "Memory region description" */
export interface RegionMessage {
  readonly guestAddress: bigint;
  readonly size: bigint;
  readonly userAddress: bigint;
  readonly mmapOffset: bigint;
}

export interface VringState {
  readonly index: number;
  readonly num: number;
}

export interface VringAddress {
  readonly index: number;
  readonly flags: number;
  /** Addresses in the front end's address space. */
  readonly descriptors: bigint;
  readonly used: bigint;
  readonly available: bigint;
  readonly log: bigint;
}

export interface VringFd {
  readonly index: number;
  /** No descriptor comes with the message: the ring is polled, or nobody listens. */
  readonly noFd: boolean;
}

export interface ConfigMessage {
  readonly offset: number;
  readonly flags: number;
  readonly bytes: Buffer;
}

const REGION_BYTES = 32;
const CONFIG_HEADER_BYTES = 12;

/** Reads payloads whose length has been held against the message table; throws for those that lie about it. */
export const decode = {
  u64: (payload: Buffer): bigint => payload.readBigUInt64LE(0),

  vringFd(payload: Buffer): VringFd {
    const value = payload.readBigUInt64LE(0);
    return { index: Number(value & VRING_INDEX_MASK), noFd: (value & VRING_NO_FD) !== 0n };
  },

  vringState: (payload: Buffer): VringState => ({ index: payload.readUInt32LE(0), num: payload.readUInt32LE(4) }),

  vringAddress: (payload: Buffer): VringAddress => ({
    index: payload.readUInt32LE(0),
    flags: payload.readUInt32LE(4),
    descriptors: payload.readBigUInt64LE(8),
    used: payload.readBigUInt64LE(16),
    available: payload.readBigUInt64LE(24),
    log: payload.readBigUInt64LE(32),
  }),

  memoryTable(payload: Buffer): RegionMessage[] {
    const count = payload.readUInt32LE(0);
    if (8 + count * REGION_BYTES > payload.length) {
      throw new SidecoreError('MESSAGE_INVALID', `memory table says ${count} regions in ${payload.length} bytes`);
    }
    return Array.from({ length: count }, (_, i) => region(payload, 8 + i * REGION_BYTES));
  },

  /** Eight bytes of padding, then one region. */
  memoryRegion: (payload: Buffer): RegionMessage => region(payload, 8),

  config(payload: Buffer): ConfigMessage {
    const offset = payload.readUInt32LE(0);
    const size = payload.readUInt32LE(4);
    if (size > CONFIG_SPACE_BYTES_MAX || offset > CONFIG_SPACE_BYTES_MAX - size) {
      throw new SidecoreError('CONFIG_SPACE_INVALID', `configuration space has no ${size} bytes at ${offset}`);
    }
    if (payload.length < CONFIG_HEADER_BYTES + size) {
      throw new SidecoreError('MESSAGE_INVALID', `configuration message says ${size} bytes in ${payload.length}`);
    }
    const bytes = payload.subarray(CONFIG_HEADER_BYTES, CONFIG_HEADER_BYTES + size);
    return { offset, flags: payload.readUInt32LE(8), bytes };
  },
};

function region(payload: Buffer, at: number): RegionMessage {
  return {
    guestAddress: payload.readBigUInt64LE(at),
    size: payload.readBigUInt64LE(at + 8),
    userAddress: payload.readBigUInt64LE(at + 16),
    mmapOffset: payload.readBigUInt64LE(at + 24),
  };
}

/** Writes payloads, for replies and for a front end's messages. */
export const encode = {
  u64(value: bigint): Buffer {
    const payload = Buffer.alloc(8);
    payload.writeBigUInt64LE(value, 0);
    return payload;
  },

  vringFd: ({ index, noFd }: VringFd): Buffer => encode.u64(BigInt(index) | (noFd ? VRING_NO_FD : 0n)),

  vringState({ index, num }: VringState): Buffer {
    const payload = Buffer.alloc(8);
    payload.writeUInt32LE(index, 0);
    payload.writeUInt32LE(num, 4);
    return payload;
  },

  vringAddress(address: VringAddress): Buffer {
    const payload = Buffer.alloc(40);
    payload.writeUInt32LE(address.index, 0);
    payload.writeUInt32LE(address.flags, 4);
    payload.writeBigUInt64LE(address.descriptors, 8);
    payload.writeBigUInt64LE(address.used, 16);
    payload.writeBigUInt64LE(address.available, 24);
    payload.writeBigUInt64LE(address.log, 32);
    return payload;
  },

  memoryTable(regions: readonly RegionMessage[]): Buffer {
    const count = Buffer.alloc(8);
    count.writeUInt32LE(regions.length, 0);
    return Buffer.concat([count, ...regions.map(encodeRegion)]);
  },

  memoryRegion: (one: RegionMessage): Buffer => Buffer.concat([Buffer.alloc(8), encodeRegion(one)]),

  config({ offset, flags, bytes }: ConfigMessage): Buffer {
    const header = Buffer.alloc(CONFIG_HEADER_BYTES);
    header.writeUInt32LE(offset, 0);
    header.writeUInt32LE(bytes.length, 4);
    header.writeUInt32LE(flags, 8);
    return Buffer.concat([header, bytes]);
  },
};

function encodeRegion(one: RegionMessage): Buffer {
  const bytes = Buffer.alloc(REGION_BYTES);
  bytes.writeBigUInt64LE(one.guestAddress, 0);
  bytes.writeBigUInt64LE(one.size, 8);
  bytes.writeBigUInt64LE(one.userAddress, 16);
  bytes.writeBigUInt64LE(one.mmapOffset, 24);
  return bytes;
}
