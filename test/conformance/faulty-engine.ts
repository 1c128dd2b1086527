import { type FileEngine, SyncEngine } from '../../src/block/backends/file/engine.js';
import { UringOp } from '../../src/host/io-uring.js';
import { Errno } from '../../src/host/libc.js';
import { viewMemory } from '../../src/host/memory-map.js';

/** Shorter pieces than a sector would not suit O_DIRECT. */
const UNIT_BYTES = 512;

/**
 * System calls as a kernel may answer them on a bad day, and hardly ever does in a test: interrupted, put off, or only
 * partly done. The same bad days each time.
 */
export class FaultyEngine implements FileEngine {
  readonly #good: FileEngine;
  #random = 1;

  constructor(fd: number) {
    this.#good = new SyncEngine(fd);
  }

  start(
    slot: number,
    opcode: number,
    address: number,
    length: number,
    offset: number,
    flags: number,
    byteCount: number,
  ): number {
    const fault = this.#fault();
    if (fault !== 0) return fault;
    switch (opcode) {
      case UringOp.READ:
      case UringOp.WRITE:
        return this.#good.start(slot, opcode, address, this.#shorter(length), offset, flags, byteCount);
      case UringOp.READV:
      case UringOp.WRITEV: {
        if (length > 1) return this.#good.start(slot, opcode, address, 1 + (this.#next() % length), offset, flags, byteCount);
        const [low, high, bytes] = new Uint32Array(viewMemory(address, 12)) as unknown as [number, number, number];
        if (flags !== 0) return this.#good.start(slot, opcode, address, length, offset, flags, byteCount);
        const plain = opcode === UringOp.READV ? UringOp.READ : UringOp.WRITE;
        return this.#good.start(slot, plain, high * 2 ** 32 + low, this.#shorter(bytes), offset, 0, byteCount);
      }
      default:
        return this.#good.start(slot, opcode, address, length, offset, flags, byteCount);
    }
  }

  sync(slot: number): number {
    const fault = this.#fault();
    return fault === 0 ? this.#good.sync(slot) : fault;
  }

  #fault(): number {
    const number = this.#next() % 10;
    return number === 0 ? -Errno.EINTR : number === 1 ? -Errno.EAGAIN : 0;
  }

  #shorter(length: number): number {
    const units = Math.floor(length / UNIT_BYTES);
    return units < 2 || this.#next() % 2 === 0 ? length : (1 + (this.#next() % units)) * UNIT_BYTES;
  }

  #next(): number {
    this.#random = (Math.imul(this.#random, 1_103_515_245) + 12_345) & 0x7fff_ffff;
    return this.#random >>> 8;
  }
}
