/** Messages of a replay, with symbols turned into bytes. */
import { encode, type RegionMessage } from '../../src/vhost-user/codec.js';
import type { Payload, Region, SendStep } from '../replays/replay.js';

/** Front-end message types. vhost-user, "Front-end message types" */
export const MESSAGE_IDS: Record<SendStep['send'], number> = {
  GET_FEATURES: 1,
  SET_FEATURES: 2,
  SET_OWNER: 3,
  SET_MEM_TABLE: 5,
  SET_LOG_BASE: 6,
  SET_VRING_NUM: 8,
  SET_VRING_ADDR: 9,
  SET_VRING_BASE: 10,
  GET_VRING_BASE: 11,
  SET_VRING_KICK: 12,
  SET_VRING_CALL: 13,
  SET_VRING_ERR: 14,
  GET_PROTOCOL_FEATURES: 15,
  SET_PROTOCOL_FEATURES: 16,
  GET_QUEUE_NUM: 17,
  SET_VRING_ENABLE: 18,
  SEND_RARP: 19,
  NET_SET_MTU: 20,
  SET_BACKEND_REQ_FD: 21,
  GET_CONFIG: 24,
  SET_CONFIG: 25,
  GET_INFLIGHT_FD: 31,
  SET_INFLIGHT_FD: 32,
  RESET_DEVICE: 34,
  GET_MAX_MEM_SLOTS: 36,
  ADD_MEM_REG: 37,
  REM_MEM_REG: 38,
  SET_STATUS: 39,
  GET_STATUS: 40,
  GET_SHMEM_CONFIG: 44,
};

const bits = (...numbers: readonly number[]) => numbers.reduce((mask, bit) => mask | (1n << BigInt(bit)), 0n);
const COMMON_PROTOCOL_FEATURES = bits(0, 3, 5, 9, 13, 15, 16);
/** What the back end offers, by kind of device. */
export const OFFERED_PROTOCOL_FEATURES = {
  disk: COMMON_PROTOCOL_FEATURES,
  card: COMMON_PROTOCOL_FEATURES | bits(2, 4),
} as const;

/** Payloads that have a field. */
export type Field<K extends string> = Extract<Payload, Record<K, unknown>>;

/** Bytes of an address's payload. vhost-user, SEND_RARP */
const MAC_PAYLOAD_BYTES = 8;
const INFLIGHT_BYTES = 24;

/** What symbols stand for. */
export interface Symbols {
  features(payload: Field<'features'>): bigint;
  readonly protocolFeatures: bigint;
  base(payload: Field<'base'>): number;
  addresses(index: number): { descriptors: bigint; available: bigint; used: bigint };
  /** The answer to GET_INFLIGHT_FD. */
  readonly inflight: Buffer | undefined;
}

export function encodePayload({ send, payload, fds }: SendStep, symbols: Symbols): Buffer {
  if (payload === undefined) return Buffer.alloc(0);
  if ('features' in payload) return encode.u64(symbols.features(payload));
  if ('protocolFeatures' in payload) return encode.u64(symbols.protocolFeatures);
  if ('status' in payload) return encode.u64(BigInt(payload.status));
  if ('mtu' in payload) return encode.u64(BigInt(payload.mtu));
  if ('mac' in payload) return Buffer.concat([Buffer.from(payload.mac)], MAC_PAYLOAD_BYTES);
  if ('num' in payload) return encode.vringState(payload);
  if ('base' in payload) return encode.vringState({ index: payload.index, num: symbols.base(payload) });
  if ('ring' in payload) {
    const { index, flags } = payload;
    return encode.vringAddress({ index, flags, log: 0n, ...symbols.addresses(index) });
  }
  if ('regions' in payload) return encode.memoryTable(payload.regions.map(regionMessage));
  if ('region' in payload) {
    const { region } = payload;
    return encode.memoryRegion(regionMessage(send === 'REM_MEM_REG' ? { ...region, mmapOffset: 0 } : region));
  }
  if ('offset' in payload) {
    const bytes = Buffer.alloc(payload.size);
    bytes.set(payload.data ?? []);
    return encode.config({ offset: payload.offset, flags: payload.flags, bytes });
  }
  if ('area' in payload) {
    const bytes = Buffer.alloc(INFLIGHT_BYTES);
    if (payload.area === 'returned') symbols.inflight!.copy(bytes);
    bytes.writeUInt16LE(payload.queues, 16);
    bytes.writeUInt16LE(payload.queueSize, 18);
    return bytes;
  }
  if ('logSize' in payload)
    return Buffer.concat([encode.u64(BigInt(payload.logSize)), encode.u64(BigInt(payload.logOffset))]);
  return encode.vringFd({ index: payload.index, noFd: fds?.includes('none') ?? false });
}

function regionMessage({ guestAddress, size, userAddress, mmapOffset }: Region): RegionMessage {
  return {
    guestAddress: BigInt(guestAddress),
    size: BigInt(size),
    userAddress: BigInt(userAddress),
    mmapOffset: BigInt(mmapOffset),
  };
}

/** The ring that a message is about. */
export function indexOf(payload: Payload | undefined): number | undefined {
  return payload !== undefined && 'index' in payload ? payload.index : undefined;
}
