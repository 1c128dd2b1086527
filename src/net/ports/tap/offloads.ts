import { TapOffload } from '../../../host/tap.js';
import { Offload } from '../../offloads.js';

/** The same work by the kernel's names and by ours. */
const PAIRS = [
  [TapOffload.CSUM, Offload.CSUM],
  [TapOffload.TSO4, Offload.TSO4],
  [TapOffload.TSO6, Offload.TSO6],
  [TapOffload.ECN, Offload.ECN],
  [TapOffload.USO4, Offload.USO4],
  [TapOffload.USO6, Offload.USO6],
] as const;

/** Bits of `Offload` for bits of `TapOffload`. */
export function tapOffloads(bits: number): number {
  let offloads = 0;
  for (const [kernel, ours] of PAIRS) if ((bits & kernel) !== 0) offloads |= ours;
  return offloads;
}
