import { Operation, UringOp } from '../../../host/io-uring.js';
import { SECTOR_BYTES } from '../../features.js';
import type { BlockRequest } from '../../request.js';
import { type Arena, BOUNCE_BYTES, BOUNCE_SYNC, NO_BOUNCE } from './arena.js';
import { type FileEngine, RWF_DSYNC, SyncEngine } from './engine.js';

/**
 * Moves data between a file and guest memory, without a copy of ours; but with O_DIRECT, data whose place in guest memory
 * does not suit the device go through a bounce buffer. `request.progress` is the number of bytes done.
 */
export class Transfer {
  readonly #engine: FileEngine;
  readonly #waiting: SyncEngine;
  readonly #arena: Arena;
  readonly #addressMask: number;
  readonly #lengthMask: number;
  readonly #operation = new Operation();
  /** Set by `#gather`: where it ended. */
  #iovecCount = 0;
  #suitable = true;

  /**
   * @param memoryAlignBytes - what addresses have to be a multiple of; 1 without O_DIRECT
   */
  constructor(fd: number, engine: FileEngine, arena: Arena, memoryAlignBytes: number) {
    this.#engine = engine;
    this.#waiting = new SyncEngine(fd);
    this.#arena = arena;
    this.#addressMask = memoryAlignBytes - 1;
    this.#lengthMask = memoryAlignBytes === 1 ? 0 : SECTOR_BYTES - 1;
  }

  /** Starts the transfer of what is left of the request. Result as of an engine. */
  start(request: BlockRequest, isRead: boolean): number {
    const { chain, first, end, progress, slot } = request;
    const { segments } = chain;
    const offset = request.sector * SECTOR_BYTES + progress;
    const left = request.dataBytes - progress;
    if (end - first === 1 && (isRead || !request.durable)) {
      const address = request.memory!.hostAddress[segments.window[first]!]! + segments.offset[first]! + progress;
      if (((address | 0) & this.#addressMask) === 0 && (left & this.#lengthMask) === 0) {
        const operation = this.#operation.set(isRead ? UringOp.READ : UringOp.WRITE, address, left, offset, 0);
        return this.#engine.start(slot, operation, left);
      }
      return this.#startBounced(request, isRead, offset, left);
    }
    this.#gather(request);
    if (!this.#suitable) return this.#startBounced(request, isRead, offset, left);
    return this.#startVectored(this.#engine, request, isRead, offset, left);
  }

  /** Takes note of the result of what was started: bytes, or a fault. True if the request's data are all transferred. */
  advance(request: BlockRequest, isRead: boolean, result: number): boolean {
    const arena = this.#arena;
    if (arena.bounce[request.slot] !== NO_BOUNCE) {
      if (isRead && result > 0) this.#copy(request, result, true);
      arena.giveBounceBack(request.slot);
    }
    if (result <= 0) return false;
    request.progress += result;
    return request.progress >= request.dataBytes;
  }

  #startVectored(
    engine: FileEngine,
    request: BlockRequest,
    isRead: boolean,
    offset: number,
    byteCount: number,
  ): number {
    const { slot } = request;
    const iovecs = this.#arena.iovecs(slot);
    const opcode = isRead ? UringOp.READV : UringOp.WRITEV;
    const flags = !isRead && request.durable ? RWF_DSYNC : 0;
    return engine.start(slot, this.#operation.set(opcode, iovecs, this.#iovecCount, offset, flags), byteCount);
  }

  /** Puts the pieces of what is left into the slot's iovecs, and finds out whether O_DIRECT can take them. */
  #gather(request: BlockRequest): void {
    const { segments } = request.chain;
    const { hostAddress } = request.memory!;
    const { slot } = request;
    const arena = this.#arena;
    let skip = request.progress;
    let count = 0;
    let bits = 0;
    for (let i = request.first; i < request.end; i++) {
      const length = segments.length[i]! - skip;
      if (length <= 0) {
        skip = -length;
        continue;
      }
      const address = hostAddress[segments.window[i]!]! + segments.offset[i]! + skip;
      arena.setIovec(slot, count++, address, length);
      bits |= ((address | 0) & this.#addressMask) | (length & this.#lengthMask);
      skip = 0;
    }
    this.#iovecCount = count;
    this.#suitable = bits === 0;
  }

  /** Transfers the next piece through a bounce buffer; where none is free, the sidecore waits for it. */
  #startBounced(request: BlockRequest, isRead: boolean, offset: number, left: number): number {
    const arena = this.#arena;
    const { slot } = request;
    const length = Math.min(left, BOUNCE_BYTES);
    arena.takeBounce(slot);
    if (!isRead) this.#copy(request, length, false);
    arena.setIovec(slot, 0, arena.bounceAddress(slot), length);
    this.#iovecCount = 1;
    const engine = arena.bounce[slot] === BOUNCE_SYNC ? this.#waiting : this.#engine;
    return this.#startVectored(engine, request, isRead, offset, length);
  }

  /** Copies between the slot's bounce buffer and the next `count` bytes of the request. */
  #copy(request: BlockRequest, count: number, toGuest: boolean): void {
    const { segments } = request.chain;
    const guest = request.memory!.bytes;
    const buffer = this.#arena.bounceBytes;
    let at = this.#arena.bounceOffset(request.slot);
    const end = at + count;
    let skip = request.progress;
    for (let i = request.first; at < end; i++) {
      const length = Math.min(segments.length[i]! - skip, end - at);
      if (length <= 0) {
        skip -= segments.length[i]!;
        continue;
      }
      const memory = guest[segments.window[i]!]!;
      const offset = segments.offset[i]! + skip;
      if (toGuest) buffer.copy(memory, offset, at, at + length);
      else memory.copy(buffer, at, offset, offset + length);
      at += length;
      skip = 0;
    }
  }
}
