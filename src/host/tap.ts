import { constants, openSync } from 'node:fs';
import { type ErrorCode, MORE_DESCRIPTORS, SidecoreError } from '../errors.js';
import { close, Errno, errorText } from './libc.js';
import {
  addToBridge,
  bridgeOf,
  deviceAddress,
  hasCarrier,
  ifreq,
  ioctl,
  ioctlWith,
  setAddress,
  setIfreqFlags,
  setMtu,
  setUp,
} from './net-device.js';

export const TUN_PATH = '/dev/net/tun';

/** linux/if_tun.h */
const Tun = {
  SET_IFF: 0x400454ca,
  SET_OWNER: 0x400454cc,
  SET_GROUP: 0x400454ce,
  SET_OFFLOAD: 0x400454d0,
  SET_HEADER_BYTES: 0x400454d8,
  SET_HEADER_LITTLE_ENDIAN: 0x400454dc,
} as const;

/** Flags of SET_IFF. linux/if_tun.h */
export const IFF_TAP = 0x0002;
export const IFF_MULTI_QUEUE = 0x0100;
const IFF_NO_PI = 0x1000;
const IFF_VNET_HDR = 0x4000;
/** Fail if the device is there already. */
const IFF_TUN_EXCL = 0x8000;

/** Frames with struct virtio_net_hdr before them, and nothing else. */
const FRAMES = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;

/** What may be left to whoever reads from a TAP device. linux/if_tun.h, TUN_F_* */
export const TapOffload = { CSUM: 0x01, TSO4: 0x02, TSO6: 0x04, ECN: 0x08, USO4: 0x20, USO6: 0x40 } as const;

const { CSUM, TSO4, TSO6, ECN, USO4, USO6 } = TapOffload;
/** Sets of these to try, the largest first: Linux has USO since 6.2, and takes it for both versions of IP only. */
const OFFLOAD_SETS = [CSUM | TSO4 | TSO6 | ECN | USO4 | USO6, CSUM | TSO4 | TSO6 | ECN];

/** How a TAP device shall be. What is left out stays as it is, or as the kernel makes it. */
export interface TapOptions {
  readonly device: string;
  readonly queues: number;
  /** Bytes of the header before each frame: struct virtio_net_hdr with or without num_buffers. */
  readonly headerBytes: number;
  /** Six bytes. */
  readonly address?: Uint8Array | undefined;
  readonly mtu?: number | undefined;
  /** Who may open it besides root. */
  readonly uid?: number | undefined;
  readonly gid?: number | undefined;
  /** Bridge of the host to put it into. */
  readonly bridge?: string | undefined;
}

/** A TAP device that is open. It is gone when the descriptors are closed, if it was made by that. */
export interface Tap {
  /** One for each queue, non-blocking. */
  readonly fds: readonly number[];
  /** It was not there before. */
  readonly made: boolean;
  /** What the host may leave to us in frames that we read, and takes from us in those that we write: bits of `TapOffload`. */
  readonly offloads: number;
  /** Its Ethernet address, six bytes. */
  readonly address: Buffer;
}

/** Opens a TAP device, makes it if there is none of that name, and switches it on. Throws with a `TAP_` code, or `BRIDGE_MISSING`. */
export function openTap(options: TapOptions): Tap {
  const fds = [openTun(options.device)];
  try {
    const { made, flags } = attachFirst(fds[0]!, options);
    while (fds.length < options.queues) {
      const fd = openTun(options.device);
      fds.push(fd);
      must(attach(fd, options.device, flags), options.device, `cannot get queue ${fds.length}`);
    }
    const offloads = setForm(fds[0]!, options);
    setDevice(fds[0]!, options);
    return { fds, made, offloads, address: deviceAddress(options.device) };
  } catch (error) {
    for (const fd of fds) close(fd);
    throw error;
  }
}

function openTun(device: string): number {
  try {
    // Node adds O_CLOEXEC.
    return openSync(TUN_PATH, constants.O_RDWR | constants.O_NONBLOCK);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'EACCES' || code === 'EPERM') throw permission(`${device}: ${TUN_PATH} may not be opened`);
    if (code === 'EMFILE' || code === 'ENFILE')
      throw new SidecoreError('SYSTEM_CALL_FAILED', `${device}: cannot open ${TUN_PATH}: ${code}`, MORE_DESCRIPTORS);
    throw new SidecoreError(
      'TAP_UNAVAILABLE',
      `${device}: there is no ${TUN_PATH} (${code})`,
      'Load the module (`modprobe tun`), or give the container the device (`--device /dev/net/tun`).',
    );
  }
}

/** Makes the device, or opens the one that is there. */
function attachFirst(fd: number, { device, queues }: TapOptions): { made: boolean; flags: number } {
  const flags = queues > 1 ? FRAMES | IFF_MULTI_QUEUE : FRAMES;
  const result = attach(fd, device, flags | IFF_TUN_EXCL);
  if (result >= 0) return { made: true, flags };
  if (result === -Errno.EPERM) throw permission(`${device} is not there, and only root can make it`);
  if (result !== -Errno.EBUSY) throw refusal(result, device, 'cannot be made');
  // The kernel would let us in beside others if it has several queues, and share its frames out among us.
  if (hasCarrier(device)) throw busy(device);
  let opened = attach(fd, device, flags);
  if (opened >= 0) return { made: false, flags };
  if (opened === -Errno.EINVAL) {
    // Whether it has one queue or may have several was settled when it was made.
    const others = flags ^ IFF_MULTI_QUEUE;
    opened = attach(fd, device, others);
    if (opened >= 0 && queues === 1) return { made: false, flags: others };
    if (opened >= 0) throw new SidecoreError('TAP_INVALID', `${device} was made for one queue`, ONE_QUEUE_REMEDY);
  }
  if (opened === -Errno.EPERM) throw permission(`${device} belongs to somebody else`);
  if (opened === -Errno.EBUSY) throw busy(device);
  if (opened === -Errno.EINVAL)
    throw new SidecoreError('TAP_NAME_TAKEN', `${device} is there already, and no TAP device`, 'Choose another name.');
  throw refusal(opened, device, 'cannot be opened');
}

