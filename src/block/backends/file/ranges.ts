import { Operation, UringOp } from '../../../host/io-uring.js';
import { Errno } from '../../../host/libc.js';
import { SECTOR_BYTES, Status } from '../../features.js';
import type { BlockRequest } from '../../request.js';
import { type Arena, ZEROS_BYTES } from './arena.js';
import type { FileEngine } from './engine.js';
import { CONTINUE, Phase, phaseOf, RANGE_SHIFT } from './phase.js';

/** Modes of fallocate(2) */
const KEEP_SIZE = 1;
const PUNCH_HOLE = 2;
const ZERO_RANGE = 0x10;

/**
 * Discards, zeroes and erases ranges: one operation after the other. `request.step` holds the phase and the range,
 * `request.progress` the bytes of that range that are written.
 */
export class Ranges {
  readonly #engine: FileEngine;
  readonly #arena: Arena;
  readonly #canPunch: boolean;
  readonly #operation = new Operation();
  /** Whether the file system knows ZERO_RANGE: assumed until it says no, for asking it would reserve room. */
  #canZero = true;

  constructor(engine: FileEngine, arena: Arena, canPunch: boolean) {
    this.#engine = engine;
    this.#arena = arena;
    this.#canPunch = canPunch;
  }

  /** Sets a request to its first operation. `Status.OK` if there is none, or `CONTINUE`. */
  begin(request: BlockRequest, phase: number): number {
    return this.#enter(request, phase, 0);
  }

  /** Starts the operation that the request is at. Result as of an engine. */
  start(request: BlockRequest): number {
    const { slot } = request;
    const range = request.step >>> RANGE_SHIFT;
    const offset = request.rangeSector[range]! * SECTOR_BYTES;
    const length = request.rangeSectors[range]! * SECTOR_BYTES;
    switch (phaseOf(request)) {
      case Phase.ZERO_SYNC:
      case Phase.ERASE_SYNC:
        return this.#engine.sync(slot);
      case Phase.ZERO:
        return this.#allocate(slot, ZERO_RANGE, offset, length);
      case Phase.ZERO_WRITE:
      case Phase.ERASE_WRITE:
        return this.#write(slot, offset + request.progress, Math.min(ZEROS_BYTES, length - request.progress));
      default:
        return this.#allocate(slot, PUNCH_HOLE, offset, length);
    }
  }

  /** Takes note of the result of what was started. Gives a status, or `CONTINUE`. */
  advance(request: BlockRequest, result: number): number {
    const phase = phaseOf(request);
    const range = request.step >>> RANGE_SHIFT;
    if (result < 0) return result === -Errno.EOPNOTSUPP ? this.#without(request, phase, range) : Status.IOERR;
    if (phase === Phase.ZERO_WRITE || phase === Phase.ERASE_WRITE) {
      if (result === 0) return Status.IOERR;
      request.progress += result;
      if (request.progress < request.rangeSectors[range]! * SECTOR_BYTES) return CONTINUE;
    }
    if (phase === Phase.ZERO_SYNC) return Status.OK;
    if (phase === Phase.ERASE_SYNC) return this.#canPunch ? this.#enter(request, Phase.ERASE_PUNCH, 0) : Status.OK;
    return this.#enter(request, phase, range + 1);
  }

  /** Goes to a range, or to the first after it that is not empty, or past the last one. */
  #enter(request: BlockRequest, phase: number, from: number): number {
    let range = from;
    while (range < request.rangeCount && request.rangeSectors[range] === 0) range++;
    request.progress = 0;
    if (range === request.rangeCount) return this.#afterLast(request, phase);
    request.step = this.#phaseFor(request, phase, range) | (range << RANGE_SHIFT);
    return CONTINUE;
  }

  /** The best way to zero this range; other work stays what it is. */
  #phaseFor(request: BlockRequest, phase: number, range: number): number {
    if (phase !== Phase.ZERO_PUNCH && phase !== Phase.ZERO && phase !== Phase.ZERO_WRITE) return phase;
    if (request.rangeUnmap[range] === 1 && this.#canPunch) return Phase.ZERO_PUNCH;
    return this.#canZero ? Phase.ZERO : Phase.ZERO_WRITE;
  }

  #afterLast(request: BlockRequest, phase: number): number {
    if (phase === Phase.ERASE_WRITE) request.step = Phase.ERASE_SYNC;
    else if (request.durable && this.#isZeroing(phase)) request.step = Phase.ZERO_SYNC;
    else return Status.OK;
    return CONTINUE;
  }

  #isZeroing(phase: number): boolean {
    return phase === Phase.ZERO_PUNCH || phase === Phase.ZERO || phase === Phase.ZERO_WRITE;
  }

  /** What is done where the file system lacks what this phase asks for. */
  #without(request: BlockRequest, phase: number, range: number): number {
    switch (phase) {
      case Phase.ZERO_PUNCH:
        request.step = (this.#canZero ? Phase.ZERO : Phase.ZERO_WRITE) | (range << RANGE_SHIFT);
        return CONTINUE;
      case Phase.ZERO:
        this.#canZero = false;
        request.step = Phase.ZERO_WRITE | (range << RANGE_SHIFT);
        return CONTINUE;
      case Phase.ERASE_PUNCH:
        // The old content is gone already.
        return Status.OK;
      case Phase.DISCARD:
        return Status.UNSUPP;
      default:
        return Status.IOERR;
    }
  }

  #allocate(slot: number, mode: number, offset: number, length: number): number {
    return this.#engine.start(
      slot,
      this.#operation.set(UringOp.FALLOCATE, length, mode | KEEP_SIZE, offset, 0),
      length,
    );
  }

  #write(slot: number, offset: number, length: number): number {
    return this.#engine.start(slot, this.#operation.set(UringOp.WRITE, this.#arena.zeros, length, offset, 0), length);
  }
}
