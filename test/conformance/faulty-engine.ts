import { type FileEngine, SyncEngine } from '../../src/block/backends/file/engine.js';
import { Operation, UringOp } from '../../src/host/io-uring.js';
import { Errno } from '../../src/host/libc.js';
import { viewWords32 } from '../../src/host/memory-view.js';

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

  start(slot: number, operation: Operation, byteCount: number): number {
    const fault = this.#fault();
    if (fault !== 0) return fault;
    const { opcode, address, length, offset, flags } = operation;
    const shorter = new Operation().set(opcode, address, length, offset, flags);
    if (opcode === UringOp.READ || opcode === UringOp.WRITE) {
      shorter.length = this.#shorter(length);
    } else if (opcode === UringOp.READV || opcode === UringOp.WRITEV) {
      if (length > 1) shorter.length = 1 + (this.#next() % length);
      else if (flags === 0) {
        const [low, high, bytes] = viewWords32(address, 12) as unknown as [number, number, number];
        const plain = opcode === UringOp.READV ? UringOp.READ : UringOp.WRITE;
        shorter.set(plain, high * 2 ** 32 + low, this.#shorter(bytes), offset, 0);
      }
    }
    return this.#good.start(slot, shorter, byteCount);
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
