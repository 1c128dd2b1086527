/**
 * Cloud Hypervisor, `--net vhost_user=on,socket=…,num_queues=4 --memory size=4G,shared=on`.
 *
 * Read: as in `cloud-hypervisor.ts`, and virtio-devices/src/vhost_user/net.rs, net_util/src/{lib,ctrl_queue}.rs. Not watched.
 *
 * Peculiar to it, besides what `cloud-hypervisor.ts` says:
 * - It reads 17 bytes of configuration space, once: address, status, queue pairs, MTU, speed and duplex.
 * - CTRL_VQ is acknowledged, but the control queue stays with it: the last ring is never mentioned. STATUS, MAC, MTU, MQ and
 *   GUEST_ANNOUNCE are acknowledged too, where the driver takes them. `num_queues` counts the other rings.
 * - What the driver says of the queue pairs that it uses is answered and not passed on. All rings that the driver has set up are
 *   enabled, also those in which it has no buffers: a guest with fewer CPUs than queue pairs never kicks them.
 * - BASE is the available index even where buffers are offered: after a lost connection, all buffers to receive into are behind
 *   it. With IN_ORDER, without in-flight area, it is the used index, and Cloud Hypervisor kicks.
 * - A pause stops the guest's CPUs too, but not the network.
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
import { type CardFeature, cardFeatures, LINUX_NET_DRIVER } from './features.js';
import type { Base, Replay, Step } from './replay.js';

const PAIRS = 2;
const SHAPE = { queues: 2 * PAIRS, queueSize: 256 } as const;
const CONFIG_BYTES = 17;

/** What it passes on to the guest, of what the back end offers: net.rs and mod.rs, with all offloads on, and what follows of CTRL_VQ. */
const DEVICE_FEATURES = cardFeatures(
  'MRG_RXBUF',
  'CTRL_VQ',
  'STATUS',
  'GUEST_ANNOUNCE',
  'MAC',
  'MTU',
  'MQ',
  'CSUM',
  'GUEST_CSUM',
  'HOST_ECN',
  'HOST_TSO4',
  'HOST_TSO6',
  'GUEST_ECN',
  'GUEST_TSO4',
  'GUEST_TSO6',
  'HOST_UFO',
  'GUEST_UFO',
  'INDIRECT_DESC',
  'EVENT_IDX',
  'VERSION_1',
  'IN_ORDER',
  'ORDER_PLATFORM',
  'NOTIFICATION_DATA',
);

/** @param lost - where the rings start after a lost connection, and whether Cloud Hypervisor kicks them */
function life(lost: { base: Base; kicks: boolean }): Step[] {
  return [
    ...connect(CONFIG_BYTES),
    ...start(SHAPE, { regions: REGIONS, base: 'avail-index' }),
    { driver: 'exchange' },

    { driver: 'set-out' },
    ...plugMemory(),
    { driver: 'exchange' },

    { driver: 'set-out' },
    ...pauseAndGoOn(SHAPE),
    { driver: 'exchange' },

    // The guest uses its other queue pair from now on: only its own control queue hears of that.
    { driver: 'use-pairs', pairs: PAIRS },
    { driver: 'exchange' },
    { driver: 'set-out' },
    ...pauseAndGoOn(SHAPE),
    { driver: 'exchange' },

    // The driver is unloaded and loaded.
    ...reset(SHAPE),
    ...start(SHAPE, { regions: ALL_REGIONS, base: 'avail-index' }),
    { driver: 'exchange' },

    // The back end goes away and comes back.
    { driver: 'set-out' },
    { disconnect: true },
    ...connectAgain(),
    ...start(SHAPE, { regions: ALL_REGIONS, keepsInflight: true, ...lost }),
    { driver: 'exchange' },

    // The guest reboots: a new VM.
    { disconnect: true },
    { driver: 'reset' },
    ...connect(CONFIG_BYTES),
    ...start(SHAPE, { regions: REBOOTED, base: 'avail-index' }),
    { driver: 'exchange' },
    { disconnect: true },
  ];
}

function card(name: string, more: readonly CardFeature[], lost: { base: Base; kicks: boolean }): Replay {
  const driver = LINUX_NET_DRIVER | cardFeatures(...more);
  return {
    name,
    source: SOURCE,
    ackFeatures: (offered) => offered & ((DEVICE_FEATURES & driver) | cardFeatures('PROTOCOL_FEATURES')),
    ackProtocolFeatures,
    memory: 'refused',
    device: { kind: 'card', queuePairs: PAIRS, pairsInUse: 1 },
    queues: 2 * PAIRS + 1,
    queueSize: SHAPE.queueSize,
    steps: life(lost),
  };
}

export const replays: readonly Replay[] = [
  card('Cloud Hypervisor, a card', [], { base: 'avail-index', kicks: false }),
  card('Cloud Hypervisor, a card whose driver takes IN_ORDER', ['IN_ORDER'], { base: 'used-index', kicks: true }),
];
