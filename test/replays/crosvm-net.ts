/**
 * crosvm, `--vhost-user type=net,socket=…`.
 *
 * Read: as in `crosvm.ts`, and Linux's drivers/net/virtio_net.c for what the driver says by its control queue. Not watched.
 *
 * Peculiar to it, besides what `crosvm.ts` says:
 * - The guest has as many rings as GET_QUEUE_NUM says, and the last of them is the control queue, which it passes on like any
 *   other: what the driver says there only the back end hears.
 * - All rings are enabled, also those of queue pairs that the driver does not use.
 * - Linux wants no call for the control queue, and looks for the answer. Such a ring gets an eventfd that nobody listens to.
 * - A reset is not told: no status, no features. The back end still knows then what the driver before has said.
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
import { cardFeatures, LINUX_NET_DRIVER } from './features.js';
import { type FdSource, indices, type Replay, type Step, tell } from './replay.js';

const PAIRS = 2;
const QUEUES = 2 * PAIRS + 1;

/** By the guest's MSI-X table, and for the control queue what has no vector. */
const CALLS: readonly FdSource[] = [...indices(2 * PAIRS).map((): FdSource => 'call'), 'call-unheard'];
const CALLS_WITHOUT_MSIX: readonly FdSource[] = indices(QUEUES).map(() => 'call-shared');

/** Each access to configuration space while Linux's virtio_net driver starts up: before features are settled, after, and running. */
const VALIDATES: readonly Access[] = [[10, 2]]; // mtu
const PROBES: readonly Access[] = [
  [8, 2], // max_virtqueue_pairs
  ...indices(6).map((at) => [at, 1] as const), // mac
  [10, 2], // mtu
];
const RUNS: readonly Access[] = [
  [6, 2], // status
  [12, 4], // speed
  [16, 1], // duplex
];

const command = (...bytes: readonly number[]): Step => ({ driver: 'command', bytes });

/** What Linux says when it has a CPU for each queue pair, and its interface is taken up: class, command, data. VIRTIO 1.3, 5.1.6.5 */
function takeUp(): Step[] {
  return [
    // MQ, pairs in use.
    command(4, 0, PAIRS, 0),
    { driver: 'use-pairs', pairs: PAIRS },
    // RX: neither promiscuous nor all multicast.
    command(0, 0, 0),
    command(0, 1, 0),
    // MAC, table: no unicast address, and the two multicast groups that everybody is in.
    command(1, 0, ...[0, 0, 0, 0], ...[2, 0, 0, 0], ...[0x33, 0x33, 0, 0, 0, 1], ...[0x01, 0x00, 0x5e, 0, 0, 1]),
    // VLAN: no tag.
    command(2, 0, 0, 0),
  ];
}

const STEPS: readonly Step[] = [
  ...connect(),
  ...readConfig(VALIDATES),
  ...readConfig(PROBES),
  tell('SET_FEATURES', { payload: { features: 'acked' } }),
  ...start(0, CALLS),
  ...readConfig(RUNS),
  ...takeUp(),
  { driver: 'exchange' },

  // Fewer queue pairs, and back.
  command(4, 0, 1, 0),
  { driver: 'use-pairs', pairs: 1 },
  { driver: 'exchange' },
  command(4, 0, PAIRS, 0),
  { driver: 'use-pairs', pairs: PAIRS },
  { driver: 'exchange' },

  // The VM sleeps and wakes up: what was said by the control queue still holds.
  { driver: 'set-out' },
  ...stop(QUEUES),
  ...start('returned', CALLS),
  { driver: 'exchange' },
  command(0, 0, 1),
  command(0, 0, 0),

  // Another driver takes over, without MSI-X. It uses one queue pair and has no need of the control queue.
  { driver: 'reset' },
  ...stop(QUEUES),
  ...readConfig(PROBES),
  ...start(0, CALLS_WITHOUT_MSIX),
  { driver: 'exchange' },
  { disconnect: true },
];

const DEVICE_FEATURES = cardFeatures('VERSION_1', 'EVENT_IDX', 'SUSPEND', 'PROTOCOL_FEATURES') | DEVICE_TYPE_FEATURES;

export const replays: readonly Replay[] = [
  {
    name: 'crosvm, a card',
    source: SOURCE,
    ackFeatures: (offered) => offered & DEVICE_FEATURES & (LINUX_NET_DRIVER | cardFeatures('PROTOCOL_FEATURES')),
    ackProtocolFeatures,
    memory: 'sealed',
    device: { kind: 'card', queuePairs: PAIRS, pairsInUse: 1 },
    queues: QUEUES,
    queueSize: QUEUE_SIZE,
    steps: STEPS,
  },
];
