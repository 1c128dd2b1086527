/**
 * QEMU, device vhost-user-blk-pci on machine q35.
 *
 * Read: qemu/qemu hw/virtio/vhost-user.c, hw/virtio/vhost.c, hw/block/vhost-user-blk.c, hw/block/virtio-blk-common.c;
 * the newest versions of them in the public development mirrors pbo-linaro/qemu-ci and p-b-o/qemu-ci (files of 10.x and of
 * the time after 10.2). The order of 7.2.22 was also watched, with SeaBIOS and a Linux 6.1 guest, against back ends that
 * offer different protocol features.
 *
 * Peculiar to it:
 * - SET_OWNER comes after the protocol features, and GET_FEATURES a second time after it.
 * - Each ring gets two call descriptors: first one that nobody listens to, at connection, then the guest's, at start.
 *   CALL and ERR come for all queues, before anything else is known of a ring.
 * - SET_FEATURES comes twice at each start, around the in-flight area.
 * - A queue that the driver has not set up gets no NUM, BASE, ADDR or KICK, but is enabled and disabled like the others.
 * - The kick eventfd is already readable when it arrives.
 * - It reads 57 bytes of configuration space, 36 with `discard=off,write-zeroes=off`, and checks the size of the answer.
 * - It acknowledges every offered protocol feature up to the highest that it knows, whether or not it implements it.
 * - With CONFIGURE_MEM_SLOTS there is never a table: ADD_MEM_REG only for what the back end does not have yet, over all
 *   starts and resets of a connection. REM_MEM_REG has offset 0, whatever the offset was, and no descriptor.
 * - Without it, the same table can come again while rings are live.
 * - need_reply up to 8.1: SET_BACKEND_REQ_FD, memory messages, SET_CONFIG and, while logging, SET_FEATURES and
 *   SET_VRING_ADDR. From 8.2 also SET_VRING_ENABLE: without REPLY_ACK it sends GET_FEATURES and waits for that.
 *   After 10.1 also SET_VRING_KICK, _CALL and _ERR.
 * - Up to 7.2 at least, SET_STATUS 0 comes before the rings are stopped: GET_VRING_BASE must still answer where they stood.
 *   Later versions send it last. From 9.1, RESET_DEVICE follows each reset of the device, also of one never started.
 * - Pause and resume of the VM is a stop and a start, with the bases that GET_VRING_BASE returned.
 * - After a lost connection it starts anew, with its copy of the in-flight area and bases from the used rings; it does not
 *   read the configuration space again.
 */

import { features, LINUX_DRIVER } from './features.js';
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
  memoryFds,
  type Region,
  type Replay,
  type Step,
  tell,
} from './replay.js';

const QUEUES = 2;
const QUEUE_SIZE = 128;

/** What SeaBIOS 1.16 takes of a disk. */
const FIRMWARE_DRIVER = features('SIZE_MAX', 'SEG_MAX', 'BLK_SIZE', 'VERSION_1', 'PROTOCOL_FEATURES');

const CONFIG_READ = { offset: 0, size: 57, flags: 0 } as const;

const INFLIGHT = { with: ['INFLIGHT_SHMFD'] } as const;
const MIGRATION = { with: ['LOG_SHMFD'], offered: 'LOG_ALL' } as const;
const MIGRATION_STATUS = { with: ['LOG_SHMFD', 'STATUS'], offered: 'LOG_ALL' } as const;

/** From the connection to a device that the guest can see. */
function connect(version: Version, again: boolean): Step[] {
  return [
    ask('GET_FEATURES'),
    ask('GET_PROTOCOL_FEATURES'),
    tell('SET_PROTOCOL_FEATURES', { payload: { protocolFeatures: 'acked' } }),
    ask('GET_QUEUE_NUM', { when: { with: ['MQ'] } }),
    ask('GET_MAX_MEM_SLOTS', { when: SLOTS }),
    acknowledged('SET_BACKEND_REQ_FD', { fds: ['backend-channel'], when: { with: ['BACKEND_REQ'] } }),
    tell('SET_OWNER'),
    ask('GET_FEATURES'),
    ...indices(QUEUES).flatMap((index) => [
      ringFd(version, 'SET_VRING_CALL', index, 'call-unheard'),
      ringFd(version, 'SET_VRING_ERR', index, 'err'),
    ]),
    ...(again ? [] : [ask('GET_CONFIG', { payload: CONFIG_READ })]),
  ];
}

