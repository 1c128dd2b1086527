import type { CommonPortSpec } from '../port-spec.js';

/** A port that makes frames and takes any. Plain data. */
export interface GeneratorPortSpec extends CommonPortSpec {
  readonly kind: 'generator';
  /** Bytes of each frame that it makes, `HEAD_BYTES` … `FRAME_BYTES_MAX`. */
  readonly frameBytes: number;
  /** Whether it makes frames at all. */
  readonly send: boolean;
  /** Where its frames come from and go to, as upper 16 and lower 32 bits. */
  readonly mac: { readonly high: number; readonly low: number };
  readonly destination: { readonly high: number; readonly low: number };
}
