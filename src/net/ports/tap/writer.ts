import { copyPiece } from '../../../guest-memory/copy.js';
import { Operation, UringOp } from '../../../host/io-uring.js';
import { Iovecs } from '../../../host/iovecs.js';
import { Errno } from '../../../host/libc.js';
import { CHAIN_SEGMENTS_MAX, TAP_WRITES_MAX } from '../../../limits.js';
import { NET_HEADER_BYTES } from '../../features.js';
import { type Frame, type FrameOwner, HEAD_BYTES } from '../../frame.js';
import type { FrameBurst } from '../../frame-burst.js';
import { writeNetHeader } from '../../net-header.js';
import { PortCounter } from '../../port.js';
import { IN_FLIGHT, NO_ROOM, type TapEngine } from './engine.js';
import type { TapMemory } from './memory.js';

/** Up to so many bytes a copy costs no more than to have the kernel gather them (measured), and the frame's owner need not wait. */
const COPY_BYTES_MAX = 1024;

/** The private first bytes and every piece of the rest. */
const IOVECS_MAX = CHAIN_SEGMENTS_MAX + 1;

/** What a failed write is counted as; any other error is a want of memory. */
const DROPS = new Map<number, number>([
  [-Errno.EIO, PortCounter.DROPPED_LINK_DOWN],
  [-Errno.EBADFD, PortCounter.DROPPED_NOT_READY],
  [-Errno.EINVAL, PortCounter.DROPPED_OFFLOAD],
]);

/**
 * Gives frames to the host by the queues of a TAP device. The kernel takes long ones straight from their owner's memory, which
 * waits for that; short ones, and those that nobody keeps, are copied.
 */
export class TapWriter {
  /** Writes that the kernel has not completed. */
  inFlight = 0;
  readonly #fds: readonly number[];
  readonly #engine: TapEngine;
  readonly #firstSlot: number;
  readonly #memory: TapMemory;
  readonly #counters: Float64Array;
  readonly #operation = new Operation();
  readonly #iovecs = new Iovecs(TAP_WRITES_MAX, IOVECS_MAX);
  /** Free writes; the one used last is taken first, because its memory is in the cache. */
  readonly #free = new Uint16Array(TAP_WRITES_MAX);
  #freeCount = TAP_WRITES_MAX;
  /** By write: whose memory it uses, and what it is to be released with. */
  readonly #owners: (FrameOwner | undefined)[] = new Array(TAP_WRITES_MAX).fill(undefined);
  readonly #tokens = new Uint32Array(TAP_WRITES_MAX);

  /** @param firstSlot - of its `TAP_WRITES_MAX` slots, in memory and as operations */
  constructor(parts: {
    fds: readonly number[];
    firstSlot: number;
    engine: TapEngine;
    memory: TapMemory;
    counters: Float64Array;
  }) {
    this.#fds = parts.fds;
    this.#engine = parts.engine;
    this.#firstSlot = parts.firstSlot;
    this.#memory = parts.memory;
    this.#counters = parts.counters;
    for (let i = 0; i < TAP_WRITES_MAX; i++) this.#free[i] = TAP_WRITES_MAX - 1 - i;
  }

  write(frame: Frame): void {
    const write = this.#take(1);
    if (write < 0) return;
    const bytes = this.#memory.bytes[0]!;
    const headerAt = this.#memory.headerAt(this.#firstSlot + write);
    writeNetHeader(bytes, headerAt, frame.header);
    const { owner, byteLength, prefixStart, prefixBytes } = frame;
    if (owner === undefined || byteLength <= COPY_BYTES_MAX) {
      frame.copyTo(bytes, headerAt + NET_HEADER_BYTES);
      this.#start(write, frame.pair, headerAt, NET_HEADER_BYTES + byteLength);
      return;
    }
    frame.prefix.copy(bytes, headerAt + NET_HEADER_BYTES, prefixStart, prefixStart + prefixBytes);
    const { segments, memory, end } = frame;
    let { skip } = frame;
    let count = this.#gatherFirst(write, headerAt, NET_HEADER_BYTES + prefixBytes);
    for (let i = frame.first; i < end; i++, skip = 0) {
      const address = memory.hostAddress[segments.window[i]!]! + segments.offset[i]! + skip;
      this.#iovecs.set(write, count++, address, segments.length[i]! - skip);
    }
    this.#startGathered(write, frame.pair, count, owner, frame.slot);
  }

