/**
 * QEMU, `-netdev vhost-user,queues=… -device virtio-net-pci,mq=on`.
 *
 * Read: qemu/qemu hw/net/vhost_net.c, hw/net/virtio-net.c, net/vhost-user.c, hw/virtio/vhost-user.c, hw/virtio/vhost.c, of 7.2.22 and
 * as in `qemu.ts`. The order of 7.2.22 was also watched, with a Linux 6.1 guest, with one queue pair and with two: start, MQ
 * command, announcement, pause, link, reboot and end. Memory hot-plug, a lost connection and later versions were only read.
 *
 * Peculiar to it, besides what `qemu.ts` says:
 * - Each queue pair is a device of its own on the same connection: GET_FEATURES, both kinds of protocol feature messages and
 *   GET_MAX_MEM_SLOTS come for each, SET_FEATURES at each start for each. SET_OWNER, GET_QUEUE_NUM, SET_MEM_TABLE, NET_SET_MTU
 *   and the channel come once. ADD_MEM_REG and REM_MEM_REG come for each pair in 7.2, and once from 8.1 on.
 * - It declines CONFIG: address and MTU are its own. So are STATUS, MAC and the control queue; MQ is acknowledged all the same.
 * - Its control queue tells the back end of the pairs in use by ENABLE, and repeats what has not changed. Before a start it
 *   enables only the pairs in use; all pairs are set up, in use or not. A stop does not disable anything.
 * - CALL is the last of a ring, after KICK. The status is set by the first pair (FEATURES_OK) and the last one.
 * - `host_mtu` is told at each start, with need_reply.
 * - A guest that cannot announce itself has QEMU send SEND_RARP, several times, without need_reply.
 * - `set_link` is a stop and a start, like a pause.
 */

import { cardFeatures, LINUX_NET_DRIVER } from './features.js';
import {
  ackBelow,
  DIMM,
  enable,
  RECENT,
  REGIONS,
  resetDevice,
  ringFd,
  SLOTS,
  STATUS,
  TABLE,
  V7_2,
  type Version,
} from './qemu-versions.js';
import {
  acknowledged,
  ask,
  type Base,
  indices,
  type Mac,
  memoryFds,
  type Region,
  type Replay,
  type Step,
  tell,
} from './replay.js';

const QUEUE_SIZE = 256;
const HOST_MTU = 9000;
const MAC: Mac = [0x52, 0x54, 0x00, 0x12, 0x34, 0x56];
/** What it takes of 7.2's list that Sidecore offers. hw/net/vhost_net.c, user_feature_bits */
const DEVICE_FEATURES = cardFeatures(
  'NOTIFY_ON_EMPTY',
  'INDIRECT_DESC',
  'EVENT_IDX',
  'ANY_LAYOUT',
  'VERSION_1',
  'CSUM',
  'GUEST_CSUM',
  'GSO',
  'GUEST_TSO4',
  'GUEST_TSO6',
  'GUEST_ECN',
  'GUEST_UFO',
  'HOST_TSO4',
  'HOST_TSO6',
  'HOST_ECN',
  'HOST_UFO',
  'MRG_RXBUF',
);

/** How the card is configured. */
interface Setup {
  readonly version: Version;
  readonly pairs: number;
  /** `host_mtu`, and a guest that announces itself; otherwise neither. */
  readonly modern: boolean;
}

const ringsOf = (pair: number) => [2 * pair, 2 * pair + 1];

/** The control queue's word: so many pairs are in use. */
function usePairs({ version, pairs }: Setup, inUse: number): Step[] {
  return indices(pairs).flatMap((pair) =>
    ringsOf(pair).flatMap((index) => enable(version, index, pair < inUse ? 1 : 0)),
  );
}

