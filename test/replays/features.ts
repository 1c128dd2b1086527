/** Feature bits by name, for the conversations in this folder. */

/** Protocol features that decide which messages a front end sends, by bit. vhost-user, "Protocol features" */
export const PROTOCOL_BITS = {
  MQ: 0,
  LOG_SHMFD: 1,
  RARP: 2,
  REPLY_ACK: 3,
  NET_MTU: 4,
  BACKEND_REQ: 5,
  CONFIG: 9,
  INFLIGHT_SHMFD: 12,
  RESET_DEVICE: 13,
  CONFIGURE_MEM_SLOTS: 15,
  STATUS: 16,
  DEVICE_STATE: 19,
  SHMEM: 22,
} as const;

export type ProtocolFeature = keyof typeof PROTOCOL_BITS;

/** Features of rings and transports. VIRTIO 1.3, 6; vhost-user, "Feature bits" */
const RING_BITS = {
  NOTIFY_ON_EMPTY: 24,
  /** The back end writes down which guest pages it dirties. */
  LOG_ALL: 26,
  ANY_LAYOUT: 27,
  INDIRECT_DESC: 28,
  EVENT_IDX: 29,
  PROTOCOL_FEATURES: 30,
  VERSION_1: 32,
  ACCESS_PLATFORM: 33,
  RING_PACKED: 34,
  IN_ORDER: 35,
  ORDER_PLATFORM: 36,
  NOTIFICATION_DATA: 38,
  RING_RESET: 40,
  /** Not in a published standard: crosvm's number for it. */
  SUSPEND: 42,
} as const;

/** VIRTIO 1.3, 5.2.3 */
const DISK_BITS = {
  SIZE_MAX: 1,
  SEG_MAX: 2,
  GEOMETRY: 4,
  RO: 5,
  BLK_SIZE: 6,
  FLUSH: 9,
  TOPOLOGY: 10,
  CONFIG_WCE: 11,
  MQ: 12,
  DISCARD: 13,
  WRITE_ZEROES: 14,
} as const;

/** VIRTIO 1.3, 5.1.3 */
const CARD_BITS = {
  CSUM: 0,
  GUEST_CSUM: 1,
  MTU: 3,
  MAC: 5,
  GSO: 6,
  GUEST_TSO4: 7,
  GUEST_TSO6: 8,
  GUEST_ECN: 9,
  GUEST_UFO: 10,
  HOST_TSO4: 11,
  HOST_TSO6: 12,
  HOST_ECN: 13,
  HOST_UFO: 14,
  MRG_RXBUF: 15,
  STATUS: 16,
  CTRL_VQ: 17,
  CTRL_RX: 18,
  CTRL_VLAN: 19,
  GUEST_ANNOUNCE: 21,
  MQ: 22,
  CTRL_MAC_ADDR: 23,
  GUEST_USO4: 54,
  GUEST_USO6: 55,
  HOST_USO: 56,
  SPEED_DUPLEX: 63,
} as const;

export type RingFeature = keyof typeof RING_BITS;
/** Of a disk. */
export type Feature = RingFeature | keyof typeof DISK_BITS;
export type CardFeature = RingFeature | keyof typeof CARD_BITS;

function mask<Name extends string>(bits: Readonly<Record<Name, number>>, names: readonly Name[]): bigint {
  return names.reduce((sum, name) => sum | (1n << BigInt(bits[name])), 0n);
}

/** Features of rings and of a disk by name, as a mask. */
export function features(...names: readonly Feature[]): bigint {
  return mask({ ...RING_BITS, ...DISK_BITS }, names);
}

/** Features of rings and of a network card by name, as a mask. */
export function cardFeatures(...names: readonly CardFeature[]): bigint {
  return mask({ ...RING_BITS, ...CARD_BITS }, names);
}

/** Protocol features by name, as a mask. */
export function protocolFeatures(...names: readonly ProtocolFeature[]): bigint {
  return mask(PROTOCOL_BITS, names);
}

/** What Linux's virtio_ring takes of what it is offered. drivers/virtio/virtio_ring.c */
const LINUX_RING = [
  'INDIRECT_DESC',
  'EVENT_IDX',
  'VERSION_1',
  'ACCESS_PLATFORM',
  'RING_PACKED',
  'ORDER_PLATFORM',
] as const;

/** What Linux's virtio_blk driver takes of what it is offered. drivers/block/virtio_blk.c */
export const LINUX_DRIVER = features(
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
  ...LINUX_RING,
);

/** What Linux's virtio_net driver takes, of version 6.1. drivers/net/virtio_net.c */
export const LINUX_NET_DRIVER = cardFeatures(
  'CSUM',
  'GUEST_CSUM',
  'MTU',
  'MAC',
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
  'STATUS',
  'CTRL_VQ',
  'CTRL_RX',
  'CTRL_VLAN',
  'GUEST_ANNOUNCE',
  'MQ',
  'CTRL_MAC_ADDR',
  'SPEED_DUPLEX',
  ...LINUX_RING,
);
