/** Feature bits of the network device. VIRTIO 1.3, 5.1.3 */
export const NET_FEATURES = {
  CSUM: 1n << 0n,
  GUEST_CSUM: 1n << 1n,
  MTU: 1n << 3n,
  MAC: 1n << 5n,
  GUEST_TSO4: 1n << 7n,
  GUEST_TSO6: 1n << 8n,
  GUEST_ECN: 1n << 9n,
  HOST_TSO4: 1n << 11n,
  HOST_TSO6: 1n << 12n,
  HOST_ECN: 1n << 13n,
  MRG_RXBUF: 1n << 15n,
  STATUS: 1n << 16n,
  CTRL_VQ: 1n << 17n,
  CTRL_RX: 1n << 18n,
  CTRL_VLAN: 1n << 19n,
  CTRL_RX_EXTRA: 1n << 20n,
  GUEST_ANNOUNCE: 1n << 21n,
  MQ: 1n << 22n,
  CTRL_MAC_ADDR: 1n << 23n,
  GUEST_USO4: 1n << 54n,
  GUEST_USO6: 1n << 55n,
  HOST_USO: 1n << 56n,
  SPEED_DUPLEX: 1n << 63n,
} as const;

/** All that leaves checksums and segmentation to the other side, both ways. VIRTIO 1.3, 5.1.3 */
export const OFFLOAD_FEATURES =
  NET_FEATURES.CSUM |
  NET_FEATURES.GUEST_CSUM |
  NET_FEATURES.GUEST_TSO4 |
  NET_FEATURES.GUEST_TSO6 |
  NET_FEATURES.GUEST_ECN |
  NET_FEATURES.HOST_TSO4 |
  NET_FEATURES.HOST_TSO6 |
  NET_FEATURES.HOST_ECN |
  NET_FEATURES.GUEST_USO4 |
  NET_FEATURES.GUEST_USO6 |
  NET_FEATURES.HOST_USO;

/** The control queue, and what can be said by it. VIRTIO 1.3, 5.1.3 */
export const CONTROL_FEATURES =
  NET_FEATURES.CTRL_VQ |
  NET_FEATURES.CTRL_RX |
  NET_FEATURES.CTRL_RX_EXTRA |
  NET_FEATURES.CTRL_VLAN |
  NET_FEATURES.CTRL_MAC_ADDR;

/** Bytes of struct virtio_net_hdr before each frame, with num_buffers, as VERSION_1 has it. VIRTIO 1.3, 5.1.6 */
export const NET_HEADER_BYTES = 12;
/** Without VERSION_1 and without MRG_RXBUF num_buffers is left out. VIRTIO 1.3, 5.1.6.1 */
export const LEGACY_NET_HEADER_BYTES = 10;

/** Status field of the configuration space. VIRTIO 1.3, 5.1.4 */
export const LinkStatus = { UP: 1, ANNOUNCE: 2 } as const;
