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

import {
  type Access,
  ackProtocolFeatures,
  connect,
  DEVICE_TYPE_FEATURES,
  QUEUE_SIZE,
  readConfig,
  SOURCE,
  start,
  stop,
} from './crosvm-messages.js';
import { features, LINUX_DRIVER } from './features.js';
import { ask, type Replay, type Step, tell } from './replay.js';

const QUEUES = 2;

/** Offset and size of each access to configuration space while Linux's virtio_blk driver starts up. */
const LINUX_CONFIG_READS: readonly Access[] = [
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

const STEPS: readonly Step[] = [
  ...connect(),

  // The guest's driver starts up.
  ...readConfig(LINUX_CONFIG_READS),
  tell('SET_FEATURES', { payload: { features: 'acked' } }),
  ...start(0, ['call', 'call']),
  ask('GET_CONFIG', { payload: CACHE_MODE }),
  { driver: 'write-and-read' },

  // Its user sets the cache mode, and asks for it.
  tell('SET_CONFIG', { payload: { offset: 32, size: 1, flags: 0, data: [0] }, when: { offered: 'CONFIG_WCE' } }),
  ask('GET_CONFIG', { payload: CACHE_MODE }),
  { driver: 'write-and-read' },

  // The VM sleeps and wakes up.
  ...stop(QUEUES),
  ...start('returned', ['call', 'call']),
  { driver: 'write-and-read' },

  // Another driver takes over, without MSI-X; it acknowledges nothing new, so nothing is said of features.
  { driver: 'reset' },
  ...stop(QUEUES),
  ...readConfig(LINUX_CONFIG_READS),
  ...start(0, ['call-shared', 'call-shared']),
  { driver: 'write-and-read' },
  { disconnect: true },
];

const DEVICE_FEATURES = features('VERSION_1', 'EVENT_IDX', 'SUSPEND', 'PROTOCOL_FEATURES') | DEVICE_TYPE_FEATURES;

export const crosvm: Replay = {
  name: 'crosvm',
  source: SOURCE,
  ackFeatures: (offered) => offered & DEVICE_FEATURES & (LINUX_DRIVER | features('PROTOCOL_FEATURES')),
  ackProtocolFeatures,
  memory: 'sealed',
  device: { kind: 'disk' },
  queues: QUEUES,
  queueSize: QUEUE_SIZE,
  steps: STEPS,
};

export const replays: readonly Replay[] = [crosvm];
