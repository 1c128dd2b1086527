import { NET_FEATURES } from './features.js';
import { GSO_ECN, GsoType, type NetHeader, NetHeaderFlag } from './net-header.js';

/** Work that is left to the next in line, one bit each: the feature bits of one direction in one small number. */
export const Offload = { CSUM: 1, TSO4: 2, TSO6: 4, ECN: 8, USO4: 16, USO6: 32 } as const;

/** What a guest may leave to us in what it sends. VIRTIO 1.3, 5.1.3 */
export function hostOffloads(features: bigint): number {
  const { CSUM, HOST_TSO4, HOST_TSO6, HOST_ECN, HOST_USO } = NET_FEATURES;
  // All of them require the checksum, and a segment has one. VIRTIO 1.3, 5.1.3.1
  if ((features & CSUM) === 0n) return 0;
  let offloads: number = Offload.CSUM;
  if ((features & HOST_TSO4) !== 0n) offloads |= Offload.TSO4;
  if ((features & HOST_TSO6) !== 0n) offloads |= Offload.TSO6;
  if ((features & HOST_ECN) !== 0n) offloads |= Offload.ECN;
  if ((features & HOST_USO) !== 0n) offloads |= Offload.USO4 | Offload.USO6;
  return offloads;
}

/** What we may leave to a guest in what it receives. VIRTIO 1.3, 5.1.3 */
export function guestOffloads(features: bigint): number {
  const { GUEST_CSUM, GUEST_TSO4, GUEST_TSO6, GUEST_ECN, GUEST_USO4, GUEST_USO6 } = NET_FEATURES;
  if ((features & GUEST_CSUM) === 0n) return 0;
  let offloads: number = Offload.CSUM;
  if ((features & GUEST_TSO4) !== 0n) offloads |= Offload.TSO4;
  if ((features & GUEST_TSO6) !== 0n) offloads |= Offload.TSO6;
  if ((features & GUEST_ECN) !== 0n) offloads |= Offload.ECN;
  if ((features & GUEST_USO4) !== 0n) offloads |= Offload.USO4;
  if ((features & GUEST_USO6) !== 0n) offloads |= Offload.USO6;
  return offloads;
}

/**
 * What the receiver of a frame must be able to do, or `UNKNOWN_OFFLOAD`. UDP segmentation names no version of IP and counts
 * as both: for a guest that takes one of them only, the frame is cut up.
 */
export function neededOffloads(header: NetHeader): number {
  const checksum = (header.flags & NetHeaderFlag.NEEDS_CSUM) !== 0 ? Offload.CSUM : 0;
  const ecn = (header.gsoType & GSO_ECN) !== 0 ? Offload.ECN : 0;
  const type = header.gsoType & ~GSO_ECN;
  if (type === GsoType.TCPV4) return checksum | ecn | Offload.TSO4;
  if (type === GsoType.TCPV6) return checksum | ecn | Offload.TSO6;
  if (ecn !== 0) return UNKNOWN_OFFLOAD;
  if (type === GsoType.NONE) return checksum;
  // Fragmentation, `GsoType.UDP`, is on nobody's list.
  return type === GsoType.UDP_L4 ? checksum | Offload.USO4 | Offload.USO6 : UNKNOWN_OFFLOAD;
}

/** The kind of segmentation is none that we know. */
export const UNKNOWN_OFFLOAD = -1;
