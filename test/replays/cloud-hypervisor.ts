/**
 * Cloud Hypervisor, `--disk vhost_user=on,socket=…,num_queues=2 --memory size=4G,shared=on`.
 *
 * Read: cloud-hypervisor/cloud-hypervisor v53.0-246-gae44c2971, virtio-devices/src/vhost_user/{blk,mod,vu_common_ctrl}.rs,
 * vmm/src/{lib,memory_manager}.rs, arch/src/x86_64/mod.rs; its messages come from rust-vmm/vhost,
 * vhost/src/vhost_user/frontend.rs (it uses 0.17.0).
 *
 * Peculiar to it:
 * - Once REPLY_ACK is negotiated, need_reply stands on every message, also on those with a reply of their own: these still
 *   get one reply, not two. SET_PROTOCOL_FEATURES is the last without it.
 * - NUM for all rings first, then the in-flight area, then ADDR, BASE, CALL and KICK ring by ring, then ENABLE for all.
 * - BASE is the available index in guest memory at this moment, also at the first start and after a lost connection. With
 *   IN_ORDER and without in-flight area it is the used index after a lost connection, and it kicks the ring itself.
 * - Only rings that the driver has made ready are mentioned at all.
 * - It sends a table at each start even with CONFIGURE_MEM_SLOTS, and ADD_MEM_REG only when memory is plugged in. It never
 *   asks for the number of slots and never removes a region.
 * - It reads 60 bytes of configuration space, once, with flags 1; the answer must repeat offset and size. It hears of no
 *   changes: it acknowledges no back-end channel.
 * - A reset disables and stops ring by ring. A pause disables all rings, a resume enables them; nothing else is said, and
 *   nobody kicks.
 * - A reboot of the guest is a new VM: the socket closes without a word and a new connection brings new memory.
 * - After a lost connection it tries each 100 ms for 60 s. Then SET_OWNER, GET_FEATURES and SET_PROTOCOL_FEATURES with what
 *   it acknowledged before: it does not ask for protocol features again.
 * - The answer to SET_LOG_BASE has to have the 16 bytes of the request, not 8.
 */

import { features, LINUX_DRIVER, protocolFeatures } from './features.js';
import {
  acknowledged,
  ask,
  type Base,
  indices,
  memoryFds,
  type Region,
  type Replay,
  type SendStep,
  type Step,
  tell,
} from './replay.js';

const QUEUES = 2;
const QUEUE_SIZE = 128;

/** 4 GiB: below 3 GiB and above 4 GiB, each in a memfd of its own. */
const REGIONS: readonly Region[] = [
  { guestAddress: 0x0, size: 0xc000_0000, userAddress: 0x7f1a_4000_0000, mmapOffset: 0x0, file: 'ch_ram 0' },
  { guestAddress: 0x1_0000_0000, size: 0x4000_0000, userAddress: 0x7f19_fbe0_0000, mmapOffset: 0x0, file: 'ch_ram 1' },
];

/** 128 MiB, plugged in while the guest runs. */
const HOTPLUGGED: Region = {
  guestAddress: 0x1_4000_0000,
  size: 0x800_0000,
  userAddress: 0x7f19_f3a0_0000,
  mmapOffset: 0x0,
  file: 'ch_ram 2',
};

const ALL_REGIONS: readonly Region[] = [...REGIONS, HOTPLUGGED];

/** The memory of the VM after a reboot. */
const REBOOTED: readonly Region[] = REGIONS.map((region) => ({ ...region, file: `${region.file} of the second boot` }));

const CONFIG_READ = { offset: 0, size: 60, flags: 1 } as const;
const INFLIGHT = { with: ['INFLIGHT_SHMFD'] } as const;
const MIGRATION = { with: ['LOG_SHMFD'], offered: 'LOG_ALL' } as const;

function connect(): Step[] {
  return [
    tell('SET_OWNER'),
    ask('GET_FEATURES'),
    ask('GET_PROTOCOL_FEATURES'),
    tell('SET_PROTOCOL_FEATURES', { payload: { protocolFeatures: 'acked' } }),
    ask('GET_QUEUE_NUM', { needReply: true, when: { with: ['MQ'] } }),
    ask('GET_CONFIG', { needReply: true, payload: CONFIG_READ }),
  ];
}

function connectAgain(): Step[] {
  return [
    tell('SET_OWNER'),
    ask('GET_FEATURES'),
    tell('SET_PROTOCOL_FEATURES', {
      payload: { protocolFeatures: 'acked' },
      note: 'without having asked on this connection',
    }),
  ];
}

function shareMemory(regions: readonly Region[]): SendStep {
  return acknowledged('SET_MEM_TABLE', { payload: { regions }, fds: memoryFds(regions) });
}

