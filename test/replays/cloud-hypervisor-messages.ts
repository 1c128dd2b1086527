/** What Cloud Hypervisor's conversations have in common, whatever the device. */

import { protocolFeatures } from './features.js';
import {
  acknowledged,
  ask,
  type Base,
  indices,
  memoryFds,
  type Region,
  type SendStep,
  type Step,
  tell,
} from './replay.js';

/** The rings that the driver has made ready. */
export interface Shape {
  readonly queues: number;
  readonly queueSize: number;
}

/** 4 GiB: below 3 GiB and above 4 GiB, each in a memfd of its own. */
export const REGIONS: readonly Region[] = [
  { guestAddress: 0x0, size: 0xc000_0000, userAddress: 0x7f1a_4000_0000, mmapOffset: 0x0, file: 'ch_ram 0' },
  { guestAddress: 0x1_0000_0000, size: 0x4000_0000, userAddress: 0x7f19_fbe0_0000, mmapOffset: 0x0, file: 'ch_ram 1' },
];

/** 128 MiB, plugged in while the guest runs. */
export const HOTPLUGGED: Region = {
  guestAddress: 0x1_4000_0000,
  size: 0x800_0000,
  userAddress: 0x7f19_f3a0_0000,
  mmapOffset: 0x0,
  file: 'ch_ram 2',
};

export const ALL_REGIONS: readonly Region[] = [...REGIONS, HOTPLUGGED];

/** The memory of the VM after a reboot. */
export const REBOOTED: readonly Region[] = REGIONS.map((region) => ({
  ...region,
  file: `${region.file} of the second boot`,
}));

const INFLIGHT = { with: ['INFLIGHT_SHMFD'] } as const;

/** @param configBytes - how much of the configuration space it reads */
export function connect(configBytes: number): Step[] {
  return [
    tell('SET_OWNER'),
    ask('GET_FEATURES'),
    ask('GET_PROTOCOL_FEATURES'),
    tell('SET_PROTOCOL_FEATURES', { payload: { protocolFeatures: 'acked' } }),
    ask('GET_QUEUE_NUM', { needReply: true, when: { with: ['MQ'] } }),
    ask('GET_CONFIG', { needReply: true, payload: { offset: 0, size: configBytes, flags: 1 } }),
  ];
}

export function connectAgain(): Step[] {
  return [
    tell('SET_OWNER'),
    ask('GET_FEATURES'),
    tell('SET_PROTOCOL_FEATURES', {
      payload: { protocolFeatures: 'acked' },
      note: 'without having asked on this connection',
    }),
  ];
}

export function shareMemory(regions: readonly Region[]): SendStep {
  return acknowledged('SET_MEM_TABLE', { payload: { regions }, fds: memoryFds(regions) });
}

/** How a device starts. */
export interface Start {
  readonly regions: readonly Region[];
  readonly base: Base;
  /** The in-flight area is still the one of before. */
  readonly keepsInflight?: boolean;
  /** It kicks rings itself in which something waits. */
  readonly kicks?: boolean;
}

export function start({ queues, queueSize }: Shape, { regions, base, keepsInflight, kicks }: Start): Step[] {
  const inflight = { queues, queueSize };
  return [
    acknowledged('SET_FEATURES', { payload: { features: 'acked' } }),
    shareMemory(regions),
    ...indices(queues).map((index) => acknowledged('SET_VRING_NUM', { payload: { index, num: queueSize } })),
    ...(keepsInflight
      ? []
      : [ask('GET_INFLIGHT_FD', { needReply: true, payload: { ...inflight, area: 'none' }, when: INFLIGHT })]),
    acknowledged('SET_INFLIGHT_FD', { payload: { ...inflight, area: 'returned' }, fds: ['inflight'], when: INFLIGHT }),
    ...indices(queues).flatMap((index) => [
      acknowledged('SET_VRING_ADDR', { payload: { index, flags: 0, ring: 'queue' } }),
      acknowledged('SET_VRING_BASE', { payload: { index, base } }),
      acknowledged('SET_VRING_CALL', { payload: { index }, fds: ['call'] }),
      acknowledged('SET_VRING_KICK', { payload: { index }, fds: [kicks ? 'kick-if-waiting' : 'kick'] }),
    ]),
    ...enableAll({ queues }, 1),
  ];
}

export function enableAll({ queues }: Pick<Shape, 'queues'>, num: 0 | 1): Step[] {
  return indices(queues).map((index) => acknowledged('SET_VRING_ENABLE', { payload: { index, num } }));
}

/** The driver resets the device: firmware that hands over, or a driver that is unloaded. */
export function reset({ queues }: Shape): Step[] {
  return [
    { driver: 'reset' },
    ...indices(queues).flatMap((index) => [
      acknowledged('SET_VRING_ENABLE', { payload: { index, num: 0 } }),
      ask('GET_VRING_BASE', { needReply: true, payload: { index, base: 0 } }),
    ]),
  ];
}

/** The VM is paused and goes on. */
export function pauseAndGoOn(shape: Shape): Step[] {
  return [...enableAll(shape, 0), ...enableAll(shape, 1)];
}

/** Memory is plugged in while the guest runs. */
export function plugMemory(): Step[] {
  return [
    acknowledged('ADD_MEM_REG', {
      payload: { region: HOTPLUGGED },
      fds: ['memory'],
      when: { with: ['CONFIGURE_MEM_SLOTS'] },
    }),
    { ...shareMemory(ALL_REGIONS), when: { without: ['CONFIGURE_MEM_SLOTS'] } },
  ];
}

const PROTOCOL = protocolFeatures(
  'MQ',
  'LOG_SHMFD',
  'REPLY_ACK',
  'CONFIG',
  'INFLIGHT_SHMFD',
  'CONFIGURE_MEM_SLOTS',
  'DEVICE_STATE',
);

export const ackProtocolFeatures = (offered: bigint) => offered & PROTOCOL;

export const SOURCE =
  'cloud-hypervisor/cloud-hypervisor v53.0-246-gae44c2971 virtio-devices/src/vhost_user; rust-vmm/vhost 4e217d9 vhost/src';