  /** The frames `from` … `to` - 1 of a burst. */
  writeBurst(burst: FrameBurst, from: number, to: number): void {
    const { chains, owner, memory, pair } = burst;
    for (let i = from; i < to; i++) {
      const write = this.#take(to - i);
      if (write < 0) return;
      const headerAt = this.#memory.headerAt(this.#firstSlot + write);
      this.#putHead(burst, i, headerAt);
      const window = chains.window[i]!;
      const offset = chains.offset[i]! + HEAD_BYTES;
      const length = chains.length[i]!;
      if (owner === undefined || length <= COPY_BYTES_MAX) {
        const restAt = headerAt + NET_HEADER_BYTES + HEAD_BYTES;
        copyPiece(memory, window, offset, this.#memory, 0, restAt, length - HEAD_BYTES);
        this.#start(write, pair, headerAt, NET_HEADER_BYTES + length);
        continue;
      }
      const count = this.#gatherFirst(write, headerAt, NET_HEADER_BYTES + HEAD_BYTES);
      this.#iovecs.set(write, count, memory.hostAddress[window]! + offset, length - HEAD_BYTES);
      this.#startGathered(write, pair, count + 1, owner, burst.firstSlot + i);
    }
  }

  completed(write: number, result: number): void {
    this.inFlight--;
    this.#finish(write, result);
  }

  close(): void {
    this.#iovecs.close();
  }

  /** Takes a write, or counts the frames that are dropped because there is none. */
  #take(frames: number): number {
    if (this.#freeCount > 0) return this.#free[--this.#freeCount]!;
    this.#counters[PortCounter.DROPPED_NO_BUFFER]! += frames;
    return -1;
  }

  /** Writes the private first bytes of one of a burst, which asks for nothing, behind an empty header. */
  #putHead({ head }: FrameBurst, index: number, headerAt: number): void {
    const words = this.#memory.words[0]!;
    const word = headerAt >>> 2;
    words[word] = words[word + 1] = words[word + 2] = 0;
    words[word + 3] = head[4 * index]!;
    words[word + 4] = head[4 * index + 1]!;
    words[word + 5] = head[4 * index + 2]!;
    words[word + 6] = head[4 * index + 3]!;
  }

  /** Begins a list of pieces with the private first bytes. Returns how many pieces that are. */
  #gatherFirst(write: number, headerAt: number, length: number): number {
    this.#iovecs.set(write, 0, this.#memory.hostAddress[0]! + headerAt, length);
    return 1;
  }

  #start(write: number, pair: number, headerAt: number, length: number): void {
    const address = this.#memory.hostAddress[0]! + headerAt;
    this.#give(write, pair, this.#operation.set(UringOp.WRITE, address, length, 0, 0));
  }

  #startGathered(write: number, pair: number, count: number, owner: FrameOwner, slot: number): void {
    this.#owners[write] = owner;
    this.#tokens[write] = owner.hold(slot);
    this.#give(write, pair, this.#operation.set(UringOp.WRITEV, this.#iovecs.address(write), count, 0, 0));
  }

  /** Frames of one queue pair keep their order in one queue of the device. */
  #give(write: number, pair: number, operation: Operation): void {
    const result = this.#engine.start(this.#fds[pair % this.#fds.length]!, operation, this.#firstSlot + write);
    if (result === IN_FLIGHT) this.inFlight++;
    else this.#finish(write, result);
  }

  #finish(write: number, result: number): void {
    const owner = this.#owners[write];
    if (owner !== undefined) {
      this.#owners[write] = undefined;
      owner.release(this.#tokens[write]!);
    }
    this.#free[this.#freeCount++] = write;
    if (result >= 0) {
      this.#counters[PortCounter.FRAMES_OUT]!++;
      this.#counters[PortCounter.BYTES_OUT]! += result - NET_HEADER_BYTES;
    } else {
      this.#counters[result === NO_ROOM ? PortCounter.DROPPED_NO_BUFFER : dropOf(result)]!++;
    }
  }
}

const dropOf = (result: number): number => DROPS.get(result) ?? PortCounter.DROPPED_NO_BUFFER;
