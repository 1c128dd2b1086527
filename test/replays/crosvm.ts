/**
 * crosvm, `--vhost-user type=block,socket=…`.
 *
 * Read: google/crosvm f1e797a68dad, devices/src/virtio/vhost_user_frontend/{mod,worker,handler}.rs,
 * third_party/vmm_vhost/src/{backend_client,connection,message}.rs, devices/src/virtio/{mod,device_constants,queue}.rs,
 * vm_memory/src/guest_memory, x86_64/src/lib.rs.
 *
 * Peculiar to it:
 * - Each access of the guest to configuration space is a GET_CONFIG of its own, of 1, 2, 4 or 8 bytes at whatever offset,
 *   with flags 1; an answer of other size or offset is an error, and one of size 0 too. SET_CONFIG has flags 0.
 * - SET_FEATURES is sent only when what was acknowledged has grown since the last time: not again after a reset. Bits that a
 *   first driver took stay with the second.
 * - It negotiates REPLY_ACK for the back-end channel and never sets need_reply itself.
 * - It passes on VERSION_1, EVENT_IDX, a SUSPEND bit (42), and bits 0 to 23 and 50 to 63: no INDIRECT_DESC.
 * - The guest gets as many queues as GET_QUEUE_NUM says, of 32768 entries unless `max-queue-size` says less.
 * - Ring by ring: NUM, ADDR, BASE, CALL, KICK, ENABLE. Without MSI-X, all rings get one and the same call eventfd.
 * - The table comes at each start. Regions follow each other without gaps below 1 MiB.
 * - A reset, or a suspend of the VM, disables and stops ring by ring; a wake-up is a start with the bases returned.
 * - When the back end closes the connection, the whole VM ends: nothing is tried again.
 */

import { features, LINUX_DRIVER, protocolFeatures } from './features.js';
import {
  ask,
  type Base,
  type FdSource,
  indices,
  memoryFds,
  type Region,
  type Replay,
  type Step,
  tell,
} from './replay.js';

const QUEUES = 2;
const QUEUE_SIZE = 32768;

/** 4 GiB: up to 640 KiB, the reserved rest of the first MiB, up to 3328 MiB, and above 4 GiB. One memfd, one after the other. */
const REGIONS: readonly Region[] = [
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

/** Offset and size of each access to configuration space while Linux's virtio_blk driver starts up. */
const LINUX_CONFIG_READS: readonly (readonly [offset: number, size: number])[] = [
  [12, 4], // seg_max
  [34, 2], // num_queues
  [8, 4], // size_max
  [20, 4], // blk_size
  [24, 1], // physical_block_exp
  [25, 1], // alignment_offset
  [26, 2], // min_io_size
  [28, 4], // opt_io_size
  [44, 4], // discard_sector_alignment
  [36, 4], // max_discard_sectors
  [40, 4], // max_discard_seg
  [48, 4], // max_write_zeroes_sectors
  [0, 4], // capacity, low half
  [4, 4], // capacity, high half
];

/** Read once the driver is up: the cache mode. */
const CACHE_MODE = { offset: 32, size: 1, flags: 1 } as const;

function readConfig(): Step[] {
  return LINUX_CONFIG_READS.map(([offset, size]) => ask('GET_CONFIG', { payload: { offset, size, flags: 1 } }));
}

function start(base: Base, call: FdSource): Step[] {
  return [
    tell('SET_MEM_TABLE', { payload: { regions: REGIONS }, fds: memoryFds(REGIONS) }),
    ...indices(QUEUES).flatMap((index) => [
      tell('SET_VRING_NUM', { payload: { index, num: QUEUE_SIZE } }),
      tell('SET_VRING_ADDR', { payload: { index, flags: 0, ring: 'queue' } }),
      tell('SET_VRING_BASE', { payload: { index, base } }),
      tell('SET_VRING_CALL', { payload: { index }, fds: [call] }),
      tell('SET_VRING_KICK', { payload: { index }, fds: ['kick'] }),
      tell('SET_VRING_ENABLE', { payload: { index, num: 1 } }),
    ]),
  ];
}

function stop(): Step[] {
  return indices(QUEUES).flatMap((index) => [
    tell('SET_VRING_ENABLE', { payload: { index, num: 0 } }),
    ask('GET_VRING_BASE', { payload: { index, base: 0 } }),
  ]);
}

const STEPS: readonly Step[] = [
  tell('SET_OWNER'),
  ask('GET_FEATURES'),
  ask('GET_PROTOCOL_FEATURES'),
  tell('SET_PROTOCOL_FEATURES', { payload: { protocolFeatures: 'acked' } }),
  tell('SET_BACKEND_REQ_FD', { fds: ['backend-channel'], when: { with: ['BACKEND_REQ'] } }),
  ask('GET_QUEUE_NUM', { when: { with: ['MQ'] } }),
  ask('GET_SHMEM_CONFIG', { when: { with: ['SHMEM'] } }),

  // The guest's driver starts up.
  ...readConfig(),
  tell('SET_FEATURES', { payload: { features: 'acked' } }),
  ...start(0, 'call'),
  ask('GET_CONFIG', { payload: CACHE_MODE }),
  { driver: 'write-and-read' },

  // Its user sets the cache mode, and asks for it.
  tell('SET_CONFIG', { payload: { offset: 32, size: 1, flags: 0, data: [0] }, when: { offered: 'CONFIG_WCE' } }),
  ask('GET_CONFIG', { payload: CACHE_MODE }),
  { driver: 'write-and-read' },

  // The VM sleeps and wakes up.
  ...stop(),
  ...start('returned', 'call'),
  { driver: 'write-and-read' },

  // Another driver takes over, without MSI-X; it acknowledges nothing new, so nothing is said of features.
  { driver: 'reset' },
  ...stop(),
  ...readConfig(),
  ...start(0, 'call-shared'),
  { driver: 'write-and-read' },
  { disconnect: true },
];

const DEVICE_FEATURES =
  features('VERSION_1', 'EVENT_IDX', 'SUSPEND', 'PROTOCOL_FEATURES') | ((1n << 24n) - 1n) | (((1n << 14n) - 1n) << 50n);

export const crosvm: Replay = {
  name: 'crosvm',
  source:
    'google/crosvm f1e797a68dad devices/src/virtio/vhost_user_frontend/mod.rs, third_party/vmm_vhost/src/backend_client.rs',
  ackFeatures: (offered) => offered & DEVICE_FEATURES & (LINUX_DRIVER | features('PROTOCOL_FEATURES')),
  ackProtocolFeatures: (offered) =>
    offered & protocolFeatures('CONFIG', 'MQ', 'BACKEND_REQ', 'DEVICE_STATE', 'SHMEM', 'REPLY_ACK'),
  memory: 'sealed',
  device: { kind: 'disk' },
  queues: QUEUES,
  queueSize: QUEUE_SIZE,
  steps: STEPS,
};

export const replays: readonly Replay[] = [crosvm];
