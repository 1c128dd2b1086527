/** Feature bits of a block device, as 64-bit masks. VIRTIO 1.3, 5.2.3 */
export const BLOCK_FEATURES = {
  SIZE_MAX: 1n << 1n,
  SEG_MAX: 1n << 2n,
  RO: 1n << 5n,
  BLK_SIZE: 1n << 6n,
  FLUSH: 1n << 9n,
  TOPOLOGY: 1n << 10n,
  CONFIG_WCE: 1n << 11n,
  MQ: 1n << 12n,
  DISCARD: 1n << 13n,
  WRITE_ZEROES: 1n << 14n,
  SECURE_ERASE: 1n << 16n,
} as const;

/** Request types. VIRTIO 1.3, 5.2.6 */
export const RequestType = {
  IN: 0,
  OUT: 1,
  FLUSH: 4,
  GET_ID: 8,
  DISCARD: 11,
  WRITE_ZEROES: 13,
  SECURE_ERASE: 14,
} as const;

/** Request statuses. VIRTIO 1.3, 5.2.6 */
export const Status = { OK: 0, IOERR: 1, UNSUPP: 2 } as const;

/** Bytes of a sector, the unit of the protocol whatever the device's block size. VIRTIO 1.3, 5.2.6 */
export const SECTOR_BYTES = 512;
/** Bytes of the serial number that GET_ID gives. VIRTIO 1.3, 5.2.6 */
export const SERIAL_BYTES = 20;