/** All memory, to a back end that has none yet of this connection. */
function shareMemory(regions: readonly Region[]): Step[] {
  return [
    acknowledged('SET_MEM_TABLE', { payload: { regions }, fds: memoryFds(regions), when: TABLE }),
    ...regions.map((region) => acknowledged('ADD_MEM_REG', { payload: { region }, fds: ['memory'], when: SLOTS })),
  ];
}

/** The table again, where there are no slots: with slots, the back end has it all. */
function shareMemoryAgain(regions: readonly Region[]): Step[] {
  return [acknowledged('SET_MEM_TABLE', { payload: { regions }, fds: memoryFds(regions), when: TABLE })];
}

interface Start {
  readonly queues: number;
  readonly base: Base;
  readonly only?: bigint;
  readonly memory: readonly Step[];
  /** The in-flight area is still the one of before. */
  readonly keepsInflight?: boolean;
}

/** The driver is ready. */
function start(version: Version, { queues, base, only, memory, keepsInflight }: Start): Step[] {
  const setFeatures = tell('SET_FEATURES', { payload: { features: 'acked', ...(only === undefined ? {} : { only }) } });
  const inflight = { queues: QUEUES, queueSize: QUEUE_SIZE };
  return [
    setFeatures,
    ask('GET_STATUS', { when: STATUS }),
    tell('SET_STATUS', { payload: { status: 0x8 }, when: STATUS, note: 'FEATURES_OK before ACKNOWLEDGE and DRIVER' }),
    ...(keepsInflight ? [] : [ask('GET_INFLIGHT_FD', { payload: { ...inflight, area: 'none' }, when: INFLIGHT })]),
    tell('SET_INFLIGHT_FD', { payload: { ...inflight, area: 'returned' }, fds: ['inflight'], when: INFLIGHT }),
    ...indices(QUEUES).map((index) => ringFd(version, 'SET_VRING_CALL', index, 'call')),
    setFeatures,
    ask('GET_STATUS', { when: STATUS }),
    ...memory,
    ...indices(queues).flatMap((index) => [
      tell('SET_VRING_NUM', { payload: { index, num: QUEUE_SIZE } }),
      tell('SET_VRING_BASE', { payload: { index, base } }),
      tell('SET_VRING_ADDR', { payload: { index, flags: 0, ring: 'queue' } }),
      ringFd(version, 'SET_VRING_KICK', index, 'kick-signalled'),
    ]),
    ...indices(QUEUES).flatMap((index) => enable(version, index, 1)),
    ask('GET_STATUS', { when: STATUS }),
    tell('SET_STATUS', { payload: { status: 0xf }, when: STATUS }),
  ];
}

/** The rings that were started stop; the others are only disabled. */
function stop(version: Version, queues: number): Step[] {
  const resetStatus = tell('SET_STATUS', { payload: { status: 0 }, when: STATUS });
  return [
    ...(version.resetsStatusFirst ? [resetStatus] : []),
    ...indices(QUEUES).flatMap((index) => enable(version, index, 0)),
    ...indices(queues).map((index) => ask('GET_VRING_BASE', { payload: { index, base: 0 } })),
    ...(version.resetsStatusFirst ? [] : [resetStatus]),
  ];
}

/** The firmware boots from the disk: one queue, polled. */
function bootByFirmware(version: Version, memory: readonly Step[]): Step[] {
  return [
    ...start(version, { queues: 1, base: 0, only: FIRMWARE_DRIVER, memory }),
    // Firmware moves its memory map about: the table can come again, unchanged, under a live ring.
    ...shareMemoryAgain(REGIONS),
    { driver: 'write-and-read' },
  ];
}

/** The guest resets the device, and with it goes everything about the rings. */
function reset(version: Version, queues: number): Step[] {
  return [{ driver: 'reset' }, ...stop(version, queues), ...resetDevice(version)];
}