function connect({ version, pairs }: Setup): Step[] {
  return indices(pairs).flatMap((pair) => [
    ask('GET_FEATURES'),
    ask('GET_PROTOCOL_FEATURES'),
    tell('SET_PROTOCOL_FEATURES', { payload: { protocolFeatures: 'acked' } }),
    ...(pair === 0 ? [ask('GET_QUEUE_NUM', { when: { with: ['MQ'] } })] : []),
    ask('GET_MAX_MEM_SLOTS', { when: SLOTS }),
    ...(pair === 0
      ? [
          acknowledged('SET_BACKEND_REQ_FD', { fds: ['backend-channel'], when: { with: ['BACKEND_REQ'] } }),
          tell('SET_OWNER'),
        ]
      : []),
    ask('GET_FEATURES'),
    ...ringsOf(pair).flatMap((index) => [
      ringFd(version, 'SET_VRING_CALL', index, 'call-unheard'),
      ringFd(version, 'SET_VRING_ERR', index, 'err'),
    ]),
  ]);
}

/** Memory that this pair has to tell of. */
function addMemory({ version }: Setup, pair: number, regions: readonly Region[]): Step[] {
  if (pair > 0 && !version.sharesMemoryByPair) return [];
  return regions.map((region) => acknowledged('ADD_MEM_REG', { payload: { region }, fds: ['memory'], when: SLOTS }));
}

function removeMemory({ version }: Setup, pair: number, region: Region): Step[] {
  if (pair > 0 && !version.sharesMemoryByPair) return [];
  return [acknowledged('REM_MEM_REG', { payload: { region }, when: SLOTS })];
}

/** @param added - memory that the back end does not have yet of this connection */
function start(setup: Setup, inUse: number, base: Base, added: readonly Region[]): Step[] {
  const { version, pairs, modern } = setup;
  const mtu = acknowledged('NET_SET_MTU', { payload: { mtu: HOST_MTU }, when: { with: ['NET_MTU'] } });
  return [
    ...(modern ? [mtu] : []),
    ...indices(pairs).flatMap((pair) => [
      ...(pair < inUse ? ringsOf(pair).flatMap((index) => enable(version, index, 1)) : []),
      tell('SET_FEATURES', { payload: { features: 'acked' } }),
      ask('GET_STATUS', { when: STATUS }),
      ...(pair === 0 ? [tell('SET_STATUS', { payload: { status: 0x8 }, when: STATUS })] : []),
      ...(pair === 0
        ? [acknowledged('SET_MEM_TABLE', { payload: { regions: REGIONS }, fds: memoryFds(REGIONS), when: TABLE })]
        : []),
      ...addMemory(setup, pair, added),
      ...ringsOf(pair).flatMap((index) => [
        tell('SET_VRING_NUM', { payload: { index, num: QUEUE_SIZE } }),
        tell('SET_VRING_BASE', { payload: { index, base } }),
        tell('SET_VRING_ADDR', { payload: { index, flags: 0, ring: 'queue' } }),
        ringFd(version, 'SET_VRING_KICK', index, 'kick-signalled'),
        ringFd(version, 'SET_VRING_CALL', index, 'call'),
      ]),
    ]),
    ask('GET_STATUS', { when: STATUS }),
    tell('SET_STATUS', { payload: { status: 0xf }, when: STATUS }),
  ];
}

/** Pair by pair; the last one sets the status. */
function stop({ version, pairs }: Setup): Step[] {
  const resetStatus = tell('SET_STATUS', { payload: { status: 0 }, when: STATUS });
  return indices(pairs).flatMap((pair) => [
    ...(pair === pairs - 1 && version.resetsStatusFirst ? [resetStatus] : []),
    ...ringsOf(pair).map((index) => ask('GET_VRING_BASE', { payload: { index, base: 0 } })),
    ...(pair === pairs - 1 && !version.resetsStatusFirst ? [resetStatus] : []),
  ]);
}

/** The driver is there, and uses as many pairs as it has CPUs: two. */
function boot(setup: Setup, added: readonly Region[]): Step[] {
  return [
    ...start(setup, 1, 0, added),
    ...(setup.pairs === 1
      ? []
      : [...usePairs(setup, setup.pairs), { driver: 'use-pairs', pairs: setup.pairs } as const]),
    { driver: 'exchange' },
  ];
}

