/** What QEMU's conversations have in common, whatever the device, and what differs from one version to the next. */

import { acknowledged, ask, type FdSource, type Region, type Step, tell } from './replay.js';

/** What differs from one version to the next. */
export interface Version {
  /** SET_VRING_KICK, _CALL and _ERR ask for an acknowledgement. */
  readonly waitsForRingFds: boolean;
  /** SET_VRING_ENABLE does, or is followed by a question. */
  readonly waitsForEnable: boolean;
  /** SET_STATUS 0 comes first of the messages that stop the device, not last. */
  readonly resetsStatusFirst: boolean;
  /** A reset of the device is told by RESET_DEVICE. */
  readonly resetsDevice: boolean;
  /** Of a card: each queue pair adds and removes memory for itself. */
  readonly sharesMemoryByPair: boolean;
}

export const V7_2: Version = {
  waitsForRingFds: false,
  waitsForEnable: false,
  resetsStatusFirst: true,
  resetsDevice: false,
  sharesMemoryByPair: true,
};
export const RECENT: Version = {
  waitsForRingFds: true,
  waitsForEnable: true,
  resetsStatusFirst: false,
  resetsDevice: true,
  sharesMemoryByPair: false,
};

/** q35 with 4 GiB: RAM below 2 GiB, less the hole for video memory and option ROMs, and above 4 GiB. One memfd. */
export const REGIONS: readonly Region[] = [
  { guestAddress: 0x0, size: 0xa0000, userAddress: 0x7fb5_0bff_f000, mmapOffset: 0x0, file: 'ram' },
  { guestAddress: 0xc0000, size: 0x7ff4_0000, userAddress: 0x7fb5_0c0b_f000, mmapOffset: 0xc0000, file: 'ram' },
  {
    guestAddress: 0x1_0000_0000,
    size: 0x8000_0000,
    userAddress: 0x7fb5_8bff_f000,
    mmapOffset: 0x8000_0000,
    file: 'ram',
  },
];

/** A pc-dimm of 128 MiB, plugged in while the guest runs. */
export const DIMM: Region = {
  guestAddress: 0x1_8000_0000,
  size: 0x800_0000,
  userAddress: 0x7fb4_fbff_e000,
  mmapOffset: 0x0,
  file: 'dimm',
  removable: true,
};

export const SLOTS = { with: ['CONFIGURE_MEM_SLOTS'] } as const;
export const TABLE = { without: ['CONFIGURE_MEM_SLOTS'] } as const;
export const STATUS = { with: ['STATUS'] } as const;

export function ringFd(
  version: Version,
  send: 'SET_VRING_KICK' | 'SET_VRING_CALL' | 'SET_VRING_ERR',
  index: number,
  fd: FdSource,
): Step {
  const rest = { payload: { index }, fds: [fd] };
  return version.waitsForRingFds ? acknowledged(send, rest) : tell(send, rest);
}

export function enable(version: Version, index: number, num: 0 | 1): Step[] {
  const payload = { index, num };
  if (!version.waitsForEnable) return [tell('SET_VRING_ENABLE', { payload })];
  return [acknowledged('SET_VRING_ENABLE', { payload }), ask('GET_FEATURES', { when: { without: ['REPLY_ACK'] } })];
}

export function resetDevice(version: Version): Step[] {
  return version.resetsDevice ? [tell('RESET_DEVICE', { when: { with: ['RESET_DEVICE'] } })] : [];
}

/** Everything below the highest protocol feature that this version has a number for. */
export const ackBelow = (bits: number) => (offered: bigint) => offered & ((1n << BigInt(bits)) - 1n);
