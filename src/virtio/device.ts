/** A virtio device as its front end sees it, whatever its kind. On the main thread. */
export interface VirtioDevice {
  /** Virtqueues that a front end may set up. */
  readonly queueCount: number;
  readonly offeredFeatures: bigint;
  /** Takes over what the driver acknowledged. */
  negotiate(features: bigint): void;
  /** Back to how the device was before any driver. */
  reset(): void;
  /** Reads configuration space. Bytes beyond what is defined are zeros. */
  readConfig(offset: number, length: number): Buffer;
  /** Writes configuration space; false if the driver may not write there, or not that. */
  writeConfig(offset: number, bytes: Uint8Array): boolean;
}
