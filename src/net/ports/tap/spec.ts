import type { CommonPortSpec } from '../port-spec.js';

/** A port that is a network device of the host. Plain data. */
export interface TapPortSpec extends CommonPortSpec {
  readonly kind: 'tap';
  /** Non-blocking descriptors of its queues, which stay open as long as the port is there. */
  readonly fds: readonly number[];
  /** What the host may leave to us and takes from us, bits of `Offload`. */
  readonly offloads: number;
  /** Address of the device, as upper 16 and lower 32 bits. */
  readonly mac: { readonly high: number; readonly low: number };
}
