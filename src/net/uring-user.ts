import type { IoUring } from '../host/io-uring.js';

/** Whoever has operations in a sidecore's io_uring that are no requests of disks. */
export interface UringUser {
  /** One of its operations is complete; `slot` is what its user data was above its first. */
  completed(slot: number, result: number): void;
}

/** Where ports get a sidecore's io_uring. */
export interface UringHost {
  /** Undefined if the kernel refuses it. */
  uring(): IoUring | undefined;
  /** Gives the user data of the user's operation zero; the others follow, up to 65535. */
  uringUser(user: UringUser): number;
}
