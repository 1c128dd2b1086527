/**
 * Firecracker, `PUT /drives/{id}` with `socket` and `"cache_type": "Writeback"`.
 *
 * Read: firecracker-microvm/firecracker v1.16.0-dev-617-g81b38b9da, src/vmm/src/devices/virtio/vhost_user.rs,
 * src/vmm/src/devices/virtio/block/vhost_user/{device,mod}.rs, src/vmm/src/vstate/memory.rs, src/vmm/src/arch/x86_64;
 * its messages come from rust-vmm/vhost, vhost/src/vhost_user/frontend.rs (it uses 0.17.0).
 *
 * Peculiar to it:
 * - It acknowledges CONFIG and no other protocol feature: no need_reply, no GET_QUEUE_NUM, always one queue of at most 256.
 * - Of the features it takes VERSION_1, EVENT_IDX, RO and, with a write-back cache, FLUSH: no INDIRECT_DESC, no DISCARD.
 * - All of ADDR, BASE, CALL, KICK and ENABLE follow the table and NUM; BASE is the available index in guest memory.
 * - It reads 60 bytes of configuration space with flags 1, at connection and at each empty `PATCH /drives/{id}`.
 * - It never stops a ring, refuses to reset the device, and watches neither the socket nor its own messages to it: when the
 *   back end is gone, requests stay unanswered for good. At the end of the VM the process ends, and with it the socket.
 */

import { features, protocolFeatures } from './features.js';
import { ask, memoryFds, type Region, type Replay, type Step, tell } from './replay.js';

const QUEUE_SIZE = 256;

/** 4 GiB: below 3 GiB and above 4 GiB, one behind the other in one memfd. */
const REGIONS: readonly Region[] = [
  { guestAddress: 0x0, size: 0xc000_0000, userAddress: 0x7f6e_8000_0000, mmapOffset: 0x0, file: 'guest_mem' },
  {
    guestAddress: 0x1_0000_0000,
    size: 0x4000_0000,
    userAddress: 0x7f6e_4000_0000,
    mmapOffset: 0xc000_0000,
    file: 'guest_mem',
  },
];

const CONFIG_READ = { offset: 0, size: 60, flags: 1 } as const;

const STEPS: readonly Step[] = [
  tell('SET_OWNER'),
  ask('GET_FEATURES'),
  ask('GET_PROTOCOL_FEATURES'),
  tell('SET_PROTOCOL_FEATURES', { payload: { protocolFeatures: 'acked' } }),
  ask('GET_CONFIG', { payload: CONFIG_READ }),

  // The driver is ready.
  tell('SET_FEATURES', { payload: { features: 'acked' } }),
  tell('SET_MEM_TABLE', { payload: { regions: REGIONS }, fds: memoryFds(REGIONS) }),
  tell('SET_VRING_NUM', { payload: { index: 0, num: QUEUE_SIZE } }),
  tell('SET_VRING_ADDR', { payload: { index: 0, flags: 0, ring: 'queue' } }),
  tell('SET_VRING_BASE', { payload: { index: 0, base: 'avail-index' } }),
  tell('SET_VRING_CALL', { payload: { index: 0 }, fds: ['call'] }),
  tell('SET_VRING_KICK', { payload: { index: 0 }, fds: ['kick'] }),
  tell('SET_VRING_ENABLE', { payload: { index: 0, num: 1 } }),
  { driver: 'write-and-read' },

  // PATCH /drives/{id}: the disk has a new size.
  ask('GET_CONFIG', { payload: CONFIG_READ }),
  { driver: 'write-and-read' },
  { disconnect: true },
];

export const firecracker: Replay = {
  name: 'Firecracker',
  source:
    'firecracker-microvm/firecracker v1.16.0-dev-617-g81b38b9da src/vmm/src/devices/virtio/vhost_user.rs, block/vhost_user/device.rs',
  ackFeatures: (offered) => offered & features('VERSION_1', 'EVENT_IDX', 'RO', 'FLUSH', 'PROTOCOL_FEATURES'),
  ackProtocolFeatures: (offered) => offered & protocolFeatures('CONFIG'),
  memory: 'sealed',
  device: { kind: 'disk' },
  queues: 1,
  queueSize: QUEUE_SIZE,
  steps: STEPS,
};

export const replays: readonly Replay[] = [firecracker];
