/** Feature bits that belong to the transport and the rings, as 64-bit masks. VIRTIO 1.3, 6; vhost-user, "Feature bits". */
export const RING_FEATURES = {
  /** Legacy drivers' word for what VERSION_1 implies. Never offered; let through, because some acknowledge it all the same. */
  ANY_LAYOUT: 1n << 27n,
  /** Descriptors may point to a table of descriptors. VIRTIO 1.3, 2.7.5.3 and 2.8.7 */
  INDIRECT_DESC: 1n << 28n,
  /** Notifications are suppressed by index rather than by flag. VIRTIO 1.3, 2.7.7, 2.7.10 and 2.8.10 */
  EVENT_IDX: 1n << 29n,
  /** The vhost-user peer talks protocol features. */
  VHOST_USER_PROTOCOL_FEATURES: 1n << 30n,
  /** The device follows VIRTIO 1.0 or later. */
  VERSION_1: 1n << 32n,
  /** Rings are packed. VIRTIO 1.3, 2.8 */
  RING_PACKED: 1n << 34n,
  /** Chains are given back in the order in which they were made available. VIRTIO 1.3, 2.7.9 and 2.8.9 */
  IN_ORDER: 1n << 35n,
} as const;
