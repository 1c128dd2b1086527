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

import {
  ALL_REGIONS,
  ackProtocolFeatures,
  connect,
  connectAgain,
  pauseAndGoOn,
  plugMemory,
  REBOOTED,
  REGIONS,
  reset,
  SOURCE,
  start,
} from './cloud-hypervisor-messages.js';
import { features, LINUX_DRIVER } from './features.js';
import { acknowledged, ask, indices, type Replay, type Step } from './replay.js';

const SHAPE = { queues: 2, queueSize: 128 } as const;
const CONFIG_BYTES = 60;
const MIGRATION = { with: ['LOG_SHMFD'], offered: 'LOG_ALL' } as const;

function shareLog(): Step {
  return ask('SET_LOG_BASE', {
    needReply: true,
    payload: { logSize: 0x29000, logOffset: 0 },
    fds: ['log'],
    when: MIGRATION,
  });
}

function setLogging(flags: 0 | 1): Step[] {
  return indices(SHAPE.queues).map((index) =>
    acknowledged('SET_VRING_ADDR', { payload: { index, flags, ring: 'queue' }, when: MIGRATION }),
  );
}

const STEPS: readonly Step[] = [
  ...connect(CONFIG_BYTES),
  ...start(SHAPE, { regions: REGIONS, base: 'avail-index' }),
  { driver: 'write-and-read' },

  ...plugMemory(),
  { driver: 'write-and-read' },

  acknowledged('SET_CONFIG', {
    payload: { offset: 32, size: 1, flags: 1, data: [0] },
    when: { offered: 'CONFIG_WCE' },
  }),

  // The VM is paused and goes on.
  ...pauseAndGoOn(SHAPE),
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

  ...reset(SHAPE),
  ...start(SHAPE, { regions: ALL_REGIONS, base: 'avail-index' }),
  { driver: 'write-and-read' },

  // The back end goes away and comes back.
  { disconnect: true },
  ...connectAgain(),
  ...start(SHAPE, { regions: ALL_REGIONS, base: 'avail-index', keepsInflight: true }),
  { driver: 'write-and-read' },

  // The guest reboots: a new VM.
  { disconnect: true },
  { driver: 'reset' },
  ...connect(CONFIG_BYTES),
  ...start(SHAPE, { regions: REBOOTED, base: 'avail-index' }),
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

export const cloudHypervisor: Replay = {
  name: 'Cloud Hypervisor',
  source: SOURCE,
  ackFeatures: (offered) => offered & ((DEVICE_FEATURES & LINUX_DRIVER) | features('PROTOCOL_FEATURES')),
  ackProtocolFeatures,
  memory: 'refused',
  device: { kind: 'disk' },
  ...SHAPE,
  steps: STEPS,
};

export const replays: readonly Replay[] = [cloudHypervisor];
