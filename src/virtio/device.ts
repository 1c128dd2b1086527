/** What a front end may ask of a network card besides. */
export interface NetworkFacet {
  /** Takes over the largest payload of a frame, bytes; false if it is outside the limits. */
  setMtu(mtu: number): boolean;
  /** The frame by which others learn where an address is; undefined if it is no station's. */
  announcement(mac: Uint8Array): Uint8Array | undefined;
  /** Forgets what this front end has set. */
  endSession(): void;
}

/** A virtio device as its front end sees it, whatever its kind. On the main thread. */
export interface VirtioDevice {
  /** Virtqueues that a front end may set up. */
  readonly queueCount: number;
  readonly offeredFeatures: bigint;
  /** What only a network card has. */
  readonly network?: NetworkFacet;
  /** Takes over what the driver acknowledged. */
  negotiate(features: bigint): void;
  /** Back to how the device was before any driver. */
  reset(): void;
  /** Reads configuration space. Bytes beyond what is defined are zeros. */
  readConfig(offset: number, length: number): Buffer;
  /** Writes configuration space; false if the driver may not write there, or not that. */
  writeConfig(offset: number, bytes: Uint8Array): boolean;
}
