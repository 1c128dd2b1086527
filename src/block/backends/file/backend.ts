import { Errno } from '../../../host/libc.js';
import { Status } from '../../features.js';
import type { BlockRequest } from '../../request.js';
import { type BackendHost, type BlockBackend, PENDING } from '../backend.js';
import { IoErrors } from '../io-errors.js';
import { Arena } from './arena.js';
import { createEngine, type FileEngine, IN_FLIGHT } from './engine.js';
import type { FileSpec } from './open.js';
import { CONTINUE, Phase, phaseOf } from './phase.js';
import { Ranges } from './ranges.js';
import { Transfer } from './transfer.js';

/** Attempts of one operation that the kernel interrupts or puts off. */
const RETRIES_MAX = 8;

/**
 * A disk in a file or on a block device. Each request is a sequence of operations, one in flight at a time: `#start` gives
 * the next one to the engine, `#advance` takes its result.
 */
export class FileBackend implements BlockBackend {
  readonly #host: BackendHost;
  readonly #arena: Arena;
  readonly #engine: FileEngine;
  readonly #transfer: Transfer;
  readonly #ranges: Ranges;
  readonly #lostWrites: Int32Array;
  readonly #ioErrors: IoErrors;
  readonly #direct: boolean;

  /** Throws `UNSUPPORTED_PLATFORM` if the disk insists on io_uring and there is none. */
  constructor(spec: FileSpec, host: BackendHost, engine = createEngine(spec.engine, spec.fd, () => host.uring())) {
    this.#engine = engine;
    this.#host = host;
    this.#arena = Arena.of(host.pool);
    this.#transfer = new Transfer(spec.fd, this.#engine, this.#arena, spec.memoryAlignBytes);
    this.#ranges = new Ranges(this.#engine, this.#arena, spec.canPunch);
    this.#lostWrites = new Int32Array(spec.lostWrites);
    this.#ioErrors = new IoErrors(spec.ioErrors);
    this.#direct = spec.memoryAlignBytes > 1;
  }

  read(request: BlockRequest): number {
    return this.#begin(request, Phase.READ);
  }

  write(request: BlockRequest): number {
    return this.#begin(request, Phase.WRITE);
  }

  flush(request: BlockRequest): number {
    return this.#begin(request, Phase.FLUSH);
  }

  discard(request: BlockRequest): number {
    return this.#beginRanges(request, Phase.DISCARD);
  }

  writeZeroes(request: BlockRequest): number {
    return this.#beginRanges(request, Phase.ZERO);
  }

  secureErase(request: BlockRequest): number {
    return this.#beginRanges(request, Phase.ERASE_WRITE);
  }

  completed(request: BlockRequest, result: number): void {
    const status = this.#drive(request, result);
    if (status !== PENDING) request.queue!.complete(request, status);
  }

  close(): void {
    this.#arena.release(this.#host.pool);
  }

  #begin(request: BlockRequest, phase: number): number {
    request.progress = 0;
    request.step = phase;
    this.#arena.retries[request.slot] = 0;
    return this.#drive(request, this.#start(request));
  }

  #beginRanges(request: BlockRequest, phase: number): number {
    this.#arena.retries[request.slot] = 0;
    const status = this.#ranges.begin(request, phase);
    return status === CONTINUE ? this.#drive(request, this.#start(request)) : status;
  }

  /** Goes on with a request from a result: to its end, or to an operation that completes later. */
  #drive(request: BlockRequest, first: number): number {
    let result = first;
    while (result !== IN_FLIGHT) {
      const status = this.#advance(request, result);
      if (status === Status.IOERR) this.#noteError(request, result);
      if (status !== CONTINUE) return status;
      result = this.#start(request);
    }
    return PENDING;
  }

  #start(request: BlockRequest): number {
    switch (phaseOf(request)) {
      case Phase.READ:
        return this.#transfer.start(request, true);
      case Phase.WRITE:
        return this.#transfer.start(request, false);
      case Phase.FLUSH:
        return this.#engine.sync(request.slot);
      default:
        return this.#ranges.start(request);
    }
  }

  #advance(request: BlockRequest, result: number): number {
    const phase = phaseOf(request);
    const isData = phase === Phase.READ || phase === Phase.WRITE;
    // Also after a fault: the transfer gives back what it had taken.
    const done = isData && this.#transfer.advance(request, phase === Phase.READ, result);
    if (result === -Errno.EINTR || result === -Errno.EAGAIN) {
      return this.#arena.retries[request.slot]!++ < RETRIES_MAX ? CONTINUE : Status.IOERR;
    }
    if (result < 0) this.#noteLoss(request, phase, result);
    else this.#arena.retries[request.slot] = 0;
    if (isData) {
      // Nothing transferred: the file has become shorter than the disk.
      if (result <= 0) return Status.IOERR;
      return done ? Status.OK : CONTINUE;
    }
    if (phase === Phase.FLUSH) return result < 0 || Atomics.load(this.#lostWrites, 0) !== 0 ? Status.IOERR : Status.OK;
    return this.#ranges.advance(request, result);
  }

  /** A flush that succeeds and counts as failed is one after lost writes. */
  #noteError(request: BlockRequest, result: number): void {
    this.#ioErrors.note(result === 0 && phaseOf(request) === Phase.FLUSH ? Errno.EIO : -result);
  }

  /**
   * The kernel reports once that it could not write back cached data, and drops them. A later flush must not say that all is
   * well, so from then on every flush of this disk fails, on every sidecore, until it is opened anew.
   */
  #noteLoss(request: BlockRequest, phase: number, result: number): void {
    if (this.#direct) return;
    const isSync = phase === Phase.FLUSH || phase === Phase.ZERO_SYNC || phase === Phase.ERASE_SYNC;
    const isLostWrite = phase === Phase.WRITE && request.durable && result === -Errno.EIO;
    if (isSync || isLostWrite) Atomics.store(this.#lostWrites, 0, 1);
  }
}
