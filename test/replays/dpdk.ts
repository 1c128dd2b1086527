/**
 * DPDK virtio-user, `--vdev net_virtio_user0,path=…,queues=1`: a network front end. Its order is also applied to a disk of two queues.
 *
 * Read: DPDK/dpdk v26.07-4-g38f72e500b and v22.11.11, drivers/net/virtio/virtio_user/{vhost_user,virtio_user_dev}.c,
 * drivers/net/virtio/{virtio_user_ethdev,virtio_ethdev,virtio}.c, lib/eal/linux/eal_memory.c. The order of 22.11.11 was also
 * watched with dpdk-testpmd: as client and as server, with one and two queue pairs, and while its memory grew.
 *
 * Peculiar to it:
 * - A guest physical address is the same number as the user address.
 * - CALL for all rings comes before SET_FEATURES, and before memory.
 * - need_reply only on SET_MEM_TABLE and SET_STATUS. It acknowledges MQ but never sends GET_QUEUE_NUM.
 * - Status goes 0xb, 0xf; SET_STATUS 0 is never sent. GET_STATUS must show what was set, at once: FEATURES_OK decides.
 * - BASE is always 0 (with packed rings 0x8000). GET_VRING_BASE carries stack garbage as its number.
 * - Rings are enabled and disabled in pairs. Only the first pair is enabled at start, the others by a command of the control
 *   queue, which it answers itself: then all pairs are enabled or disabled, without being set up again.
 * - 22.11 sets up all rings that receive before those that send: 0, 2, 1, 3. Newer versions go by number.
 * - When its memory grows, the whole table comes anew between ENABLE 0 and ENABLE 1, with nothing else said of the rings. At
 *   most 8 regions, one per file: with 2 MiB pages, that is one per page; buffers can cross from one to the next. When there
 *   would be more, the table is left out and ENABLE 0 and 1 come all the same.
 * - A message without descriptors still carries an empty SCM_RIGHTS header.
 * - It reads header and payload of a reply with one recv each and takes no less than all of it: a reply goes out in one write.
 * - As server, after the back end has come back, the first messages of the new connection are ENABLE 0 and GET_VRING_BASE,
 *   for rings that the back end has never heard of; SET_OWNER does not come again. Rings are not emptied, yet BASE is 0:
 *   DPDK's own back end goes on from the used index instead (lib/vhost/vhost_user.c).
 */

import { cardFeatures, features, protocolFeatures } from './features.js';
import { acknowledged, ask, indices, memoryFds, type Region, type Replay, type Step, tell } from './replay.js';

const QUEUE_SIZE = 256;
/** Of the disk, and of the card. */
const QUEUES = 2;
const PAIRS = 2;

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

function enablePair(pair: number, num: 0 | 1): Step[] {
  return [2 * pair, 2 * pair + 1].map((index) => tell('SET_VRING_ENABLE', { payload: { index, num } }));
}

/** The first so many pairs. */
function enablePairs(pairs: number, num: 0 | 1): Step[] {
  return indices(pairs).flatMap((pair) => enablePair(pair, num));
}

/** @param rings - in the order in which they are set up */
function start(regions: readonly Region[], statusReads: number, rings: readonly number[]): Step[] {
  return [
    ...rings.map((index) => tell('SET_VRING_CALL', { payload: { index }, fds: ['call'] })),
    tell('SET_FEATURES', { payload: { features: 'acked' } }),
    acknowledged('SET_STATUS', { payload: { status: 0xb }, when: STATUS }),
    ...indices(statusReads).map(() => ask('GET_STATUS', { when: STATUS })),
    shareMemory(regions),
    ...rings.flatMap((index) => [
      tell('SET_VRING_NUM', { payload: { index, num: QUEUE_SIZE } }),
      tell('SET_VRING_BASE', { payload: { index, base: 0 } }),
      tell('SET_VRING_ADDR', { payload: { index, flags: 0, ring: 'queue' } }),
      tell('SET_VRING_KICK', { payload: { index }, fds: ['kick'] }),
    ]),
    ...enablePair(0, 1),
    acknowledged('SET_STATUS', { payload: { status: 0xf }, when: STATUS }),
  ];
}

function stop(pairs: number): Step[] {
  return [
    ...enablePairs(pairs, 0),
    ...indices(2 * pairs).map((index) => ask('GET_VRING_BASE', { payload: { index, base: index === 0 ? 21893 : 0 } })),
  ];
}

function diskLife(regions: readonly Region[], grown: readonly Region[]): Step[] {
  const rings = indices(QUEUES);
  return [
    tell('SET_OWNER'),
    ...negotiate(),
    ...start(regions, 2, rings),
    { driver: 'write-and-read' },
    ...(grown === regions
      ? []
      : [...enablePair(0, 0), shareMemory(grown), ...enablePair(0, 1), { driver: 'write-and-read' } as const]),

    // The application configures the port anew.
    { driver: 'reset' },
    ...stop(1),
    ...start(grown, 2, rings),
    { driver: 'write-and-read' },
    ...stop(1),
    { disconnect: true },
  ];
}

function diskServerLife(): Step[] {
  const rings = indices(QUEUES);
  return [
    tell('SET_OWNER'),
    ...negotiate(),
    ...start(NO_HUGE, 2, rings),
    { driver: 'write-and-read' },
    { disconnect: true },
    ...stop(1),
    ...negotiate(),
    ...start(NO_HUGE, 1, rings),
    { driver: 'write-and-read' },
    ...stop(1),
    { disconnect: true },
  ];
}

