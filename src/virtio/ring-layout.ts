/** The layouts of virtqueues that a driver may choose from, and what a front end may say of each. */
export type RingKind = 'split' | 'packed';

/** Where a ring lies in this process, and what was negotiated for it. Plain data. */
export interface RingLayout {
  readonly kind: RingKind;
  /** Entries, up to 32768; a power of two if it is split. */
  readonly size: number;
  /** Host address of the descriptor table, or of the descriptor ring. VIRTIO 1.3, 2.6: the Descriptor Area */
  readonly descriptors: number;
  /** Host address of what the driver writes besides: available ring, or driver event suppression. The Driver Area */
  readonly driverArea: number;
  /** Host address of what the device writes besides: used ring, or device event suppression. The Device Area */
  readonly deviceArea: number;
  readonly eventIdx: boolean;
  readonly indirect: boolean;
}

/** The three parts of a ring: bytes, or alignments. */
export interface RingParts {
  readonly descriptors: number;
  readonly driverArea: number;
  readonly deviceArea: number;
}

/** Descriptor of either layout, bytes. VIRTIO 1.3, 2.7.5 and 2.8.13 */
export const DESCRIPTOR_BYTES = 16;
/** Descriptor, in 32-bit words: address low, address high, length, and what differs between the layouts. */
export const DESCRIPTOR_WORDS = 4;

/** Descriptor flags that both layouts have. VIRTIO 1.3, 2.7.5 and 2.8.13 */
export const DescriptorFlag = { NEXT: 1, WRITE: 2, INDIRECT: 4 } as const;

/** Bytes of an event suppression structure. VIRTIO 1.3, 2.8.14 */
const EVENT_BYTES = 4;
/** The slot in a packed ring's position as vhost-user writes it. */
const INDEX_MASK = 0x7fff;

interface LayoutRow {
  /** Bytes of the parts, with the event words. */
  bytes(size: number): RingParts;
  readonly alignment: RingParts;
  /** Whether a ring within the limits may have this size. */
  allowsSize(size: number): boolean;
  /** Where a ring stands that was never used, as SET_VRING_BASE says it. */
  readonly freshBase: number;
  /** Whether a ring of this size can stand there. */
  allowsBase(base: number, size: number): boolean;
}

export const RING_LAYOUTS: Record<RingKind, LayoutRow> = {
  /** VIRTIO 1.3, 2.7. A base is the index of the next chain to take, 16 bits. */
  split: {
    bytes: (size) => ({ descriptors: DESCRIPTOR_BYTES * size, driverArea: 6 + 2 * size, deviceArea: 6 + 8 * size }),
    alignment: { descriptors: 16, driverArea: 2, deviceArea: 4 },
    allowsSize: (size) => (size & (size - 1)) === 0,
    freshBase: 0,
    allowsBase: (base) => base <= 0xffff,
  },
  /**
   * VIRTIO 1.3, 2.8. A base is where the next chain is taken, 15 bits and the wrap counter, and in the upper half where the next
   * one is given back; front ends that follow DPDK leave the upper half zero.
   */
  packed: {
    bytes: (size) => ({ descriptors: DESCRIPTOR_BYTES * size, driverArea: EVENT_BYTES, deviceArea: EVENT_BYTES }),
    alignment: { descriptors: 16, driverArea: 4, deviceArea: 4 },
    allowsSize: () => true,
    freshBase: 0x8000_8000,
    allowsBase: (base, size) => (base & INDEX_MASK) < size && ((base >>> 16) & INDEX_MASK) < size,
  },
};
