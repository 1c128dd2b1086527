/** What crosvm's conversations have in common, whatever the device. */

import { protocolFeatures } from './features.js';
import { ask, type Base, type FdSource, indices, memoryFds, type Region, type Step, tell } from './replay.js';

/** Unless `max-queue-size` says less. */
export const QUEUE_SIZE = 32768;

/** 4 GiB: up to 640 KiB, the reserved rest of the first MiB, up to 3328 MiB, and above 4 GiB. One memfd, one after the other. */
export const REGIONS: readonly Region[] = [
  { guestAddress: 0x0, size: 0xa0000, userAddress: 0x7f94_f7f6_0000, mmapOffset: 0x0, file: 'crosvm_guest' },
  { guestAddress: 0xa0000, size: 0x60000, userAddress: 0x7f94_f7f0_0000, mmapOffset: 0xa0000, file: 'crosvm_guest' },
  {
    guestAddress: 0x10_0000,
    size: 0xcff0_0000,
    userAddress: 0x7f94_2800_0000,
    mmapOffset: 0x10_0000,
    file: 'crosvm_guest',
  },
  {
    guestAddress: 0x1_0000_0000,
    size: 0x3000_0000,
    userAddress: 0x7f93_f800_0000,
    mmapOffset: 0xd000_0000,
    file: 'crosvm_guest',
  },
];

export function connect(): Step[] {
  return [
    tell('SET_OWNER'),
    ask('GET_FEATURES'),
    ask('GET_PROTOCOL_FEATURES'),
    tell('SET_PROTOCOL_FEATURES', { payload: { protocolFeatures: 'acked' } }),
    tell('SET_BACKEND_REQ_FD', { fds: ['backend-channel'], when: { with: ['BACKEND_REQ'] } }),
    ask('GET_QUEUE_NUM', { when: { with: ['MQ'] } }),
    ask('GET_SHMEM_CONFIG', { when: { with: ['SHMEM'] } }),
  ];
}

/** An access to configuration space: offset and size. */
export type Access = readonly [offset: number, size: number];

export function readConfig(accesses: readonly Access[]): Step[] {
  return accesses.map(([offset, size]) => ask('GET_CONFIG', { payload: { offset, size, flags: 1 } }));
}

/** @param calls - by ring, what the guest hears it by */
export function start(base: Base, calls: readonly FdSource[]): Step[] {
  return [
    tell('SET_MEM_TABLE', { payload: { regions: REGIONS }, fds: memoryFds(REGIONS) }),
    ...calls.flatMap((call, index) => [
      tell('SET_VRING_NUM', { payload: { index, num: QUEUE_SIZE } }),
      tell('SET_VRING_ADDR', { payload: { index, flags: 0, ring: 'queue' } }),
      tell('SET_VRING_BASE', { payload: { index, base } }),
      tell('SET_VRING_CALL', { payload: { index }, fds: [call] }),
      tell('SET_VRING_KICK', { payload: { index }, fds: ['kick'] }),
      tell('SET_VRING_ENABLE', { payload: { index, num: 1 } }),
    ]),
  ];
}

export function stop(queues: number): Step[] {
  return indices(queues).flatMap((index) => [
    tell('SET_VRING_ENABLE', { payload: { index, num: 0 } }),
    ask('GET_VRING_BASE', { payload: { index, base: 0 } }),
  ]);
}

/** Bits that belong to a kind of device. */
export const DEVICE_TYPE_FEATURES = ((1n << 24n) - 1n) | (((1n << 14n) - 1n) << 50n);

const PROTOCOL = protocolFeatures('CONFIG', 'MQ', 'BACKEND_REQ', 'DEVICE_STATE', 'SHMEM', 'REPLY_ACK');

export const ackProtocolFeatures = (offered: bigint) => offered & PROTOCOL;

export const SOURCE =
  'google/crosvm f1e797a68dad devices/src/virtio/vhost_user_frontend/mod.rs, third_party/vmm_vhost/src/backend_client.rs';