/** Frames are under way in both directions while the VM is paused, or its link is taken away. */
function stopAndGoOn(setup: Setup, inUse: number): Step[] {
  return [{ driver: 'set-out' }, ...stop(setup), ...start(setup, inUse, 'returned', []), { driver: 'exchange' }];
}

function life(setup: Setup): Step[] {
  const { version, pairs, modern } = setup;
  const rarp = [tell('SEND_RARP', { payload: { mac: MAC }, when: { with: ['RARP'] } }), { announced: MAC }];
  return [
    ...connect(setup),
    ...resetDevice(version),
    ...indices(4).flatMap(() => usePairs(setup, 1)),
    ...boot(setup, REGIONS),

    // After a migration, or at the word of its user: once more after a while.
    ...(modern ? [] : [...rarp, ...rarp, { driver: 'exchange' } as const]),

    // Memory comes and goes under frames.
    { driver: 'set-out' },
    ...indices(pairs).flatMap((pair) => addMemory(setup, pair, [DIMM])),
    { driver: 'exchange' },
    { driver: 'set-out' },
    { driver: 'exchange' },
    ...indices(pairs).flatMap((pair) => removeMemory(setup, pair, DIMM)),
    { driver: 'exchange' },

    // Paused and gone on; the link taken away and given back.
    ...stopAndGoOn(setup, pairs),
    ...stopAndGoOn(setup, pairs),

    // Fewer queue pairs, by ethtool: a pause keeps them so.
    ...(pairs === 1 ? [] : [...usePairs(setup, 1), { driver: 'use-pairs', pairs: 1 } as const]),
    ...(pairs === 1 ? [] : [{ driver: 'exchange' } as const, ...stopAndGoOn(setup, 1)]),

    // The guest reboots.
    { driver: 'reset' },
    ...stop(setup),
    ...resetDevice(version),
    ...indices(6).flatMap(() => usePairs(setup, 1)),
    ...boot(setup, []),

    // The back end goes away and comes back.
    { driver: 'set-out' },
    { disconnect: true },
    ...connect(setup),
    ...start(setup, pairs, 'used-index', REGIONS),
    { driver: 'exchange' },

    // QEMU quits.
    ...stop(setup),
    { disconnect: true },
  ];
}

function card(name: string, source: string, setup: Setup, protocolBits: number): Replay {
  const more = setup.modern ? cardFeatures('MTU', 'GUEST_ANNOUNCE', 'MQ') : 0n;
  const driver = (DEVICE_FEATURES | more) & LINUX_NET_DRIVER;
  return {
    name: `${name}, a card with ${setup.pairs === 1 ? 'one queue pair' : `${setup.pairs} queue pairs`}`,
    source,
    ackFeatures: (offered) => offered & (driver | cardFeatures('PROTOCOL_FEATURES')),
    // All but CONFIG.
    ackProtocolFeatures: (offered) => ackBelow(protocolBits)(offered) & ~(1n << 9n),
    memory: 'sealed',
    device: { kind: 'card', queuePairs: setup.pairs, pairsInUse: 1 },
    queues: 2 * setup.pairs + 1,
    queueSize: QUEUE_SIZE,
    steps: life(setup),
  };
}

const WATCHED = 'qemu/qemu 7.2.22, watched; hw/net/vhost_net.c, net/vhost-user.c, hw/virtio/vhost-user.c 019fbfa4bcd2';
const READ =
  'p-b-o/qemu-ci: hw/virtio/vhost-user.c 037ef2261e92, vhost.c 1040dc581d92; pbo-linaro/qemu-ci: hw/net/vhost_net.c 51651ef77246';

export const replays: readonly Replay[] = [
  card('QEMU 7.2', WATCHED, { version: V7_2, pairs: 1, modern: false }, 17),
  card('QEMU 7.2', WATCHED, { version: V7_2, pairs: 2, modern: true }, 17),
  card('QEMU after 10.1', READ, { version: RECENT, pairs: 1, modern: false }, 20),
  card('QEMU after 10.1', READ, { version: RECENT, pairs: 2, modern: true }, 20),
];