function life(version: Version): Step[] {
  return [
    ...connect(version, false),
    ...resetDevice(version),
    ...resetDevice(version),
    ...bootByFirmware(version, shareMemory(REGIONS)),

    // The operating system's driver takes over.
    ...reset(version, 1),
    ...start(version, { queues: QUEUES, base: 0, memory: shareMemoryAgain(REGIONS) }),
    { driver: 'write-and-read' },

    // Memory comes and goes under live rings.
    acknowledged('ADD_MEM_REG', { payload: { region: DIMM }, fds: ['memory'], when: SLOTS }),
    ...shareMemoryAgain([...REGIONS, DIMM]),
    { driver: 'write-and-read' },
    acknowledged('REM_MEM_REG', { payload: { region: DIMM }, when: SLOTS }),
    ...shareMemoryAgain(REGIONS),
    { driver: 'write-and-read' },

    // The driver turns the write cache off, if it may; the back end has told of a new size.
    acknowledged('SET_CONFIG', {
      payload: { offset: 32, size: 1, flags: 0, data: [0] },
      when: { offered: 'CONFIG_WCE' },
    }),
    ask('GET_CONFIG', { payload: CONFIG_READ, note: 'its answer to CONFIG_CHANGE, a message of the back end' }),

    // Migration starts, on live rings, and is called off.
    ask('SET_LOG_BASE', { payload: { logSize: 0x30000, logOffset: 0 }, fds: ['log'], when: MIGRATION }),
    acknowledged('SET_FEATURES', { payload: { features: 'acked', plus: features('LOG_ALL') }, when: MIGRATION }),
    ask('GET_STATUS', { when: MIGRATION_STATUS }),
    ...indices(QUEUES).map((index) =>
      acknowledged('SET_VRING_ADDR', { payload: { index, flags: 1, ring: 'queue' }, when: MIGRATION }),
    ),
    { driver: 'write-and-read' },
    tell('SET_FEATURES', { payload: { features: 'acked' }, when: MIGRATION }),
    ask('GET_STATUS', { when: MIGRATION_STATUS }),
    ...indices(QUEUES).map((index) =>
      tell('SET_VRING_ADDR', { payload: { index, flags: 0, ring: 'queue' }, when: MIGRATION }),
    ),
    { driver: 'write-and-read' },

    // The VM is paused and goes on: same rings, from where they stood.
    ...stop(version, QUEUES),
    ...start(version, { queues: QUEUES, base: 'returned', memory: shareMemoryAgain(REGIONS), keepsInflight: true }),
    { driver: 'write-and-read' },

    // The guest reboots.
    ...reset(version, QUEUES),
    ...resetDevice(version),
    ...bootByFirmware(version, shareMemoryAgain(REGIONS)),
    ...reset(version, 1),
    ...start(version, { queues: QUEUES, base: 0, memory: shareMemoryAgain(REGIONS) }),
    { driver: 'write-and-read' },

    // The back end goes away and comes back.
    { disconnect: true },
    ...connect(version, true),
    ...start(version, { queues: QUEUES, base: 'used-index', memory: shareMemory(REGIONS), keepsInflight: true }),
    { driver: 'write-and-read' },

    // QEMU quits.
    ...stop(version, QUEUES),
    { disconnect: true },
  ];
}

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
);

const ackFeatures = (offered: bigint) => offered & ((DEVICE_FEATURES & LINUX_DRIVER) | features('PROTOCOL_FEATURES'));

export const qemu72: Replay = {
  name: 'QEMU 7.2',
  source:
    'qemu/qemu 7.2.22, watched; hw/virtio/vhost.c 0021c4765a6b, hw/block/vhost-user-blk.c 06bb74985f42, hw/virtio/vhost-user.c 019fbfa4bcd2',
  ackFeatures,
  ackProtocolFeatures: ackBelow(17),
  memory: 'sealed',
  device: { kind: 'disk' },
  queues: QUEUES,
  queueSize: QUEUE_SIZE,
  steps: life(V7_2),
};

export const qemuRecent: Replay = {
  name: 'QEMU after 10.1',
  source:
    'p-b-o/qemu-ci: hw/virtio/vhost-user.c 037ef2261e92, vhost.c 1040dc581d92, hw/block/vhost-user-blk.c 022676d7de6b',
  ackFeatures,
  ackProtocolFeatures: ackBelow(20),
  memory: 'sealed',
  device: { kind: 'disk' },
  queues: QUEUES,
  queueSize: QUEUE_SIZE,
  steps: life(RECENT),
};

export const replays: readonly Replay[] = [qemu72, qemuRecent];
