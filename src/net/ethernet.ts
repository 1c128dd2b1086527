/**
 * Ethernet's header and addresses. IEEE 802.3, 3.1 and 3.2; IEEE 802.1Q, 9
 *
 * An address is two numbers, its upper 16 and its lower 32 bits. The lower ones are a signed integer, which V8 keeps without a
 * box; whoever takes one takes it unsigned as well.
 */

/** Byte offsets in a frame. IEEE 802.3, 3.1.1 */
export const EthernetOffset = { DESTINATION: 0, SOURCE: 6, TYPE: 12 } as const;
/** Both addresses and the type, bytes. */
export const ETHERNET_HEADER_BYTES = 14;
/** Type and tag control information, put before the type, bytes. IEEE 802.1Q, 9.3 */
export const VLAN_TAG_BYTES = 4;

/** Types, and the types by which tags are known. IEEE registry; VLAN_S is the outer tag of 802.1ad */
export const EtherType = { IPV4: 0x0800, ARP: 0x0806, VLAN: 0x8100, IPV6: 0x86dd, VLAN_S: 0x88a8 } as const;

/** 802.1Q's type as two bytes of a frame read as a little-endian number. */
export const TAG_TYPE_LE = ((EtherType.VLAN & 0xff) << 8) | (EtherType.VLAN >>> 8);

/** A frame without a tag. */
export const UNTAGGED = -1;

/** The bit that says "group", in the upper half of an address. IEEE 802.3, 3.2.3 */
const GROUP_BIT = 0x0100;

export const isTagType = (type: number): boolean => type === EtherType.VLAN || type === EtherType.VLAN_S;

/** Multicast or broadcast. */
export const isGroup = (high: number): boolean => (high & GROUP_BIT) !== 0;

export const isBroadcast = (high: number, low: number): boolean => high === 0xffff && (low | 0) === -1;

/** An address that a frame can come from: not of a group, and not zero. */
export const isStation = (high: number, low: number): boolean => (high & GROUP_BIT) === 0 && (high | low) !== 0;

/** A number of 16 bits in network order, most significant byte first, as those in all headers of a frame. */
export const readBe16 = (bytes: Buffer, at: number): number => (bytes[at]! << 8) | bytes[at + 1]!;

export function writeBe16(bytes: Buffer, at: number, value: number): void {
  bytes[at] = value >>> 8;
  bytes[at + 1] = value;
}

/** The upper 16 bits of the address at `offset`. */
export const macHigh = readBe16;

/** The lower 32 bits of the address at `offset`, signed. */
export const macLow = (bytes: Buffer, offset: number): number =>
  (bytes[offset + 2]! << 24) | (bytes[offset + 3]! << 16) | (bytes[offset + 4]! << 8) | bytes[offset + 5]!;

/** Writes six bytes. */
export function writeMac(bytes: Buffer, offset: number, high: number, low: number): void {
  bytes[offset] = high >>> 8;
  bytes[offset + 1] = high;
  bytes[offset + 2] = low >>> 24;
  bytes[offset + 3] = low >>> 16;
  bytes[offset + 4] = low >>> 8;
  bytes[offset + 5] = low;
}

/**
 * Writes a tag, four bytes, as it follows the source address.
 *
 * @param priority - with the drop bit: the upper four bits of its control information. IEEE 802.1Q, 9.6
 */
function writeTag(bytes: Buffer, offset: number, vlan: number, priority: number): void {
  bytes[offset] = EtherType.VLAN >>> 8;
  bytes[offset + 1] = EtherType.VLAN & 0xff;
  bytes[offset + 2] = (priority << 4) | (vlan >>> 8);
  bytes[offset + 3] = vlan;
}

/** Tags the frame at `offset`: it begins four bytes earlier from then on. Returns where. */
export function insertTag(frame: Buffer, offset: number, vlan: number, priority: number): number {
  const start = offset - VLAN_TAG_BYTES;
  for (let i = 0; i < EthernetOffset.TYPE; i++) frame[start + i] = frame[offset + i]!;
  writeTag(frame, start + EthernetOffset.TYPE, vlan, priority);
  return start;
}

/** Takes the outer tag off the frame at `offset`: it begins four bytes later from then on. Returns where. */
export function removeTag(frame: Buffer, offset: number): number {
  const start = offset + VLAN_TAG_BYTES;
  for (let i = EthernetOffset.TYPE - 1; i >= 0; i--) frame[start + i] = frame[offset + i]!;
  return start;
}

/** An address as text, such as `52:54:00:12:34:56`. */
export function formatMac(high: number, low: number): string {
  const digits = (high & 0xffff).toString(16).padStart(4, '0') + (low >>> 0).toString(16).padStart(8, '0');
  return digits.match(/../g)!.join(':');
}

/** The address that a text says: six pairs of digits with colons or hyphens between them. Undefined if it says none. */
export function parseMac(text: string): { readonly high: number; readonly low: number } | undefined {
  if (!/^[\da-f]{2}(?:(?::[\da-f]{2}){5}|(?:-[\da-f]{2}){5})$/i.test(text)) return undefined;
  const digits = text.replace(/[:-]/g, '');
  return { high: Number.parseInt(digits.slice(0, 4), 16), low: Number.parseInt(digits.slice(4), 16) | 0 };
}
