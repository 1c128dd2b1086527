/**
 * SPDK's virtio initiator, `bdev_virtio_attach_controller --trtype user --dev-type blk --vq-count 2`.
 *
 * Read: spdk/spdk v26.09-pre-166-g3230130e6a, lib/virtio/virtio_vhost_user.c, lib/virtio/virtio.c,
 * module/bdev/virtio/{bdev_virtio_blk,bdev_virtio_rpc}.c, include/spdk_internal/vhost_user.h, lib/env_dpdk/memory.c.
 *
 * Peculiar to it:
 * - SET_FEATURES comes before the protocol features are even asked for.
 * - SET_VRING_ENABLE 1 is the first message about a ring: before CALL, memory, NUM and KICK. There is no ENABLE 0.
 * - GET_QUEUE_NUM is sent whether or not MQ was negotiated.
 * - Each field of the configuration space that it wants is a GET_CONFIG of 256 bytes from offset 0; the answer must have
 *   256 bytes as well, padded behind the last field. SET_CONFIG, too, always has 268 bytes of payload.
 * - It acknowledges MQ and CONFIG, and no other protocol feature: no need_reply. Where it has to know that its memory is
 *   mapped, it sends GET_FEATURES and waits.
 * - The same whole table comes once per piece of memory that SPDK has registered, at start, and again after the rings are
 *   stopped. A guest physical address is the same number as the user address; offsets are 0; files are opened for each table.
 * - BASE is always 0, GET_VRING_BASE's answer is not used, and the rings are polled: NO_INTERRUPT, or a used event that is
 *   never reached.
 * - It reads header and payload of a reply with one recv each and takes no less than all of it: a reply goes out in one write.
 * - It does not connect again: the device is lost until it is attached anew.
 */

import { features, protocolFeatures } from './features.js';
import { ask, indices, memoryFds, type Region, type Replay, type Step, tell } from './replay.js';

const QUEUES = 2;
const QUEUE_SIZE = 512;

/** Huge pages of one node in one file, and as many pieces as SPDK has registered of them. */
const REGIONS: readonly Region[] = [
  {
    guestAddress: 0x2000_0020_0000,
    size: 0x2000_0000,
    userAddress: 0x2000_0020_0000,
    mmapOffset: 0x0,
    file: 'spdk_pid4711map_0',
  },
];
const REGISTERED_PIECES = 2;

/** blk_size, capacity, num_queues, size_max, seg_max: the whole space for each. */
const CONFIG_READS = 5;

function shareMemory(): Step[] {
  return indices(REGISTERED_PIECES).flatMap(() => [
    tell('SET_MEM_TABLE', { payload: { regions: REGIONS }, fds: memoryFds(REGIONS) }),
    ask('GET_FEATURES', { note: 'in the place of an acknowledgement' }),
  ]);
}

const STEPS: readonly Step[] = [
  tell('SET_OWNER'),
  ask('GET_FEATURES'),
  tell('SET_FEATURES', { payload: { features: 'acked' } }),
  ask('GET_PROTOCOL_FEATURES'),
  tell('SET_PROTOCOL_FEATURES', { payload: { protocolFeatures: 'acked' } }),
  ...indices(CONFIG_READS).map(() => ask('GET_CONFIG', { payload: { offset: 0, size: 256, flags: 0 } })),
  ...indices(QUEUES).map((index) => tell('SET_VRING_ENABLE', { payload: { index, num: 1 } })),
  ask('GET_QUEUE_NUM'),
  ...indices(QUEUES).map((index) => tell('SET_VRING_CALL', { payload: { index }, fds: ['call'] })),
  ...shareMemory(),
  ...indices(QUEUES).flatMap((index) => [
    tell('SET_VRING_NUM', { payload: { index, num: QUEUE_SIZE } }),
    tell('SET_VRING_BASE', { payload: { index, base: 0 } }),
    tell('SET_VRING_ADDR', { payload: { index, flags: 0, ring: 'queue' } }),
    tell('SET_VRING_KICK', { payload: { index }, fds: ['kick'] }),
  ]),
  { driver: 'write-and-read' },

  // The device is detached.
  ...indices(QUEUES).map((index) => ask('GET_VRING_BASE', { payload: { index, base: 0 } })),
  ...shareMemory(),
  { disconnect: true },
];

const DEVICE_FEATURES = features(
  'SIZE_MAX',
  'SEG_MAX',
  'BLK_SIZE',
  'TOPOLOGY',
  'MQ',
  'RO',
  'DISCARD',
  'FLUSH',
  'EVENT_IDX',
  'VERSION_1',
  'PROTOCOL_FEATURES',
);

export const spdk: Replay = {
  name: 'SPDK virtio initiator',
  source: 'spdk/spdk v26.09-pre-166-g3230130e6a lib/virtio/virtio_vhost_user.c, module/bdev/virtio/bdev_virtio_blk.c',
  ackFeatures: (offered) => offered & DEVICE_FEATURES,
  ackProtocolFeatures: (offered) => offered & protocolFeatures('MQ', 'CONFIG'),
  memory: 'refused',
  device: { kind: 'disk' },
  queues: QUEUES,
  queueSize: QUEUE_SIZE,
  steps: STEPS,
};

export const replays: readonly Replay[] = [spdk];