const ONE_QUEUE_REMEDY = 'Leave `queues` out, or make it anew: `ip tuntap add DEVICE mode tap multi_queue`.';

function attach(fd: number, device: string, flags: number): number {
  const request = ifreq(device);
  setIfreqFlags(request, flags);
  return ioctl(fd, Tun.SET_IFF, request);
}

/** Settles on the form of frames. Returns the offloads, bits of `TapOffload`. */
function setForm(fd: number, { device, headerBytes }: TapOptions): number {
  const number = Buffer.alloc(4);
  number.writeInt32LE(headerBytes);
  must(ioctl(fd, Tun.SET_HEADER_BYTES, number), device, `takes no header of ${headerBytes} bytes`);
  number.writeInt32LE(1);
  must(ioctl(fd, Tun.SET_HEADER_LITTLE_ENDIAN, number), device, 'takes no little-endian headers');
  return OFFLOAD_SETS.find((offloads) => ioctlWith(fd, Tun.SET_OFFLOAD, offloads) >= 0) ?? 0;
}

function setDevice(fd: number, { device, uid, gid, address, mtu, bridge }: TapOptions): void {
  if (uid !== undefined) must(ioctlWith(fd, Tun.SET_OWNER, uid), device, `cannot be given to user ${uid}`);
  if (gid !== undefined) must(ioctlWith(fd, Tun.SET_GROUP, gid), device, `cannot be given to group ${gid}`);
  if (address !== undefined) {
    const text = Buffer.from(address)
      .toString('hex')
      .replace(/..(?=.)/g, '$&:');
    const result = mayChange(setAddress(device, address), device, `cannot have the address ${text}`, `address ${text}`);
    must(result, device, `cannot have the address ${text}`, 'TAP_INVALID');
  }
  if (mtu !== undefined) {
    const result = mayChange(setMtu(device, mtu), device, `cannot have an MTU of ${mtu}`, `mtu ${mtu}`);
    must(result, device, `cannot have an MTU of ${mtu}`, 'TAP_INVALID');
  }
  if (bridge !== undefined) join(device, bridge);
  must(mayChange(setUp(device), device, 'cannot be switched on', 'up'), device, 'cannot be switched on');
}

function join(device: string, bridge: string): void {
  const result = mayChange(
    addToBridge(device, bridge),
    device,
    `cannot be put into bridge ${bridge}`,
    `master ${bridge}`,
  );
  if (result === -Errno.ENODEV || result === -Errno.EOPNOTSUPP) {
    const what = result === -Errno.ENODEV ? `there is no bridge ${bridge}` : `${bridge} is no bridge`;
    const remedy = `Make it (\`ip link add ${bridge} type bridge\`), or name another.`;
    throw new SidecoreError('BRIDGE_MISSING', `${device}: ${what}`, remedy);
  }
  if (result === -Errno.EBUSY) {
    const other = bridgeOf(device) ?? 'another one';
    const remedy = `Take it out (\`ip link set ${device} nomaster\`), or leave \`bridge\` out.`;
    throw new SidecoreError('TAP_INVALID', `${device} cannot be put into ${bridge}: it is in ${other}`, remedy);
  }
  must(result, device, `cannot be put into bridge ${bridge}`, 'TAP_INVALID');
}

/** Throws if a device that is there may not be changed; `change` is what root would tell `ip link set`. Returns the result. */
function mayChange(result: number, device: string, what: string, change: string): number {
  if (result === -Errno.EPERM || result === -Errno.EACCES)
    throw new SidecoreError('TAP_PERMISSION', `${device} ${what}: not permitted`, rootsRemedy(device, change));
  return result;
}

/** What to do about a device that is there and has to be changed. */
export const rootsRemedy = (device: string, change: string): string => `As root: \`ip link set ${device} ${change}\`.`;

/** Throws for an error number. */
function must(result: number, device: string, what: string, code: ErrorCode = 'SYSTEM_CALL_FAILED'): void {
  if (result < 0) throw refusal(result, device, what, code);
}

function refusal(result: number, device: string, what: string, code: ErrorCode = 'SYSTEM_CALL_FAILED'): SidecoreError {
  if (result === -Errno.EPERM || result === -Errno.EACCES) return permission(`${device} ${what}: not permitted`);
  return new SidecoreError(code, `${device} ${what}: ${errorText(-result)}`, '', { cause: -result });
}

const permission = (what: string) =>
  new SidecoreError(
    'TAP_PERMISSION',
    what,
    'Run as root or with CAP_NET_ADMIN, or have root make the device: docs/tap.md says how.',
  );

const busy = (device: string) =>
  new SidecoreError('TAP_BUSY', `${device} is used by another program`, 'Stop that, or choose another device.');
