/**
 * Network devices of the host, by name: what is asked of them and told to them. netdevice(7)
 *
 * Functions that set something return 0 or an error number (negative).
 */
import { existsSync, readFileSync, readlinkSync } from 'node:fs';
import { basename } from 'node:path';
import { check, close, declare, errno } from './libc.js';

const ioctlCall = declare('int ioctl(int fd, unsigned long request, void *argument)');
const ioctlNumber = declare('int ioctl(int fd, unsigned long request, intptr_t argument)');
const socketCall = declare('int socket(int domain, int type, int protocol)');

const AF_INET = 2;
const SOCK_DGRAM = 2;
const SOCK_CLOEXEC = 0o2000000;

/** Longest name of a network device, bytes: IFNAMSIZ less the final zero. */
export const DEVICE_NAME_BYTES_MAX = 15;

/** struct ifreq, byte offsets: the name, and what the request is about. netdevice(7) */
const Ifreq = { NAME: 0, VALUE: 16, BYTES: 40 } as const;
/** sockaddr in an ifreq: family, then the address. */
const HARDWARE_ADDRESS = Ifreq.VALUE + 2;
const ADDRESS_BYTES = 6;
const ARPHRD_ETHER = 1;

/** linux/sockios.h */
const Request = {
  GET_FLAGS: 0x8913,
  SET_FLAGS: 0x8914,
  GET_MTU: 0x8921,
  SET_MTU: 0x8922,
  SET_ADDRESS: 0x8924,
  GET_ADDRESS: 0x8927,
  GET_INDEX: 0x8933,
  BRIDGE_ADD: 0x89a2,
} as const;

/** net/if.h */
const IFF_UP = 1;

/** An ioctl whose argument is memory, which it may change. Returns 0 or more, or an error number (negative). */
export function ioctl(fd: number, request: number, argument: Uint8Array): number {
  const result: number = ioctlCall(fd, request, argument);
  return result < 0 ? -errno() : result;
}

/** The same for an argument that is a number. */
export function ioctlWith(fd: number, request: number, argument: number): number {
  const result: number = ioctlNumber(fd, request, argument);
  return result < 0 ? -errno() : result;
}

/** A request about a device, nothing but its name filled in. struct ifreq */
export function ifreq(device: string): Buffer {
  const request = Buffer.alloc(Ifreq.BYTES);
  request.write(device, Ifreq.NAME, DEVICE_NAME_BYTES_MAX);
  return request;
}

/** Sets the flags of an `ifreq`. */
export function setIfreqFlags(request: Buffer, flags: number): void {
  request.writeUInt16LE(flags, Ifreq.VALUE);
}

/** Asks or tells something of a device through a socket of the moment. Result as of `ioctl`. */
function ask(number: number, request: Buffer): number {
  const fd = check(socketCall(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), 'socket');
  const result = ioctl(fd, number, request);
  close(fd);
  return result;
}

/** Number of a device; negative if there is none of that name. */
export function deviceIndex(device: string): number {
  const request = ifreq(device);
  const result = ask(Request.GET_INDEX, request);
  return result < 0 ? result : request.readInt32LE(Ifreq.VALUE);
}

/** Switches it on, if it is not. */
export function setUp(device: string): number {
  const request = ifreq(device);
  const result = ask(Request.GET_FLAGS, request);
  if (result < 0) return result;
  const flags = request.readUInt16LE(Ifreq.VALUE);
  if ((flags & IFF_UP) !== 0) return 0;
  setIfreqFlags(request, flags | IFF_UP);
  return ask(Request.SET_FLAGS, request);
}

/** Sets the largest payload of a frame, bytes, if it is another. */
export function setMtu(device: string, mtu: number): number {
  const request = ifreq(device);
  const result = ask(Request.GET_MTU, request);
  if (result < 0 || request.readInt32LE(Ifreq.VALUE) === mtu) return result;
  request.writeInt32LE(mtu, Ifreq.VALUE);
  return ask(Request.SET_MTU, request);
}

/** Ethernet address of a device that is there, six bytes. */
export function deviceAddress(device: string): Buffer {
  const request = ifreq(device);
  check(ask(Request.GET_ADDRESS, request), `${device}: SIOCGIFHWADDR`);
  return request.subarray(HARDWARE_ADDRESS, HARDWARE_ADDRESS + ADDRESS_BYTES);
}

/** Sets the Ethernet address, six bytes, if it is another. */
export function setAddress(device: string, address: Uint8Array): number {
  const request = ifreq(device);
  const result = ask(Request.GET_ADDRESS, request);
  const now = request.subarray(HARDWARE_ADDRESS, HARDWARE_ADDRESS + ADDRESS_BYTES);
  if (result < 0 || now.equals(address)) return result;
  request.writeUInt16LE(ARPHRD_ETHER, Ifreq.VALUE);
  now.set(address);
  return ask(Request.SET_ADDRESS, request);
}

/** Puts a device into a bridge, if it is not in it. */
export function addToBridge(device: string, bridge: string): number {
  if (bridgeOf(device) === bridge) return 0;
  const index = deviceIndex(device);
  if (index < 0) return index;
  const request = ifreq(bridge);
  request.writeInt32LE(index, Ifreq.VALUE);
  return ask(Request.BRIDGE_ADD, request);
}

/** Name of the bridge that a device is in, as far as can be seen. */
export function bridgeOf(device: string): string | undefined {
  try {
    return basename(readlinkSync(`/sys/class/net/${device}/brport/bridge`));
  } catch {
    return undefined;
  }
}

/** Whether a device says that something is plugged into it; false if it is switched off, or that cannot be seen. */
export const hasCarrier = (device: string): boolean => attribute(device, 'carrier') === '1';

/** Whether a device is switched on; false if that cannot be seen. */
export const isUp = (device: string): boolean => (Number(attribute(device, 'flags') ?? 0) & IFF_UP) !== 0;

/** Whether there is a device of that name, as far as can be seen without asking for rights. */
export const deviceExists = (device: string): boolean => existsSync(`/sys/class/net/${device}`);

export const isBridge = (device: string): boolean => existsSync(`/sys/class/net/${device}/bridge`);

/** Flags of a TUN or TAP device, as they were given when it was made; undefined of any other. */
export function tunFlags(device: string): number | undefined {
  const text = attribute(device, 'tun_flags');
  return text === undefined ? undefined : Number(text);
}

function attribute(device: string, name: string): string | undefined {
  try {
    return readFileSync(`/sys/class/net/${device}/${name}`, 'latin1').trim();
  } catch {
    return undefined;
  }
}