function start(regions: readonly Region[], base: Base, keepsInflight = false): Step[] {
  const inflight = { queues: QUEUES, queueSize: QUEUE_SIZE };
  return [
    acknowledged('SET_FEATURES', { payload: { features: 'acked' } }),
    shareMemory(regions),
    ...indices(QUEUES).map((index) => acknowledged('SET_VRING_NUM', { payload: { index, num: QUEUE_SIZE } })),
    ...(keepsInflight
      ? []
      : [ask('GET_INFLIGHT_FD', { needReply: true, payload: { ...inflight, area: 'none' }, when: INFLIGHT })]),
    acknowledged('SET_INFLIGHT_FD', { payload: { ...inflight, area: 'returned' }, fds: ['inflight'], when: INFLIGHT }),
    ...indices(QUEUES).flatMap((index) => [
      acknowledged('SET_VRING_ADDR', { payload: { index, flags: 0, ring: 'queue' } }),
      acknowledged('SET_VRING_BASE', { payload: { index, base } }),
      acknowledged('SET_VRING_CALL', { payload: { index }, fds: ['call'] }),
      acknowledged('SET_VRING_KICK', { payload: { index }, fds: ['kick'] }),
    ]),
    ...enableAll(1),
  ];
}

function enableAll(num: 0 | 1): Step[] {
  return indices(QUEUES).map((index) => acknowledged('SET_VRING_ENABLE', { payload: { index, num } }));
}

/** The driver resets the device: firmware that hands over, or a driver that is unloaded. */
function reset(): Step[] {
  return [
    { driver: 'reset' },
    ...indices(QUEUES).flatMap((index) => [
      acknowledged('SET_VRING_ENABLE', { payload: { index, num: 0 } }),
      ask('GET_VRING_BASE', { needReply: true, payload: { index, base: 0 } }),
    ]),
  ];
}

function shareLog(): Step {
  return ask('SET_LOG_BASE', {
    needReply: true,
    payload: { logSize: 0x29000, logOffset: 0 },
    fds: ['log'],
    when: MIGRATION,
  });
}

function setLogging(flags: 0 | 1): Step[] {
  return indices(QUEUES).map((index) =>
    acknowledged('SET_VRING_ADDR', { payload: { index, flags, ring: 'queue' }, when: MIGRATION }),
  );
}

const STEPS: readonly Step[] = [
  ...connect(),
  ...start(REGIONS, 'avail-index'),
  { driver: 'write-and-read' },

  acknowledged('ADD_MEM_REG', {
    payload: { region: HOTPLUGGED },
    fds: ['memory'],
    when: { with: ['CONFIGURE_MEM_SLOTS'] },
  }),
  { ...shareMemory(ALL_REGIONS), when: { without: ['CONFIGURE_MEM_SLOTS'] } },
  { driver: 'write-and-read' },

  acknowledged('SET_CONFIG', {
    payload: { offset: 32, size: 1, flags: 1, data: [0] },
    when: { offered: 'CONFIG_WCE' },
  }),

  // The VM is paused and goes on.
  ...enableAll(0),
  ...enableAll(1),
  { driver: 'write-and-read' },

  // Migration starts, fetches the log once, and is called off: all on live rings.
  shareLog(),
  acknowledged('SET_FEATURES', { payload: { features: 'acked', plus: features('LOG_ALL') }, when: MIGRATION }),
  ...setLogging(1),
  { driver: 'write-and-read' },
  shareLog(),
  ...setLogging(0),
  acknowledged('SET_FEATURES', { payload: { features: 'acked' }, when: MIGRATION }),
  { driver: 'write-and-read' },

  ...reset(),
  ...start(ALL_REGIONS, 'avail-index'),
  { driver: 'write-and-read' },

  // The back end goes away and comes back.
  { disconnect: true },
  ...connectAgain(),
  ...start(ALL_REGIONS, 'avail-index', true),
  { driver: 'write-and-read' },

  // The guest reboots: a new VM.
  { disconnect: true },
  { driver: 'reset' },
  ...connect(),
  ...start(REBOOTED, 'avail-index'),
  { driver: 'write-and-read' },
  { disconnect: true },
];

/** What it offers to the guest, of what the back end offers. It never passes on RING_PACKED. */
const DEVICE_FEATURES = features(
  'SIZE_MAX',
  'SEG_MAX',
  'GEOMETRY',
  'RO',
  'BLK_SIZE',
  'FLUSH',
  'TOPOLOGY',
  'CONFIG_WCE',
  'MQ',
  'DISCARD',
  'WRITE_ZEROES',
  'INDIRECT_DESC',
  'EVENT_IDX',
  'VERSION_1',
  'IN_ORDER',
  'ORDER_PLATFORM',
  'NOTIFICATION_DATA',
);

const PROTOCOL = protocolFeatures(
  'MQ',
  'LOG_SHMFD',
  'REPLY_ACK',
  'CONFIG',
  'INFLIGHT_SHMFD',
  'CONFIGURE_MEM_SLOTS',
  'DEVICE_STATE',
);

export const cloudHypervisor: Replay = {
  name: 'Cloud Hypervisor',
  source:
    'cloud-hypervisor/cloud-hypervisor v53.0-246-gae44c2971 virtio-devices/src/vhost_user; rust-vmm/vhost 4e217d9 vhost/src',
  ackFeatures: (offered) => offered & ((DEVICE_FEATURES & LINUX_DRIVER) | features('PROTOCOL_FEATURES')),
  ackProtocolFeatures: (offered) => offered & PROTOCOL,
  memory: 'refused',
  device: { kind: 'disk' },
  queues: QUEUES,
  queueSize: QUEUE_SIZE,
  steps: STEPS,
};

export const replays: readonly Replay[] = [cloudHypervisor];
