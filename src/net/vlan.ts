import { UNTAGGED } from './ethernet.js';

/** VLAN ids that may be used. 0 marks a tag that only has a priority, 4095 is reserved. IEEE 802.1Q, 9.6, table 9-2 */
export const VLAN_ID_MAX = 4094;
/** The VLAN of frames without a tag on a port about which nothing is said. It is never seen in a tag. */
export const NO_VLAN = 0;
/** The frame is not let in. */
export const VLAN_DROP = -1;

/** What a frame of some VLAN gets when it leaves by a port. */
export const Egress = { NONE: 0, UNTAGGED: 1, TAGGED: 2 } as const;

/** The VLANs of a port. Plain data; made by `accessPort` and `trunkPort`. */
export interface PortVlans {
  /** VLAN of frames without a tag, `NO_VLAN` … `VLAN_ID_MAX`; `VLAN_DROP` lets none in. */
  readonly native: number;
  /** VLANs that are carried with tags, one bit each, 128 words. */
  readonly tagged: Uint32Array;
}

/** A port in one VLAN, whose guest knows nothing of it: no tags in, no tags out. */
export function accessPort(vlan: number): PortVlans {
  return { native: vlan, tagged: new Uint32Array(VLAN_SET_WORDS) };
}

/**
 * A port that carries several VLANs, each frame with its tag; those of the native VLAN without. With no list it carries all.
 *
 * @param native - `NO_VLAN` to keep frames without a tag to themselves, `VLAN_DROP` to let none in.
 */
export function trunkPort(native: number = NO_VLAN, vlans?: Iterable<number>): PortVlans {
  const tagged = new Uint32Array(VLAN_SET_WORDS);
  if (vlans === undefined) for (let vlan = 1; vlan <= VLAN_ID_MAX; vlan++) tagged[vlan >>> 5]! |= 1 << (vlan & 31);
  else for (const vlan of vlans) tagged[vlan >>> 5]! |= 1 << (vlan & 31);
  return { native, tagged };
}

const VLAN_SET_WORDS = 128;

/**
 * The VLAN that a frame belongs to when it comes in by a port, or `VLAN_DROP`.
 *
 * @param tag - the id in its tag, or `UNTAGGED`. An id of 0 counts as no tag. IEEE 802.1Q, 6.9.1
 * @param native - VLAN of frames that have none
 */
export function ingressVlan(port: PortVlans, tag: number, native: number = port.native): number {
  if (tag === UNTAGGED || tag === 0) return native;
  if (tag > VLAN_ID_MAX) return VLAN_DROP;
  return isTagged(port, tag) ? tag : VLAN_DROP;
}

/** The VLAN of frames without a tag as filters see it. */
export const vlanOf = (native: number): number => (native === VLAN_DROP ? NO_VLAN : native);

/** How a frame of `vlan` leaves by a port: not, with a tag, or without. Values of `Egress`. IEEE 802.1Q, 8.8.2 */
export function egressOf(port: PortVlans, vlan: number): number {
  if (vlan === port.native) return Egress.UNTAGGED;
  return isTagged(port, vlan) ? Egress.TAGGED : Egress.NONE;
}

const isTagged = (port: PortVlans, vlan: number): boolean => ((port.tagged[vlan >>> 5]! >>> (vlan & 31)) & 1) !== 0;
