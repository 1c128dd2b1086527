/** What both ends of a packed ring have to know of its bytes. VIRTIO 1.3, 2.8 */

/** Packed descriptor, in 32-bit words: address low, address high, length, buffer id with flags in the upper half. 2.8.13 */
export const DESC_LENGTH = 2;
export const DESC_ID_FLAGS = 3;
/** The same in 16-bit words. */
export const DESCRIPTOR_WORDS16 = 8;
export const DESC_ID16 = 6;
export const DESC_FLAGS16 = 7;

/** Descriptor flags: AVAIL alone, or USED alone in every other lap, if it is available; both or neither if it is used. 2.8.1 */
export const AVAIL = 1 << 7;
export const USED = 1 << 15;
export const AVAIL_USED = AVAIL | USED;

/** Event suppression structure, in 16-bit words: a position, and flags. 2.8.14 */
export const EVENT_DESC = 0;
export const EVENT_FLAGS = 1;
export const EVENT_FLAGS_MASK = 3;
/** Its flags. 2.8.10 */
export const Events = { ENABLE: 0, DISABLE: 1, AT_DESC: 2 } as const;

const WRAP = 0x8000;

/**
 * A position in a packed ring as one number below twice its size: the slot in the laps whose wrap counter is 1, the slot plus
 * the size in the others. Positions are added and subtracted modulo twice the size.
 */
export function packedPosition(offsetAndWrap: number, size: number): number {
  const slot = offsetAndWrap & 0x7fff;
  return (offsetAndWrap & WRAP) !== 0 ? slot : slot + size;
}

/** A position as the standard and vhost-user write it: 15 bits of slot, and the wrap counter. */
export function packedOffsetAndWrap(position: number, size: number): number {
  return position < size ? position | WRAP : position - size;
}

/** Where a packed ring stands, as SET_VRING_BASE says it. */
export function packedBase(avail: number, used: number, size: number): number {
  return ((packedOffsetAndWrap(used, size) << 16) | packedOffsetAndWrap(avail, size)) >>> 0;
}

/** The slot of a position. */
export function packedSlot(position: number, size: number): number {
  return position < size ? position : position - size;
}

/** The position so many descriptors on, at most the ring's size. */
export function packedAfter(position: number, descriptors: number, size: number): number {
  const sum = position + descriptors;
  return sum < 2 * size ? sum : sum - 2 * size;
}

/** Descriptors from one position to another. */
export function packedDistance(from: number, to: number, size: number): number {
  return to >= from ? to - from : to - from + 2 * size;
}
