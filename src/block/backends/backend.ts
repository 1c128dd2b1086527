import type { IoUring } from '../../host/io-uring.js';
import type { BlockRequest, RequestPool } from '../request.js';
import type { IoErrors } from './io-errors.js';

/** A back end's answer to a request that it will complete later, through the engine it shares with its sidecore. */
export const PENDING = -1;

/** A back end's answer to a request that it has done a part of, and goes on with in `proceed`. */
export const MORE = -2;

/** What a back end can do, known when its image is opened. */
export interface BackendAbilities {
  /** Bytes; a multiple of 512. */
  readonly sizeBytes: number;
  readonly readOnly: boolean;
  readonly discard: boolean;
  readonly writeZeroes: boolean;
  readonly secureErase: boolean;
  /** Every request is answered at once or goes on before the next is taken, so that all complete in their order. */
  readonly inOrder: boolean;
  /** Smallest write that is no read-modify-write below us, bytes; a power of two. */
  readonly physicalBlockBytes: number;
}

/**
 * Where a disk's data are, as one sidecore uses them. The device has checked everything that the guest supplied: ranges lie
 * within the disk, lengths are whole sectors, the disk may be written.
 *
 * Each call answers with one of `Status`, or with `PENDING` and then completes the request with
 * `request.queue.complete(request, status)`, in a later turn of the same thread. What would keep its thread for longer than
 * `request.pieceBytes` take is divided: it answers with `MORE`, and nothing else of its queue is begun before `proceed` has
 * brought it to its end. It never throws for what storage does, never keeps a request, and leaves its segments as they are:
 * filters look at them afterwards.
 *
 * Every back end passes `test/conformance/backend.ts`.
 */
export interface BlockBackend {
  /** Fills the data segments from the disk. */
  read(request: BlockRequest): number;
  /** Stores the data segments; on stable storage already at completion if `request.durable`. */
  write(request: BlockRequest): number;
  /** Makes all completed writes durable. */
  flush(request: BlockRequest): number;
  /** Gives the room of the ranges back; what they read as afterwards is zeros. */
  discard(request: BlockRequest): number;
  /** Zeroes the ranges, giving their room back where `rangeUnmap` says so. */
  writeZeroes(request: BlockRequest): number;
  /** Overwrites the ranges so that their old content cannot be had back, then gives their room back. */
  secureErase(request: BlockRequest): number;
  /** Goes on with a request that was answered with `MORE`, and answers as the first call does; missing where that is never answered. */
  proceed?(request: BlockRequest): number;
  /** The kernel's answer to the operation of this request that was in flight: a count, or a negative error number. */
  completed(request: BlockRequest, result: number): void;
  /**
   * Its queue is being let go of: begins nothing of its own any more, until `resume`. True once nothing of its own is in flight. Missing
   * where nothing ever is.
   */
  quiesce?(): boolean;
  resume?(): void;
  /** Nothing more is taken from its queue, until `resume`: what it has put off is done now. Missing where nothing is put off. */
  hurry?(): void;
  /** Lets go of what this thread holds. No request is in flight. */
  close(): void;
}

/** A disk's content as the main thread reaches it, waiting for storage. Offsets and lengths in bytes. Throws what storage does. */
export interface DiskImage {
  /** Fills `target` from `offset` on; what is beyond the end stays as it is. */
  read(offset: number, target: Uint8Array): void;
  write(offset: number, source: Uint8Array): void;
  /** Makes what was written durable. */
  sync(): void;
  /** When it was last written, ns since 1970, and the same before it was opened here; missing where nobody knows. */
  stamp?(): string;
  readonly openedStamp?: string;
}

/** What a sidecore lends its back ends. */
export interface BackendHost {
  readonly pool: RequestPool;
  /** The sidecore's io_uring, made on first use; undefined where the kernel refuses it. */
  uring(): IoUring | undefined;
}

/** An opened disk, on the daemon's side. */
export interface OpenDisk<Spec> {
  /** What a sidecore needs to make its `BlockBackend`: plain data, it crosses threads. */
  readonly spec: Spec;
  readonly abilities: BackendAbilities;
  readonly image: DiskImage;
  /** What storage failed; missing where it cannot fail. */
  readonly ioErrors?: IoErrors;
  /**
   * Makes the disk `sizeBytes` large, or, without it, takes over what its size has become from outside. Returns the new
   * size. Throws `SidecoreError` where the back end cannot, or would lose data.
   */
  resize(sizeBytes?: number): number;
  close(): void;
  /** Called after `close` if the daemon does not start: takes back what opening has made. */
  undo?(): void;
}
