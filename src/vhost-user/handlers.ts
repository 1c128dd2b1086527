import { MEMORY_REGIONS_MAX } from '../limits.js';
import { decode, encode } from './codec.js';
import type { MessageName } from './messages.js';
import type { Session } from './session.js';

/** Answers one message: the payload of its reply, if it has one of its own. Takes over descriptors by removing them. */
type Handler = (session: Session, payload: Buffer, fds: number[]) => Promise<Buffer | undefined | void> | Buffer | void;

/** One handler for each row of the table: a missing one does not compile. */
export const HANDLERS: Record<MessageName, Handler> = {
  GET_FEATURES: (session) => encode.u64(session.getFeatures()),
  SET_FEATURES: (session, payload) => session.setFeatures(decode.u64(payload)),
  GET_PROTOCOL_FEATURES: (session) => encode.u64(session.offeredProtocolFeatures),
  SET_PROTOCOL_FEATURES: (session, payload) => session.setProtocolFeatures(decode.u64(payload)),
  SET_OWNER: () => {},
  // "No longer used": those that still send it mean "disable all rings".
  RESET_OWNER: (session) => session.reset(),
  RESET_DEVICE: (session) => session.reset(),
  SET_STATUS: (session, payload) => session.setStatus(decode.u64(payload)),
  GET_STATUS: (session) => encode.u64(BigInt(session.getStatus())),
  GET_QUEUE_NUM: (session) => encode.u64(BigInt(session.vrings.length)),
  GET_CONFIG: (session, payload) => session.device.getConfig(payload),
  SET_CONFIG: (session, payload) => session.device.setConfig(decode.config(payload)),
  SET_BACKEND_REQ_FD: (session, _payload, fds) => session.setBackendChannel(fds.shift()),
  SEND_RARP: (session, payload) => session.device.sendRarp(payload.subarray(0, 6)),
  NET_SET_MTU: (session, payload) => session.device.setMtu(decode.u64(payload)),
  SET_MEM_TABLE: (session, payload, fds) => session.setMemoryTable(decode.memoryTable(payload), fds),
  GET_MAX_MEM_SLOTS: () => encode.u64(BigInt(MEMORY_REGIONS_MAX)),
  ADD_MEM_REG: (session, payload, fds) => session.addMemoryRegion(decode.memoryRegion(payload), fds[0]),
  REM_MEM_REG: (session, payload) => session.removeMemoryRegion(decode.memoryRegion(payload)),
  SET_VRING_NUM: (session, payload) => session.setVringNum(decode.vringState(payload)),
  SET_VRING_ADDR: (session, payload) => session.setVringAddress(decode.vringAddress(payload)),
  SET_VRING_BASE: (session, payload) => session.setVringBase(decode.vringState(payload)),
  SET_VRING_ENABLE: (session, payload) => session.setVringEnable(decode.vringState(payload)),
  GET_VRING_BASE: async (session, payload) =>
    encode.vringState(await session.getVringBase(decode.vringState(payload).index)),
  SET_VRING_KICK: (session, payload, fds) => session.setVringFd('Kick', decode.vringFd(payload), fds),
  SET_VRING_CALL: (session, payload, fds) => session.setVringFd('Call', decode.vringFd(payload), fds),
  SET_VRING_ERR: (session, payload, fds) => session.setVringFd('Err', decode.vringFd(payload), fds),
};