/** Memory grows under a port that frames go through, when so many queue pairs are in use. */
function grow(regions: readonly Region[], pairs: number): Step[] {
  return [
    { driver: 'set-out' },
    ...enablePairs(pairs, 0),
    shareMemory(regions),
    ...enablePairs(pairs, 1),
    { driver: 'exchange' },
  ];
}

/** @param grown - memory as it becomes, step by step; nothing if it does not grow */
function cardLife(regions: readonly Region[], grown: readonly (readonly Region[])[], rings: readonly number[]): Step[] {
  const last = grown.at(-1) ?? regions;
  return [
    tell('SET_OWNER'),
    ...negotiate(),
    ...start(regions, 2, rings),
    { driver: 'exchange' },
    ...grown.flatMap((table) => grow(table, 1)),

    // The application uses the other pair, and has buffers allocated for it.
    ...enablePairs(PAIRS, 1),
    { driver: 'use-pairs', pairs: PAIRS },
    { driver: 'exchange' },
    ...(grown.length === 0 ? [] : grow(last, PAIRS)),

    // More regions than a table has room for: this version says nothing of them.
    { driver: 'set-out' },
    ...enablePairs(PAIRS, 0),
    ...enablePairs(PAIRS, 1),
    { driver: 'exchange' },

    // Only the first again.
    ...enablePair(0, 1),
    ...enablePair(1, 0),
    { driver: 'use-pairs', pairs: 1 },
    { driver: 'exchange' },

    // The application configures the port anew.
    { driver: 'reset' },
    ...stop(PAIRS),
    ...start(last, 2, rings),
    { driver: 'exchange' },
    ...stop(PAIRS),
    { disconnect: true },
  ];
}

function cardServerLife(): Step[] {
  const rings = indices(2);
  return [
    tell('SET_OWNER'),
    ...negotiate(),
    ...start(NO_HUGE, 2, rings),
    { driver: 'exchange' },
    { driver: 'set-out' },
    { disconnect: true },
    ...stop(1),
    ...negotiate(),
    ...start(NO_HUGE, 1, rings),
    { driver: 'exchange' },
    ...stop(1),
    { disconnect: true },
  ];
}

const common = {
  ackProtocolFeatures: (offered: bigint) => offered & protocolFeatures('MQ', 'REPLY_ACK', 'STATUS'),
  memory: 'refused',
  queueSize: QUEUE_SIZE,
} as const;

const disk = {
  ...common,
  ackFeatures: (offered: bigint) =>
    offered & features('VERSION_1', 'INDIRECT_DESC', 'IN_ORDER', 'ORDER_PLATFORM', 'PROTOCOL_FEATURES'),
  device: { kind: 'disk' },
  queues: QUEUES,
} as const;

function card(pairs: number) {
  return {
    ...common,
    // dpdk-testpmd asks for no offloads; address, status and control queue are not passed on.
    ackFeatures: (offered: bigint) =>
      offered &
      cardFeatures(
        ...(['MRG_RXBUF', 'CTRL_RX', 'CTRL_VLAN', 'MQ', 'CTRL_MAC_ADDR'] as const),
        ...(['VERSION_1', 'INDIRECT_DESC', 'IN_ORDER', 'ORDER_PLATFORM', 'PROTOCOL_FEATURES'] as const),
      ),
    device: { kind: 'card', queuePairs: pairs, pairsInUse: 1 },
    queues: 2 * pairs + 1,
  } as const;
}

const SOURCE = 'DPDK/dpdk v26.07-4-g38f72e500b drivers/net/virtio/virtio_user/vhost_user.c, virtio_user_dev.c';
const WATCHED = 'DPDK/dpdk v22.11.11 drivers/net/virtio/virtio_user/vhost_user.c, virtio_user_dev.c; watched';

export const replays: readonly Replay[] = [
  { ...disk, name: 'DPDK virtio-user without huge pages', source: SOURCE, steps: diskLife(NO_HUGE, NO_HUGE) },
  {
    ...disk,
    name: 'DPDK virtio-user with growing memory',
    source: SOURCE,
    steps: diskLife(hugePages(5), hugePages(8)),
  },
  {
    ...disk,
    name: 'DPDK virtio-user as server, after the back end has come back',
    source: SOURCE,
    steps: diskServerLife(),
  },
  {
    ...card(PAIRS),
    name: 'DPDK 22.11 virtio-user, a card without huge pages',
    source: WATCHED,
    steps: cardLife(NO_HUGE, [], [0, 2, 1, 3]),
  },
  {
    ...card(PAIRS),
    name: 'DPDK 22.11 virtio-user, a card with growing memory',
    source: WATCHED,
    steps: cardLife(hugePages(1), [hugePages(4), hugePages(7)], [0, 2, 1, 3]),
  },
  {
    ...card(PAIRS),
    name: 'DPDK virtio-user, a card with growing memory',
    source: SOURCE,
    steps: cardLife(hugePages(1), [hugePages(4), hugePages(8)], indices(2 * PAIRS)),
  },
  {
    ...card(1),
    name: 'DPDK virtio-user, a card as server, after the back end has come back',
    source: `${SOURCE}; watched on 22.11.11 without frames`,
    steps: cardServerLife(),
  },
];
