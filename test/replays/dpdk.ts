/**
 * DPDK virtio-user, `--vdev net_virtio_user0,path=…`: a network front end; its order is applied here to queues 0 and 1.
 *
 * Read: DPDK/dpdk v26.07-4-g38f72e500b and v22.11.11, drivers/net/virtio/virtio_user/{vhost_user,virtio_user_dev}.c,
 * drivers/net/virtio/{virtio_user_ethdev,virtio_ethdev,virtio}.c, lib/eal/linux/eal_memory.c. The order of 22.11.11 was also
 * watched, as client and as server; that of a growing memory table was not.
 *
 * Peculiar to it:
 * - A guest physical address is the same number as the user address.
 * - CALL for all rings comes before SET_FEATURES, and before memory.
 * - need_reply only on SET_MEM_TABLE and SET_STATUS. It acknowledges MQ but never sends GET_QUEUE_NUM.
 * - Status goes 0xb, 0xf; SET_STATUS 0 is never sent. GET_STATUS must show what was set, at once: FEATURES_OK decides.
 * - BASE is always 0 (with packed rings 0x8000). GET_VRING_BASE carries stack garbage as its number.
 * - Rings are enabled and disabled in pairs. Only the first pair is enabled at start, the others by a control queue command.
 * - When its memory grows, the whole table comes anew between ENABLE 0 and ENABLE 1, with nothing else said of the rings. At
 *   most 8 regions, one per file: with 2 MiB pages, that is one per page; buffers can cross from one to the next.
 * - A message without descriptors still carries an empty SCM_RIGHTS header.
 * - It reads header and payload of a reply with one recv each and takes no less than all of it: a reply goes out in one write.
 * - As server, after the back end has come back, the first messages of the new connection are ENABLE 0 and GET_VRING_BASE,
 *   for rings that the back end has never heard of; SET_OWNER does not come again. Rings are not emptied, yet BASE is 0:
 *   DPDK's own back end goes on from the used index instead (lib/vhost/vhost_user.c).
 */

import {
  acknowledged,
  ask,
  features,
  indices,
  memoryFds,
  protocolFeatures,
  type Region,
  type Replay,
  type Step,
  tell,
} from './replay.js';

const QUEUES = 2;
const QUEUE_SIZE = 256;

/** `--no-huge -m 256`: one memfd, at an address that is a multiple of 4 KiB and no more. */
const NO_HUGE: readonly Region[] = [
  { guestAddress: 0x1_0033_8000, size: 0x1000_0000, userAddress: 0x1_0033_8000, mmapOffset: 0x0, file: 'nohuge' },
];

/** Pages of 2 MiB, each in its own file, one after the other. */
function hugePages(count: number): Region[] {
  return indices(count).map((index) => {
    const address = 0x1_0020_0000 + index * 0x20_0000;
    return { guestAddress: address, size: 0x20_0000, userAddress: address, mmapOffset: 0x0, file: `rtemap_${index}` };
  });
}

const STATUS = { with: ['STATUS'] } as const;

function negotiate(): Step[] {
  return [
    ask('GET_FEATURES'),
    ask('GET_PROTOCOL_FEATURES'),
    tell('SET_PROTOCOL_FEATURES', { payload: { protocolFeatures: 'acked' } }),
  ];
}

function shareMemory(regions: readonly Region[]): Step {
  return acknowledged('SET_MEM_TABLE', { payload: { regions }, fds: memoryFds(regions) });
}

function enablePair(num: 0 | 1): Step[] {
  return indices(QUEUES).map((index) => tell('SET_VRING_ENABLE', { payload: { index, num } }));
}

function start(regions: readonly Region[], statusReads: number): Step[] {
  return [
    ...indices(QUEUES).map((index) => tell('SET_VRING_CALL', { payload: { index }, fds: ['call'] })),
    tell('SET_FEATURES', { payload: { features: 'acked' } }),
    acknowledged('SET_STATUS', { payload: { status: 0xb }, when: STATUS }),
    ...indices(statusReads).map(() => ask('GET_STATUS', { when: STATUS })),
    shareMemory(regions),
    ...indices(QUEUES).flatMap((index) => [
      tell('SET_VRING_NUM', { payload: { index, num: QUEUE_SIZE } }),
      tell('SET_VRING_BASE', { payload: { index, base: 0 } }),
      tell('SET_VRING_ADDR', { payload: { index, flags: 0, ring: 'queue' } }),
      tell('SET_VRING_KICK', { payload: { index }, fds: ['kick'] }),
    ]),
    ...enablePair(1),
    acknowledged('SET_STATUS', { payload: { status: 0xf }, when: STATUS }),
  ];
}

function stop(): Step[] {
  return [
    ...enablePair(0),
    ...indices(QUEUES).map((index) => ask('GET_VRING_BASE', { payload: { index, base: index === 0 ? 21893 : 0 } })),
  ];
}

function life(regions: readonly Region[], grown: readonly Region[]): Step[] {
  return [
    tell('SET_OWNER'),
    ...negotiate(),
    ...start(regions, 2),
    { driver: 'write-and-read' },
    ...(grown === regions
      ? []
      : [...enablePair(0), shareMemory(grown), ...enablePair(1), { driver: 'write-and-read' } as const]),

    // The application configures the port anew.
    { driver: 'reset' },
    ...stop(),
    ...start(grown, 2),
    { driver: 'write-and-read' },
    ...stop(),
    { disconnect: true },
  ];
}

const SERVER_STEPS: readonly Step[] = [
  tell('SET_OWNER'),
  ...negotiate(),
  ...start(NO_HUGE, 2),
  { driver: 'write-and-read' },
  { disconnect: true },
  ...stop(),
  ...negotiate(),
  ...start(NO_HUGE, 1),
  { driver: 'write-and-read' },
  ...stop(),
  { disconnect: true },
];

const common = {
  ackFeatures: (offered: bigint) =>
    offered & features('VERSION_1', 'INDIRECT_DESC', 'IN_ORDER', 'ORDER_PLATFORM', 'PROTOCOL_FEATURES'),
  ackProtocolFeatures: (offered: bigint) => offered & protocolFeatures('MQ', 'REPLY_ACK', 'STATUS'),
  memory: 'refused',
  queues: QUEUES,
  queueSize: QUEUE_SIZE,
} as const;

const SOURCE = 'DPDK/dpdk v26.07-4-g38f72e500b drivers/net/virtio/virtio_user/vhost_user.c, virtio_user_dev.c';

export const dpdk: Replay = {
  name: 'DPDK virtio-user without huge pages',
  source: `${SOURCE}; watched on 22.11.11`,
  ...common,
  steps: life(NO_HUGE, NO_HUGE),
};

export const dpdkHugePages: Replay = {
  name: 'DPDK virtio-user with growing memory',
  source: SOURCE,
  ...common,
  steps: life(hugePages(5), hugePages(8)),
};

export const dpdkServer: Replay = {
  name: 'DPDK virtio-user as server, after the back end has come back',
  source: `${SOURCE}; watched on 22.11.11`,
  ...common,
  steps: SERVER_STEPS,
};

export const replays: readonly Replay[] = [dpdk, dpdkHugePages, dpdkServer];
